"""/v1/chat/completions: calls of tools in every format, written freely and under constraint, and reasoning."""

from __future__ import annotations

import json
from typing import Any

import pytest

from realizar.testing.conversations import ARGUMENTS, FORMATS, HELLO, HERMES, OPENED, THINKING, TOOLS

CHAT = "/v1/chat/completions"
ASKED: dict[str, Any] = {"messages": HELLO, "temperature": 0, "max_tokens": 400, "tools": TOOLS}
TWO = (
    '<tool_call>{"name": "time", "arguments": {}}</tool_call>\n'
    '<tool_call>{"name": "weather", "arguments": {"city": "A"}}'
)
WEATHER = {"type": "function", "function": {"name": "weather"}}


async def ask(client: Any, status: int = 200, **body: Any) -> Any:
    async with client.post(CHAT, json=body) as response:
        found = await response.json()
        assert response.status == status, found
        return found


async def streamed(client: Any, **body: Any) -> tuple[dict[str, Any], str]:
    """The message that the deltas of a stream add up to, as a naive client merges them, and the reason of its end."""
    async with client.post(CHAT, json={"stream": True, **body}) as response:
        assert response.status == 200, await response.text()
        events = (await response.text()).split("\n\n")
    message: dict[str, Any] = {"content": "", "reasoning_content": "", "tool_calls": []}
    for event in events[:-2]:
        (choice,) = json.loads(event.removeprefix("data: "))["choices"]
        delta = choice["delta"]
        for name in ("content", "reasoning_content"):
            message[name] += delta.get(name) or ""
        for call in delta.get("tool_calls", ()):
            calls, function = message["tool_calls"], call["function"]
            if "id" in call:
                assert (call["index"], function["arguments"]) == (len(calls), "")
                calls.append({"id": call["id"], "type": call["type"], "function": dict(function)})
            else:
                assert set(function) == {"arguments"}
                calls[call["index"]]["function"]["arguments"] += function["arguments"]
        reason = choice["finish_reason"]
    return message, reason


def calls_of(message: dict[str, Any]) -> list[tuple[str, Any]]:
    """Names and arguments; ids are told apart."""
    calls = message.get("tool_calls", [])
    assert len({call["id"] for call in calls}) == len(calls)
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]


@pytest.mark.parametrize("name", FORMATS)
async def test_calls_of_every_format(serving, scripted, pool_of, name):
    template, text = FORMATS[name]
    async with serving(pool_of(scripted=scripted(template, text))) as client:
        (choice,) = (await ask(client, **ASKED))["choices"]
        scripted(template, text)
        message, reason = await streamed(client, **ASKED)
    assert calls_of(choice["message"]) == [("weather", ARGUMENTS)]
    assert choice["message"]["content"] is None
    assert calls_of(message) == calls_of(choice["message"])
    assert (reason, choice["finish_reason"], message["content"]) == ("tool_calls", "tool_calls", "")


async def test_text_before_calls_and_two_of_them(serving, scripted, pool_of):
    async with serving(pool_of(scripted=scripted(HERMES, "Let me see.\n" + TWO))) as client:
        (choice,) = (await ask(client, **ASKED))["choices"]
        scripted(HERMES, "Let me see.\n" + TWO)
        message, _ = await streamed(client, **ASKED)
        scripted(HERMES, "\n" + TWO)
        one, reason = await streamed(client, **ASKED, parallel_tool_calls=False)
        scripted(HERMES, TWO)
        (none,) = (await ask(client, **ASKED, tool_choice="none"))["choices"]
    assert choice["message"]["content"] == message["content"] == "Let me see.\n"
    assert calls_of(choice["message"]) == calls_of(message) == [("time", {}), ("weather", {"city": "A"})]
    assert (calls_of(one), one["content"], reason) == ([("time", {})], "", "tool_calls")
    assert (none["message"]["content"], none["finish_reason"]) == (TWO, "stop")


async def test_an_answer_without_calls_is_content(serving, scripted, pool_of):
    text = "\n <tool_call>no call</tool_call> "
    async with serving(pool_of(scripted=scripted(HERMES, text))) as client:
        (choice,) = (await ask(client, **ASKED))["choices"]
        scripted(HERMES, "  ")
        message, reason = await streamed(client, **ASKED)
    assert choice["message"]["content"] == text
    assert (message["content"], reason, message["tool_calls"]) == ("  ", "stop", [])


async def test_a_call_that_is_cut_is_still_json(serving, scripted, pool_of):
    template, text = FORMATS["hermes"]
    async with serving(pool_of(scripted=scripted(template, text))) as client:
        message, reason = await streamed(client, **{**ASKED, "max_tokens": text.index("units")})
    assert calls_of(message) == [("weather", {"city": ARGUMENTS["city"]})]
    assert reason == "length"


@pytest.mark.parametrize(
    ("name", "choice", "reason"), [*((name, "required", "tool_calls") for name in FORMATS), ("hermes", WEATHER, "stop")]
)
async def test_a_call_that_is_required_is_one_whatever_the_model_would_say(
    serving, scripted, pool_of, name, choice, reason
):
    asked = {**ASKED, "tool_choice": choice, "parallel_tool_calls": False, "temperature": 1, "seed": 3}
    async with serving(pool_of(scripted=scripted(FORMATS[name][0], "No."))) as client:
        whole = (await ask(client, **asked))["choices"][0]
        message, found = await streamed(client, **asked)
    assert whole["finish_reason"] == found == reason
    assert calls_of(message) == calls_of(whole["message"])
    ((called, arguments),) = calls_of(message)
    assert called in (["weather"] if choice is WEATHER else ["weather", "time"])
    assert len(arguments["city"]) <= 8 if called == "weather" else arguments == {}


@pytest.mark.parametrize(
    ("template", "text"), [(THINKING, "<think>\nHm. \n</think>\n\nYes"), (OPENED, "Hm.</think>Yes")]
)
async def test_reasoning_is_parted_from_the_answer(serving, scripted, pool_of, template, text):
    asked = {"messages": HELLO, "temperature": 0, "max_tokens": 200}
    async with serving(pool_of(scripted=scripted(template, text))) as client:
        whole = (await ask(client, **asked))["choices"][0]["message"]
        scripted(template, text)
        message, _ = await streamed(client, **asked)
        scripted(template, text[:-3] + TWO)
        called, _ = await streamed(client, **asked, tools=TOOLS)
    assert (whole["reasoning_content"], whole["reasoning"], whole["content"]) == ("Hm.", "Hm.", "Yes")
    assert (message["reasoning_content"], message["content"]) == ("Hm.", "Yes")
    assert (called["reasoning_content"], called["content"], len(called["tool_calls"])) == ("Hm.", "", 2)


async def test_a_required_call_may_be_thought_about(serving, scripted, pool_of):
    async with serving(pool_of(scripted=scripted(THINKING, "<think>Hm.</think>"))) as client:
        message, reason = await streamed(client, **ASKED, tool_choice="required", parallel_tool_calls=False)
    assert (message["reasoning_content"], reason, len(calls_of(message))) == ("Hm.", "tool_calls", 1)


async def test_calls_and_results_are_shown_to_the_model(serving, scripted, pool_of):
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ulm"}'}}
    messages = [
        *HELLO, {"role": "assistant", "content": None, "tool_calls": [call], "reasoning": "Hm."},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ]  # fmt: skip
    llm = scripted(HERMES, "Rain.")
    async with serving(pool_of(scripted=llm)) as client:
        found = await ask(client, **{**ASKED, "messages": messages})
    shown = [
        *HELLO, {"role": "assistant", "content": "(Hm.)[weather of Ulm]"}, {"role": "tool", "content": "rain"},
    ]  # fmt: skip
    assert found["usage"]["prompt_tokens"] == len(llm.encode(shown, tools=TOOLS))


async def test_a_template_is_applied_with_tools_and_effort(serving, scripted, pool_of):
    template = HERMES + "{{ reasoning_effort }}"
    llm = scripted(template, "Yes")
    async with serving(pool_of(scripted=llm)) as client:
        async with client.post("/apply-template", json={"messages": HELLO, "tools": TOOLS}) as response:
            text = (await response.json())["prompt"]
        found = await ask(client, **ASKED, reasoning_effort="low")
    assert '"weather"' in text
    assert found["usage"]["prompt_tokens"] == len(llm.encode(HELLO, tools=TOOLS)) + len("low")


async def test_logprobs_of_every_token_come_with_a_stream_of_calls(serving, scripted, pool_of):
    template, text = FORMATS["hermes"]
    async with serving(pool_of(scripted=scripted(template, text))) as client:
        async with client.post(CHAT, json={**ASKED, "stream": True, "logprobs": True}) as response:
            events = (await response.text()).split("\n\n")[:-2]
    parts = [json.loads(event[6:])["choices"][0]["logprobs"] for event in events]
    assert sum(len(part["content"]) for part in parts if part) == len(text.encode()) + 1


BAD = {"type": "object", "properties": {"tags": {"type": "array", "uniqueItems": True}}}
BAD_TOOL = {"type": "function", "function": {"name": "f", "parameters": BAD}}
REFUSED = [
    ({"tools": [{"type": "retrieval"}]}, "tools[0].type"), ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [{"type": "function", "function": {"name": 5}}]}, "tools[0].function.name"),
    ({"tools": [{"type": "function", "function": {"name": "f", "description": 5}}]}, "tools[0].function.description"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]}, "tools[0].function.parameters"),
    ({"tools": [TOOLS[0], TOOLS[0]]}, "tools[1]"), ({"tool_choice": "always"}, "tool_choice"),
    ({"tools": None, "tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
    ({"tools": [TOOLS[1], BAD_TOOL], "tool_choice": "required"}, "tools[1].function.parameters"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"tool_choice": "required", "min_tokens": 3}, "min_tokens"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]},
     "messages[0].tool_calls[0].function.arguments"),
]  # fmt: skip


async def test_a_template_that_does_not_tell_of_tools_serves_only_required_calls(serving):
    asked = {**ASKED, "tools": TOOLS[1:], "max_tokens": 100}
    async with serving() as client:
        refused = await ask(client, status=400, **asked)
        found = await ask(client, **asked, tool_choice="required", parallel_tool_calls=False)
    assert (refused["error"]["param"], "required" in refused["error"]["hint"]) == ("tools", True)
    assert calls_of(found["choices"][0]["message"]) == [("time", {})]


@pytest.mark.parametrize(("change", "param"), REFUSED, ids=str)
async def test_what_cannot_be_is_refused_by_its_path(serving, scripted, pool_of, change, param):
    async with serving(pool_of(scripted=scripted(HERMES, "No."))) as client:
        found = await ask(client, status=400, **{**ASKED, **change})
    assert found["error"]["param"] == param, found
    if "uniqueItems" in str(change):
        assert "#/properties/tags/uniqueItems" in found["error"]["message"]
