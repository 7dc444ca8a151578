"""Answers that must be something: response_format, and vLLM's fields."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest

from realizar.engine import LLM
from realizar.sampling import SamplingParams

HELLO = [{"role": "user", "content": "Hello"}]
RANDOM: dict[str, Any] = {"temperature": 1.0, "seed": 5, "max_tokens": 150}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"type": "integer", "maximum": 99}},
    "required": ["name", "age"], "additionalProperties": False,
}  # fmt: skip
BAD = {"type": "object", "properties": {"tags": {"uniqueItems": True}}}


async def post(client: Any, path: str, status: int = 200, **body: Any) -> Any:
    async with client.post(path, json=body) as response:
        found = await response.json()
        assert response.status == status, found
        return found


def named(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}}


def is_person(text: str) -> bool:
    found = json.loads(text)
    return set(found) == {"name", "age"} and len(found["name"]) <= 5 and found["age"] <= 99


FORMS = [
    ({"response_format": named(SCHEMA)}, is_person), ({"guided_json": SCHEMA}, is_person),
    ({"structured_outputs": {"json": SCHEMA}}, is_person),
    ({"guided_regex": "[0-9]{4}"}, lambda text: re.fullmatch("[0-9]{4}", text)),
    ({"structured_outputs": {"regex": "[0-9]{4}"}}, lambda text: re.fullmatch("[0-9]{4}", text)),
    ({"guided_choice": ["yes", "no"]}, lambda text: text in ("yes", "no")),
    ({"structured_outputs": {"choice": ["yes", "no"]}}, lambda text: text in ("yes", "no")),
    ({"guided_grammar": 'root ::= "a" "b"+ "c"'}, lambda text: re.fullmatch("ab+c", text)),
    ({"structured_outputs": {"grammar": 'start: "x" | "y"'}}, lambda text: text in ("x", "y")),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "is_right"), FORMS, ids=str)
async def test_chat_and_completions_keep_to_it(serving, asked, is_right):
    async with serving() as client:
        chat = await post(client, "/v1/chat/completions", messages=HELLO, **RANDOM, **asked)
        text = await post(client, "/v1/completions", prompt=["a", "b"], **RANDOM, **asked)
        async with client.post(
            "/v1/chat/completions", json={"messages": HELLO, "stream": True, **RANDOM, **asked}
        ) as response:
            events = (await response.text()).split("\n\n")[:-2]
    assert chat["choices"][0]["finish_reason"] == "stop"
    assert is_right(chat["choices"][0]["message"]["content"])
    assert all(is_right(choice["text"]) for choice in text["choices"])
    deltas = [json.loads(event[6:])["choices"][0]["delta"] for event in events]
    assert "".join(delta.get("content", "") for delta in deltas) == chat["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    "asked", [{"response_format": {"type": "json_object"}}, {"structured_outputs": {"json_object": True}}], ids=str
)
async def test_any_object(serving, asked):
    bias = {str(3 + ord("}")): 8}  # else a random model hardly ends it
    async with serving() as client:
        found = await post(client, "/v1/chat/completions", messages=HELLO, **RANDOM, logit_bias=bias, **asked)
    assert isinstance(json.loads(found["choices"][0]["message"]["content"]), dict)


REFUSED = [
    ({"response_format": {"type": "xml"}}, "response_format.type", "json_schema"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "schema"),
    ({"response_format": named(BAD)}, "response_format.json_schema.schema", "#/properties/tags/uniqueItems"),
    ({"response_format": named({"type": "string", "pattern": "("})}, "response_format.json_schema.schema", "#"),
    ({"guided_json": BAD}, "guided_json", "#/properties/tags/uniqueItems"),
    ({"guided_json": "{"}, "guided_json", "not JSON"),
    ({"guided_regex": "a(?=b)"}, "guided_regex", "look"), ({"guided_choice": []}, "guided_choice", "0 texts"),
    ({"guided_grammar": "root ::= ("}, "guided_grammar", "GBNF"),
    ({"guided_regex": "a", "guided_choice": ["b"]}, "guided_choice", "guided_regex"),
    ({"structured_outputs": {"regex": 5}}, "structured_outputs.regex", "a text"),
    ({"guided_regex": "a", "ignore_eos": True}, "ignore_eos", "structured"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "param", "words"), REFUSED, ids=str)
async def test_what_cannot_be_kept_is_refused_by_its_path(serving, asked, param, words):
    async with serving() as client:
        for path in ("/v1/chat/completions", "/v1/completions"):
            found = await post(client, path, status=400, messages=HELLO, prompt="a", **asked)
            assert found["error"]["param"] == param, found
            assert words in found["error"]["message"]


async def test_samplers_act_here_too(serving, llm):
    params = SamplingParams(**RANDOM | {"max_tokens": 12}, top_n_sigma=0.5, samplers=("top_n_sigma", "temperature"))
    asked = {**RANDOM, "max_tokens": 12, "top_n_sigma": 0.5, "samplers": ["top_n_sigma", "temperature"]}
    async with serving() as client:
        found = await post(client, "/v1/chat/completions", messages=HELLO, **asked)
    assert found["choices"][0]["message"]["content"] == llm.chat(HELLO, params).text


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_samplers_are_explained(serving, path):
    asked = {"messages": HELLO, "prompt": "a", **RANDOM, "max_tokens": 4, "top_k": 3, "explain": True, "n": 2}
    async with serving() as client:
        whole = await post(client, path, **asked)
        plain = await post(client, path, **{**asked, "explain": False})
        async with client.post(path, json={**asked, "stream": True}) as response:
            events = [json.loads(event[6:])["choices"][0] for event in (await response.text()).split("\n\n")[:-2]]
    assert len(whole["choices"][0]["explanation"]) == whole["usage"]["completion_tokens"] // 2
    for choice in whole["choices"]:
        kept = next(step for step in choice["explanation"][0]["steps"] if step["sampler"] == "top_k")
        assert (kept["after"], len(kept["top"])) == (3, 3)
        assert sum(top["prob"] for top in kept["top"]) == pytest.approx(1)
        given = [each for event in events if event["index"] == choice["index"] for each in event.get("explanation", ())]
        assert given == choice["explanation"]
    assert "explanation" not in plain["choices"][0]


async def test_without_the_extra_the_refusal_says_what_to_install(serving, write_model, pool_of, monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with LLM(write_model(seed=4), backend="numpy") as llm:
        async with serving(pool_of(tiny=llm)) as client:
            found = await post(client, "/v1/completions", status=400, prompt="a", guided_regex="a")
    assert "pip install 'realizar[structured]'" in found["error"]["message"]
