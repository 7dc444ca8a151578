"""/v1/messages: tool_use and thinking blocks, streamed and not, and results of tools."""

from __future__ import annotations

import json
from typing import Any

import pytest

from realizar.testing.conversations import ARGUMENTS, FORMATS, HELLO, HERMES, PARAMETERS, THINKING, TOOLS

GIVEN = [
    {"name": "weather", "description": "Of a city", "input_schema": PARAMETERS},
    {"type": "custom", "name": "time", "input_schema": {"type": "object"}},
]
DELTAS = [("text_delta", "text"), ("thinking_delta", "thinking"), ("input_json_delta", "partial_json")]
ASKED: dict[str, Any] = {"messages": HELLO, "temperature": 0, "max_tokens": 400, "tools": GIVEN}


async def ask(client: Any, **body: Any) -> Any:
    async with client.post("/v1/messages", json=body) as response:
        found = await response.json()
        assert response.status == 200, found
        return found


async def streamed(client: Any, **body: Any) -> tuple[list[dict[str, Any]], str]:
    """The content that the events of a stream add up to, and the reason of its end; each block is begun and stopped."""
    async with client.post("/v1/messages", json={"stream": True, **body}) as response:
        events = [json.loads(event.split("\n")[1][6:]) for event in (await response.text()).split("\n\n")[:-1]]
    content: list[dict[str, Any]] = []
    open_block, pieces, reason = None, "", ""
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert open_block is None
                open_block, pieces = len(content), ""
                content.append(dict(event["content_block"]))
            case "content_block_delta":
                kind = event["delta"].pop("type")
                ((field, piece),) = event["delta"].items()
                assert (
                    kind
                    == {"text": "text_delta", "thinking": "thinking_delta", "partial_json": "input_json_delta"}[field]
                )
                if field == "partial_json":
                    pieces += piece
                else:
                    content[-1][field] += piece
            case "content_block_stop":
                if content[-1]["type"] == "tool_use":
                    content[-1]["input"] = json.loads(pieces)
                open_block = None
            case "message_delta":
                reason = event["delta"]["stop_reason"]
        assert event.get("index", len(content) - 1) == len(content) - 1
    assert open_block is None
    return content, reason


def without_ids(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in block.items() if name != "id"} for block in content]


@pytest.mark.parametrize("name", FORMATS)
async def test_calls_of_every_format(serving, scripted, pool_of, name):
    template, text = FORMATS[name]
    async with serving(pool_of(scripted=scripted(template, text))) as client:
        whole = await ask(client, **ASKED)
        scripted(template, text)
        content, reason = await streamed(client, **ASKED)
    assert without_ids(whole["content"]) == [{"type": "tool_use", "name": "weather", "input": ARGUMENTS}]
    assert without_ids(content) == without_ids(whole["content"])
    assert whole["stop_reason"] == reason == "tool_use"


async def test_reasoning_text_and_calls_are_blocks_of_their_own(serving, scripted, pool_of):
    call = '<tool_call>{"name": "time", "arguments": {}}</tool_call>'
    text = f"<think>\nHm.</think>\n\nSo: {call}{call}"
    asked = {**ASKED, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    async with serving(pool_of(scripted=scripted(THINKING, text))) as client:
        whole = await ask(client, **asked)
        scripted(THINKING, text)
        content, _ = await streamed(client, **asked)
        scripted(THINKING, text)
        single, _ = await streamed(client, **asked, tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    wanted = [
        {"type": "thinking", "thinking": "Hm.", "signature": ""}, {"type": "text", "text": "So: "},
        {"type": "tool_use", "name": "time", "input": {}}, {"type": "tool_use", "name": "time", "input": {}},
    ]  # fmt: skip
    assert without_ids(whole["content"]) == without_ids(content) == wanted
    assert without_ids(single) == wanted[:3]


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "time"}], ids=str)
async def test_a_required_call(serving, scripted, pool_of, choice):
    asked = {**ASKED, "tool_choice": {**choice, "disable_parallel_tool_use": True}}
    async with serving(pool_of(scripted=scripted(HERMES, "No."))) as client:
        content, reason = await streamed(client, **asked)
        scripted(HERMES, "No.")
        none = await ask(client, **{**ASKED, "tool_choice": {"type": "none"}})
    (block,) = content
    assert (block["type"], reason) == ("tool_use", "tool_use")
    assert block["name"] == choice.get("name", block["name"])
    assert none["content"] == [{"type": "text", "text": "No."}]


async def test_calls_and_results_are_shown_to_the_model(serving, scripted, pool_of):
    messages = [
        *HELLO,
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": ""}, {"type": "text", "text": "So:"},
            {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Ulm"}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "rain"}]},
            {"type": "tool_result", "tool_use_id": "c1", "content": "more", "is_error": False},
            {"type": "text", "text": "And?"}]},
    ]  # fmt: skip
    shown = [
        *HELLO, {"role": "assistant", "content": "(Hm.)So:[weather of Ulm]"}, {"role": "tool", "content": "rain"},
        {"role": "tool", "content": "more"}, {"role": "user", "content": "And?"},
    ]  # fmt: skip
    llm = scripted(HERMES, "Rain.")
    async with serving(pool_of(scripted=llm)) as client:
        found = await ask(client, **{**ASKED, "messages": messages})
        body = {"messages": messages, "tools": GIVEN}
        async with client.post("/v1/messages/count_tokens", json=body) as response:
            counted = await response.json()
    assert found["usage"]["input_tokens"] == counted["input_tokens"] == len(llm.encode(shown, tools=TOOLS))
