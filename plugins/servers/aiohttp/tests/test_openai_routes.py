"""The other routes of OpenAI: completions, models, embeddings."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from realizar.sampling import SamplingParams

GREEDY = {"temperature": 0, "max_tokens": 8, "ignore_eos": True}


async def post(client: Any, path: str, status: int = 200, **body: Any) -> Any:
    async with client.post(path, json=body) as response:
        found = await response.json()
        assert response.status == status, found
        return found


def continued(llm: Any, prompt: Any, **params: Any) -> Any:
    return llm.generate(prompt, SamplingParams(temperature=0, max_tokens=8, ignore_eos=True, **params))


@pytest.mark.parametrize("prompt", ["The sky", [0, 87, 107, 104]], ids=["text", "ids"])
async def test_a_prompt_is_continued_as_it_stands(serving, llm, prompt):
    async with serving() as client:
        found = await post(client, "/v1/completions", prompt=prompt, **GREEDY)
    wanted = continued(llm, prompt)
    assert found["object"] == "text_completion"
    assert found["choices"] == [{"index": 0, "text": wanted.text, "logprobs": None, "finish_reason": "length"}]
    assert found["usage"]["prompt_tokens"] == len(wanted.prompt_token_ids)


async def test_many_prompts_and_answers_are_numbered_in_a_row(serving, llm):
    prompts = ["one", "two"]
    async with serving() as client:
        found = await post(client, "/v1/completions", prompt=prompts, n=2, echo=True, **GREEDY)
        ids = await post(client, "/v1/completions", prompt=[[0, 5], [0, 6]], **GREEDY)
    assert [choice["index"] for choice in found["choices"]] == [0, 1, 2, 3]
    assert [choice["text"] for choice in found["choices"]] == [
        text + continued(llm, text).text for text in prompts for _ in range(2)
    ]
    assert found["usage"]["prompt_tokens"] == 8  # BOS and three bytes, twice
    assert found["usage"]["completion_tokens"] == 32
    assert [choice["text"] for choice in ids["choices"]] == [continued(llm, [0, i]).text for i in (5, 6)]


async def test_sixteen_tokens_are_the_default_of_this_interface(serving):
    async with serving() as client:
        found = await post(client, "/v1/completions", prompt="a", temperature=0, ignore_eos=True)
    assert found["usage"]["completion_tokens"] == 16


async def test_a_stream_adds_up_and_counts(serving, llm):
    body = {"prompt": "The sky", "stream": True, "logprobs": 2, "stream_options": {"include_usage": True}, **GREEDY}
    async with serving() as client:
        async with client.post("/v1/completions", json=body) as response:
            events = [event[6:] for event in (await response.text()).split("\n\n") if event]
    assert events.pop() == "[DONE]"
    *chunks, last = map(json.loads, events)
    wanted = continued(llm, "The sky", logprobs=2)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == wanted.text
    assert [c["choices"][0]["finish_reason"] for c in chunks] == [None] * 7 + ["length"]
    listed = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [p for part in listed for p in part["token_logprobs"]] == [item.logprob for item in wanted.logprobs]
    offsets = [offset for part in listed for offset in part["text_offset"]]
    tokens = [token for part in listed for token in part["tokens"]]
    assert offsets == [sum(map(len, tokens[:i])) for i in range(8)]
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 8)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"prompt": []}, "prompt"), ({"prompt": ["a"] * 65}, "prompt"), ({"prompt": {}}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt[1]"), ({"prompt": [[1], "a"]}, "prompt[1]"), ({"prompt": [-1]}, "prompt"),
        ({"prompt": [10**9]}, "prompt"), ({"suffix": "end"}, "suffix"), ({"best_of": 3}, "best_of"),
        ({"echo": True, "logprobs": 1}, "echo"), ({"logprobs": 21}, "logprobs"),
    ],
    ids=str,
)  # fmt: skip
async def test_what_does_not_fit_is_refused(serving, change, param):
    async with serving() as client:
        found = await post(client, "/v1/completions", status=400, **{"prompt": "a", **GREEDY, **change})
        missing = await post(client, "/v1/completions", status=400)
    assert found["error"]["param"] == param, found
    assert missing["error"] | {"param": "prompt", "code": "missing_required_parameter"} == missing["error"]


async def test_models_are_listed_with_their_sizes(serving, llm, encoder, pool_of):
    async with serving(pool_of(tiny=llm, encoder=encoder)) as client:
        listed = await (await client.get("/v1/models")).json()
        one = await (await client.get("/v1/models/encoder")).json()
        missing = await client.get("/v1/models/other")
        assert missing.status == 404
        assert (await missing.json())["error"]["code"] == "model_not_found"
    assert [entry["id"] for entry in listed["data"]] == ["tiny", "encoder"]
    assert listed["data"][1] == one
    assert listed["data"][0]["max_model_len"] == llm.max_model_len
    assert one["meta"]["n_embd"] == 64


async def test_embeddings_in_both_encodings(serving, encoder, pool_of):
    texts = ["The sky is blue", "a"]
    wanted = encoder.embed(texts)
    async with serving(pool_of(encoder=encoder)) as client:
        found = await post(client, "/v1/embeddings", input=texts)
        packed = await post(client, "/v1/embeddings", input=texts[0], encoding_format="base64", dimensions=64)
    assert [entry["index"] for entry in found["data"]] == [0, 1]
    np.testing.assert_array_equal(np.array([entry["embedding"] for entry in found["data"]], np.float32), wanted)
    raw = base64.b64decode(packed["data"][0]["embedding"])
    np.testing.assert_array_equal(np.frombuffer(raw, "<f4"), encoder.embed([texts[0]])[0])
    assert found["usage"] == {"prompt_tokens": 18, "total_tokens": 18}  # BOS and bytes


async def test_embeddings_refuse_by_name(serving, encoder, llm, pool_of):
    async with serving(pool_of(encoder=encoder, tiny=llm)) as client:
        for change, param in [
            ({"input": []}, "input"),
            ({"input": [1, 2]}, "input"),
            ({"dimensions": 5}, "dimensions"),
        ]:
            found = await post(client, "/v1/embeddings", status=400, **{"input": "a", **change})
            assert found["error"]["param"] == param
        long = await post(client, "/v1/embeddings", status=400, input=["a", "x" * 500])
        assert long["error"]["message"].startswith("texts[1] has 501 tokens")
        assert await post(client, "/v1/embeddings", input="x" * 500, truncate=True)
        generates = await post(client, "/v1/embeddings", status=501, input="a", model="tiny")
    assert "generates text" in generates["error"]["message"]
