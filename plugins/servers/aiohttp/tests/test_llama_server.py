"""llama.cpp's own routes, tokenization, and reranking."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from realizar.chat import ChatTemplate
from realizar.sampling import SamplingParams

GREEDY = {"temperature": 0, "n_predict": 8}
HELLO = [{"role": "user", "content": "Hello"}]


async def post(client: Any, path: str, status: int = 200, **body: Any) -> Any:
    async with client.post(path, json=body) as response:
        found = await response.json()
        assert response.status == status, found
        return found


def continued(llm: Any, prompt: Any, **params: Any) -> Any:
    return llm.generate(prompt, SamplingParams(temperature=0, max_tokens=8, **params))


async def test_completion(serving, llm):
    wanted = continued(llm, "The sky")
    async with serving() as client:
        found = await post(client, "/completion", prompt="The sky", return_tokens=True, **GREEDY)
    assert (found["content"], found["tokens"]) == (wanted.text, list(wanted.token_ids))
    assert (found["stop"], found["tokens_evaluated"], found["truncated"]) == (True, 8, False)
    assert found["stop_type"] == {"length": "limit", "stop": "eos"}[wanted.finish_reason]
    assert found["timings"]["predicted_n"] == len(wanted.token_ids)
    assert found["timings"]["prompt_per_second"] > 0
    assert found["generation_settings"]["temperature"] == 0
    assert found["prompt"] == "<|endoftext|>The sky"


async def test_why_it_ended(serving):
    async with serving() as client:
        text = (await post(client, "/completion", prompt="a", ignore_eos=True, **GREEDY))["content"]
        word = await post(client, "/completion", prompt="a", ignore_eos=True, stop=["never so", text[1:3]], **GREEDY)
        end = await post(client, "/completion", prompt="a", logit_bias=[[2, 100]], **GREEDY)
        banned = await post(client, "/completion", prompt="a", logit_bias=[[2, 100], ["2", False]], **GREEDY)
    assert (word["stop_type"], word["stopping_word"]) == ("word", text[1:3])
    assert (end["stop_type"], end["tokens_predicted"]) == ("eos", 1)
    assert banned["stop_type"] == "limit"


async def test_prompts_of_texts_and_ids(serving, llm):
    async with serving() as client:
        mixed = await post(client, "/completion", prompt=["a", 5, 6, "b"], **GREEDY)
        many = await post(client, "/completion", prompt=["a", [0, 5], ["a", 7]], **GREEDY)
    assert mixed["content"] == continued(llm, [*llm.encode("a"), 5, 6, *llm.encode("b")[1:]]).text
    wanted = ["a", [0, 5], [*llm.encode("a"), 7]]
    assert [each["content"] for each in many] == [continued(llm, prompt).text for prompt in wanted]


async def test_a_stream_ends_without_done(serving, llm):
    wanted = continued(llm, "The sky", logprobs=2)
    body = {"prompt": "The sky", "stream": True, "n_probs": 2, "return_tokens": True, **GREEDY}
    async with serving() as client:
        async with client.post("/completion", json=body) as response:
            events = [json.loads(event[6:]) for event in (await response.text()).split("\n\n")[:-1]]
    assert "".join(event["content"] for event in events) == wanted.text
    assert [i for event in events for i in event["tokens"]] == list(wanted.token_ids)
    assert [event["stop"] for event in events] == [False] * (len(events) - 1) + [True]
    entries = [entry for event in events for entry in event["completion_probabilities"]]
    assert [(entry["id"], entry["logprob"]) for entry in entries] == [(i.token_id, i.logprob) for i in wanted.logprobs]
    assert entries[0]["top_logprobs"][0]["id"] == wanted.logprobs[0].top[0][0]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"prompt": None}, "prompt"), ({"prompt": []}, "prompt"), ({"prompt": [[]]}, "prompt"),
        ({"prompt": [True]}, "prompt"), ({"prompt": 5}, "prompt"), ({"grammar": "root ::= ("}, "grammar"),
        ({"json_schema": {"type": "array", "uniqueItems": True}}, "json_schema"), ({"json_schema": "{"}, "json_schema"),
        ({"grammar": 'root ::= "a"', "json_schema": {}}, "json_schema"), ({"grammar": ""}, None),
        ({"samplers": ["top_k", "magic"]}, "samplers"), ({"samplers": ["top_k", "penalties"]}, "samplers"),
        ({"samplers": ["penalties", "typ_p", "temperature"], "typical_p": 0.9}, None), ({"mirostat": 1}, "mirostat"),
        ({"xtc_probability": 2}, "xtc_probability"), ({"dry_sequence_breakers": [""]}, "dry_sequence_breakers"),
        ({"dry_multiplier": 0.8, "dry_penalty_last_n": -1, "top_n_sigma": -1}, None),
        ({"prompt": ["a", "b"], "stream": True}, "stream"), ({"logit_bias": [[1]]}, "logit_bias"),
        ({"logit_bias": 5}, "logit_bias"), ({"logit_bias": [[[], 1]]}, "logit_bias"), ({"n_probs": 99}, "n_probs"),
    ],
    ids=str,
)  # fmt: skip
async def test_what_does_not_fit_is_refused(serving, change, param):
    async with serving() as client:
        found = await post(client, "/completion", status=400 if param else 200, **{"prompt": "a", **GREEDY, **change})
    assert param is None or found["error"]["param"] == param


async def test_a_grammar_and_a_schema_are_kept(serving):
    chance = {"prompt": "a", "temperature": 1.0, "seed": 4, "n_predict": 100}
    schema = {"type": "object", "properties": {"age": {"type": "integer", "maximum": 99}}, "required": ["age"]}
    async with serving() as client:
        ruled = await post(client, "/completion", grammar='root ::= "yes" | "no"', **chance)
        person = await post(client, "/completion", json_schema=schema, **chance)
    assert ruled["content"] in ("yes", "no")
    assert (ruled["stop_type"], ruled["stopping_word"]) == ("eos", "")
    assert json.loads(person["content"])["age"] <= 99


ACTING = [
    ({"samplers": ["min_p", "temperature"], "min_p": 0.3}, {"samplers": ("min_p", "temperature"), "min_p": 0.3}),
    ({"mirostat": 2, "mirostat_tau": 2}, {"mirostat": 2, "mirostat_tau": 2, "samplers": ("temperature", "mirostat")}),
    ({"samplers": ["top_k"], "top_k": 3, "repeat_penalty": 2.0}, {"samplers": ("top_k",), "top_k": 3}),
    ({"samplers": ["penalties"], "repeat_penalty": 2.0}, {"samplers": (), "repetition_penalty": 2.0}),
    ({"samplers": ["typ_p"], "typical_p": 0.4}, {"samplers": ("typical_p",), "typical_p": 0.4}),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "params"), ACTING, ids=str)
async def test_samplers_act_as_they_are_named(serving, llm, asked, params):
    off = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
    chance = {"temperature": 0.7, "seed": 9}
    wanted = llm.generate("The sky", SamplingParams(max_tokens=16, **chance, **params))
    async with serving() as client:
        found = await post(client, "/completion", prompt="The sky", n_predict=16, **{**chance, **off, **asked})
    assert found["content"] == wanted.text
    assert found["generation_settings"]["samplers"] == list(params["samplers"])


async def test_tokenize_answers_by_the_field(serving, llm):
    text = "a<|im_end|>é"
    plain = [3 + byte for byte in text.encode()]
    async with serving() as client:
        llama = await post(client, "/tokenize", content=text)
        special = await post(client, "/tokenize", content=text, add_special=True, parse_special=False)
        pieces = await post(client, "/tokenize", content="aé", with_pieces=True)
        rust = await post(client, "/tokenize", text=text)
        vllm = await post(client, "/tokenize", prompt=text, add_special_tokens=False)
        chat = await post(client, "/tokenize", messages=HELLO)
        batch = await post(client, "/batch/tokenize", texts=["a", "ab"])
        none = await post(client, "/tokenize", status=400)
        two = await post(client, "/tokenize", status=400, text="a", prompt="a")
    assert llama == {"tokens": [3 + ord("a"), 2, *plain[-2:]]}
    assert special == {"tokens": [0, *plain]}
    assert [piece["piece"] for piece in pieces["tokens"]] == ["a", [0xC3], [0xA9]]
    assert rust == {"token_ids": [0, *plain], "num_tokens": 1 + len(plain)}
    assert vllm == {"tokens": plain, "count": len(plain), "max_model_len": llm.max_model_len}
    assert chat["tokens"] == llm.encode(HELLO)
    assert [each["num_tokens"] for each in batch["results"]] == [2, 3]
    assert none["error"]["code"] == two["error"]["code"] == "invalid_value"


async def test_detokenize_and_templates(serving, llm):
    async with serving() as client:
        text = await post(client, "/detokenize", tokens=[0, *(3 + byte for byte in "aé".encode())])
        wrong = await post(client, "/detokenize", status=400, tokens=[5, 10**6])
        rendered = await post(client, "/apply-template", messages=HELLO)
    assert text == {"content": "<|endoftext|>aé", "prompt": "<|endoftext|>aé"}
    assert wrong["error"]["param"] == "tokens[1]"
    assert rendered["prompt"] == ChatTemplate.from_spec(llm.tokenizer.spec).render(HELLO)


async def test_props_and_slots(serving, slow_llm, pool_of):
    async with serving(pool_of(slow=slow_llm)) as client:
        props = await (await client.get("/props")).json()
        with_work = slow_llm.stream("a", SamplingParams(max_tokens=50, ignore_eos=True))
        next(with_work)
        slots = await (await client.get("/slots")).json()
        with_work.close()
        assert (await client.get("/slots?model=other")).status == 404
    assert props["total_slots"] == len(slots) == slow_llm.max_running
    assert props["default_generation_settings"]["n_ctx"] == slow_llm.max_model_len
    assert (props["bos_token"], props["eos_token"]) == ("<|endoftext|>", "<|im_end|>")
    assert [slot["is_processing"] for slot in slots] == [True] + [False] * (len(slots) - 1)


async def test_rerank(serving, encoder, llm, pool_of):
    query, documents = "blue sky", ["x", "blue sky", "the sky is blue"]
    vectors = encoder.embed([query, *documents]).astype(np.float64)
    scores = vectors[1:] @ vectors[0]
    async with serving(pool_of(encoder=encoder, tiny=llm)) as client:
        found = await post(client, "/v1/rerank", query=query, documents=documents)
        best = await post(client, "/rerank", query=query, documents=documents, top_n=1, return_documents=True)
        await post(client, "/v1/rerank", status=400, query=query, documents=[])
        refused = await post(client, "/v1/rerank", status=501, query=query, documents=documents, model="tiny")
    assert [each["index"] for each in found["results"]] == np.argsort(-scores).tolist()
    for each in found["results"]:
        assert each["relevance_score"] == pytest.approx(scores[each["index"]], abs=1e-6)
    assert best["results"][0]["document"] == {"text": "blue sky"}
    assert "reranking" in refused["error"]["message"]
