"""/v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

import json
from typing import Any

import pytest

from realizar.sampling import SamplingParams

HELLO = [{"role": "user", "content": "Hello"}]
GREEDY: dict[str, Any] = {"messages": HELLO, "temperature": 0, "max_tokens": 8}
BAD = [{"name": "f", "input_schema": {"type": "object", "properties": {"x": {"uniqueItems": True}}}}]


async def post(client: Any, path: str = "/v1/messages", status: int = 200, **body: Any) -> Any:
    async with client.post(path, json=body) as response:
        found = await response.json()
        assert response.status == status, found
        return found


async def events(client: Any, **body: Any) -> list[dict[str, Any]]:
    """The events of a stream; each is named by its own type."""
    async with client.post("/v1/messages", json={"stream": True, **body}) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        found = []
        for event in (await response.text()).split("\n\n")[:-1]:
            name, data = event.split("\n")
            found.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {found[-1]['type']}"
        return found


async def test_an_answer(serving, llm):
    wanted = llm.chat(HELLO, SamplingParams(temperature=0, max_tokens=8))
    async with serving() as client:
        found = await post(client, model="tiny", **GREEDY)
    assert found["id"].startswith("msg_")
    assert found["content"] == [{"type": "text", "text": wanted.text}]
    assert found | {"type": "message", "role": "assistant", "model": "tiny", "stop_sequence": None} == found
    assert found["stop_reason"] == {"stop": "end_turn", "length": "max_tokens"}[wanted.finish_reason]
    assert found["usage"] == {"input_tokens": len(wanted.prompt_token_ids), "output_tokens": len(wanted.token_ids)}


async def test_a_stream_says_the_same_in_events(serving):
    async with serving() as client:
        whole = await post(client, **GREEDY)
        found = await events(client, **GREEDY)
    kinds = [event["type"] for event in found]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert "".join(event["delta"]["text"] for event in found[2:-3]) == whole["content"][0]["text"]
    assert found[0]["message"]["usage"] == {**whole["usage"], "output_tokens": 0}
    assert found[-2]["usage"] == whole["usage"]
    assert found[-2]["delta"] == {"stop_reason": whole["stop_reason"], "stop_sequence": None}


async def test_a_stop_sequence_is_named(serving):
    async with serving() as client:
        text = (await post(client, **GREEDY))["content"][0]["text"]
        found = await post(client, **GREEDY, stop_sequences=["never so", text[2:4]])
        streamed = await events(client, **GREEDY, stop_sequences=["never so", text[2:4]])
    assert (found["stop_reason"], found["stop_sequence"]) == ("stop_sequence", text[2:4])
    assert found["content"][0]["text"] == text[: text.index(text[2:4])]
    assert streamed[-2]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": text[2:4]}


async def test_tokens_are_counted_as_they_are_used(serving):
    blocks = [{"type": "text", "text": "Hel", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "lo"}]
    asked = {
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": blocks}, {"role": "assistant", "content": "Hi"}, *HELLO],
    }
    async with serving() as client:
        counted = await post(client, "/v1/messages/count_tokens", **asked)
        found = await post(client, max_tokens=1, **asked)
    assert counted == {"input_tokens": found["usage"]["input_tokens"]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_tokens": None}, "max_tokens: is missing"), ({"messages": []}, "messages: found an empty list"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "Hi"}]}, "messages[1].role"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"), ({"thinking": {"type": "enabled"}}, "thinking"),
        ({"thinking": {"type": "always"}}, "thinking.type"),
        ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "tools[0].type"),
        ({"tools": [{"name": 1, "input_schema": {}}]}, "tools[0].name"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"), ({"tool_choice": {"type": "f"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"tools": BAD, "tool_choice": {"type": "any"}}, "tools[0].input_schema: #/properties/x/uniqueItems"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "messages[0].content[0].tool_use_id"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": 5}]}]},
         "messages[0].content[0].content"),
        ({"messages": [{"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "image"}]}]}]},
         "messages[0].content[0].content[0]"),
        ({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a"}]}, *HELLO]},
         "messages[0].content[0].name"),
        ({"temperature": -1}, "temperature"),
    ],
    ids=str,
)  # fmt: skip
async def test_errors_are_anthropics(serving, change, words):
    async with serving() as client:
        found = await post(client, status=400, **{**GREEDY, **change})
    assert (found["type"], found["error"]["type"]) == ("error", "invalid_request_error")
    assert found["error"]["message"].startswith(words)


async def test_other_errors_are_anthropics_too(serving):
    async with serving(api_keys=("k",)) as client:
        found = await post(client, status=401, **GREEDY)
        assert found["error"]["type"] == "authentication_error"
    async with serving() as client:
        assert (await post(client, status=404, model="claude", **GREEDY))["error"]["type"] == "not_found_error"
