"""Ollama's routes: /api/generate, /api/chat, /api/embed, and what tells of models."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from realizar.sampling import SamplingParams

HELLO = [{"role": "user", "content": "Hello"}]
OPTIONS = {"temperature": 0, "num_predict": 8}


async def post(client: Any, path: str, status: int = 200, **body: Any) -> Any:
    async with client.post(path, json={"stream": False, **body}) as response:
        found = await response.json()
        assert response.status == status, found
        return found


async def lines(client: Any, path: str, **body: Any) -> list[dict[str, Any]]:
    """The lines of a stream, which is what one gets without asking for anything else."""
    async with client.post(path, json=body) as response:
        assert (response.status, response.content_type) == (200, "application/x-ndjson")
        return [json.loads(line) for line in (await response.text()).splitlines()]


def answer(llm: Any, messages: Any = HELLO, **params: Any) -> Any:
    return llm.chat(messages, SamplingParams(temperature=0, max_tokens=8, **params))


@pytest.mark.parametrize("name", ["tiny", "tiny:latest", None])
async def test_chat(serving, llm, name):
    async with serving() as client:
        whole = await post(client, "/api/chat", model=name, messages=HELLO, options=OPTIONS)
        *pieces, last = await lines(client, "/api/chat", model=name, messages=HELLO, options=OPTIONS)
    wanted = answer(llm)
    assert whole["message"] == {"role": "assistant", "content": wanted.text}
    assert "".join(piece["message"]["content"] for piece in pieces) == wanted.text
    assert not any(piece["done"] for piece in pieces)
    for end in (whole, last):
        assert (end["model"], end["done"], end["done_reason"]) == ("tiny", True, wanted.finish_reason)
        assert end["prompt_eval_count"] == len(wanted.prompt_token_ids)
        assert end["eval_count"] == len(wanted.token_ids)
        assert end["total_duration"] >= end["prompt_eval_duration"] > 0  # nanoseconds
        assert datetime.fromisoformat(end["created_at"]).tzinfo is not None


async def test_generate_goes_on_from_a_context(serving, llm):
    async with serving() as client:
        first = await post(client, "/api/generate", prompt="Hello", options=OPTIONS)
        system = await post(client, "/api/generate", prompt="Hello", system="Be brief.", options=OPTIONS)
        second = await post(client, "/api/generate", prompt="More", context=first["context"], options=OPTIONS)
    wanted = answer(llm)
    assert first["response"] == wanted.text
    assert first["context"] == [*wanted.prompt_token_ids, *wanted.token_ids]
    assert system["response"] == answer(llm, [{"role": "system", "content": "Be brief."}, *HELLO]).text
    ids = [*first["context"], *llm.encode([{"role": "user", "content": "More"}])]
    assert second["context"][: len(ids)] == ids


async def test_generate_raw_and_streamed(serving, llm):
    async with serving() as client:
        *pieces, last = await lines(client, "/api/generate", prompt="The sky", raw=True, options=OPTIONS)
    wanted = llm.generate("The sky", SamplingParams(temperature=0, max_tokens=8))
    assert "".join(piece["response"] for piece in pieces) == wanted.text
    assert last["done_reason"] == wanted.finish_reason


async def test_logprobs(serving, llm):
    asked = {"messages": HELLO, "options": OPTIONS, "logprobs": True, "top_logprobs": 2}
    async with serving() as client:
        whole = await post(client, "/api/chat", **asked)
        pieces = await lines(client, "/api/chat", **asked)
    wanted = [item.logprob for item in answer(llm, logprobs=2).logprobs]
    assert [item["logprob"] for item in whole["logprobs"]] == wanted
    assert [item["logprob"] for piece in pieces for item in piece.get("logprobs", ())] == wanted


async def test_options_that_are_not_known_are_named(serving):
    async with serving() as client:
        options = {**OPTIONS, "num_gpu": 1, "num_ctx": 64}
        response = await client.post("/api/chat", json={"messages": HELLO, "options": options, "stream": False})
        assert response.headers["X-Realizar-Ignored-Fields"] == "options.num_gpu, options.num_ctx"


async def test_asking_for_nothing_is_asking_whether_the_model_is_there(serving):
    async with serving() as client:
        for path, body in (("/api/generate", {}), ("/api/chat", {"messages": []})):
            found = await post(client, path, model="tiny", keep_alive="5m", **body)
            assert (found["done"], found["done_reason"]) == (True, "load")
            assert "--allow-manage" in (await post(client, path, status=403, keep_alive=0, **body))["error"]
            assert "a duration" in (await post(client, path, status=400, keep_alive="soon", **body))["error"]


@pytest.mark.parametrize(
    ("path", "change", "words"),
    [
        ("/api/generate", {"template": "{{ 7 }}"}, "template"), ("/api/generate", {"images": ["x"]}, "images"),
        ("/api/generate", {"suffix": "x"}, "suffix"), ("/api/generate", {"format": "xml"}, "format"),
        ("/api/chat", {"think": True}, "think"), ("/api/chat", {"tools": [{"type": "function"}]}, "tools[0].function"),
        ("/api/generate", {"think": "high"}, "think"), ("/api/generate", {"format": [1]}, "format"),
        ("/api/chat", {"format": {"type": "array", "uniqueItems": True}}, "format: #/uniqueItems"),
        ("/api/chat", {"options": {"mirostat": 1}}, "mirostat"),
        ("/api/chat", {"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0].function"),
        ("/api/chat", {"messages": [{"role": "user", "images": ["x"]}]}, "messages[0].images"),
        ("/api/chat", {"options": {"temperature": "hot"}}, "options.temperature"),
        ("/api/chat", {"options": {"num_predict": 0}}, "max_tokens"),
        ("/api/generate", {"context": [10**6]}, "prompt"),
    ],
    ids=str,
)  # fmt: skip
async def test_errors_are_ollamas(serving, path, change, words):
    async with serving() as client:
        found = await post(client, path, status=400, **{"prompt": "a", "messages": HELLO, **change})
        assert list(found) == ["error"]
        assert found["error"].startswith(words)
        assert list(await post(client, path, status=404, model="llama3", messages=HELLO, prompt="a")) == ["error"]


async def test_embed(serving, encoder, pool_of):
    texts = ["The sky is blue", "x" * 500]
    wanted = encoder.embed(texts, truncate=True)
    async with serving(pool_of(encoder=encoder)) as client:
        found = await post(client, "/api/embed", input=texts)
        one = await post(client, "/api/embed", input=texts[0])
        older = await post(client, "/api/embeddings", prompt=texts[0])
        refused = await post(client, "/api/embed", status=400, input=texts, truncate=False)
    np.testing.assert_array_equal(np.array(found["embeddings"], np.float32), wanted)
    assert found["prompt_eval_count"] == 16 + encoder.max_model_len
    assert one["embeddings"] == [older["embedding"]] == encoder.embed(texts[:1]).tolist()
    assert "501 tokens" in refused["error"]


async def test_what_tells_of_models(serving, llm, encoder, pool_of):
    async with serving(pool_of(tiny=llm, encoder=encoder)) as client:
        tags = (await (await client.get("/api/tags")).json())["models"]
        running = (await (await client.get("/api/ps")).json())["models"]
        shown = await post(client, "/api/show", model="tiny:latest")
        older = await post(client, "/api/show", name="encoder")
        await post(client, "/api/show", status=400)
        version = await (await client.get("/api/version")).json()
        root = await (await client.get("/")).text()
        for path in ("/", "/api/tags", "/api/version"):
            assert (await client.head(path)).status == 200
    assert [entry["name"] for entry in tags] == ["tiny:latest", "encoder:latest"]
    assert tags[0]["size"] == llm.info.nbytes > 0
    assert len(tags[0]["digest"]) == 64
    assert tags[0]["details"]["quantization_level"] == "F32"
    assert tags[0]["details"]["parameter_size"].endswith("K")
    assert running[0]["context_length"] == llm.max_model_len
    assert shown["model_info"]["general.architecture"] == "llama"
    assert shown["model_info"]["llama.block_count"] == 2
    assert shown["template"] == llm.tokenizer.spec.chat_template
    assert (shown["capabilities"], older["capabilities"]) == (["completion"], ["embedding"])
    assert version["version"]
    assert root == "Ollama is running"
