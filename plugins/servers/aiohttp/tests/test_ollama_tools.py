"""/api/chat and /api/generate: calls, reasoning, formats."""

from __future__ import annotations

import json
from typing import Any

import pytest

from realizar.sampling import SamplingParams
from realizar.testing.conversations import ARGUMENTS, FORMATS, HELLO, HERMES, THINKING, TOOLS

OPTIONS = {"temperature": 0, "num_predict": 400}
ASKED: dict[str, Any] = {"messages": HELLO, "options": OPTIONS, "tools": TOOLS}
SCHEMA = {"type": "object", "properties": {"age": {"type": "integer", "maximum": 99}}, "required": ["age"]}


async def lines(client: Any, path: str = "/api/chat", **body: Any) -> list[dict[str, Any]]:
    async with client.post(path, json=body) as response:
        assert response.status == 200, await response.text()
        return [json.loads(line) for line in (await response.text()).splitlines()]


async def whole(client: Any, path: str = "/api/chat", **body: Any) -> dict[str, Any]:
    (only,) = await lines(client, path, stream=False, **body)
    return only


def functions(message: dict[str, Any]) -> list[dict[str, Any]]:
    return [call["function"] for call in message.get("tool_calls", [])]


@pytest.mark.parametrize("name", FORMATS)
async def test_calls_of_every_format_have_objects_of_arguments(serving, scripted, pool_of, name):
    template, text = FORMATS[name]
    async with serving(pool_of(scripted=scripted(template, text))) as client:
        found = await whole(client, **ASKED)
        scripted(template, text)
        streamed = await lines(client, **ASKED)
    wanted = [{"index": 0, "name": "weather", "arguments": ARGUMENTS}]
    assert functions(found["message"]) == wanted
    assert [each for line in streamed for each in functions(line["message"])] == wanted
    assert found["message"]["content"] == "".join(line["message"]["content"] for line in streamed) == ""
    assert (streamed[-1]["done"], streamed[-1]["done_reason"]) == (True, "stop")


async def test_reasoning_is_parted_from_the_answer(serving, scripted, pool_of):
    text = "<think>\nHm.\n</think>\n\nYes"
    async with serving(pool_of(scripted=scripted(THINKING, text))) as client:
        chat = await whole(client, messages=HELLO, options=OPTIONS, think="low")
        scripted(THINKING, text)
        streamed = await lines(client, messages=HELLO, options=OPTIONS, think=True)
        scripted(THINKING, text)
        generated = await whole(client, "/api/generate", prompt="Hello", options=OPTIONS, think=True)
    assert chat["message"] == {"role": "assistant", "content": "Yes", "thinking": "Hm."}
    assert "".join(line["message"].get("thinking", "") for line in streamed) == "Hm."
    assert "".join(line["message"]["content"] for line in streamed) == "Yes"
    assert (generated["response"], generated["thinking"]) == ("Yes", "Hm.")


async def test_a_format_is_kept(serving):
    options = {"temperature": 1, "seed": 3, "num_predict": 200}
    async with serving() as client:
        chat = await whole(client, messages=HELLO, options=options, format=SCHEMA)
        generated = await whole(client, "/api/generate", prompt="a", options=options, format=SCHEMA)
        raw = await whole(client, "/api/generate", prompt="a", raw=True, options=options, format=SCHEMA)
    for text in (chat["message"]["content"], generated["response"], raw["response"]):
        assert json.loads(text)["age"] <= 99


async def test_calls_and_results_are_shown_to_the_model(serving, scripted, pool_of):
    call = {"function": {"name": "weather", "arguments": {"city": "Ulm"}}}
    messages = [
        *HELLO, {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": [call]},
        {"role": "tool", "tool_name": "weather", "content": "rain"},
    ]  # fmt: skip
    shown = [*HELLO, {"role": "assistant", "content": "(Hm.)[weather of Ulm]"}, {"role": "tool", "content": "rain"}]
    llm = scripted(HERMES, "Rain.")
    async with serving(pool_of(scripted=llm)) as client:
        found = await whole(client, **{**ASKED, "messages": messages})
    assert found["prompt_eval_count"] == len(llm.encode(shown, tools=TOOLS))


async def test_capabilities_are_what_the_template_tells(serving, scripted, pool_of):
    async with serving(pool_of(scripted=scripted(THINKING, ""))) as client:
        async with client.post("/api/show", json={"model": "scripted"}) as response:
            assert (await response.json())["capabilities"] == ["completion", "tools", "thinking"]


async def test_samplers_act(serving, llm):
    plain = {"temperature": 0.9, "top_k": 0, "top_p": 1.0, "seed": 5, "num_predict": 12}
    params = SamplingParams(
        temperature=0.9, seed=5, max_tokens=12, mirostat=2, mirostat_tau=2.0, samplers=("temperature", "mirostat")
    )
    async with serving() as client:
        found = await whole(client, messages=HELLO, options={**plain, "mirostat": 2, "mirostat_tau": 2.0})
    assert found["message"]["content"] == llm.chat(HELLO, params).text
