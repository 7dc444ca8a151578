"""/v1/chat/completions: objects, chunks, every field, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from realizar.sampling import SamplingParams
from realizar_aiohttp.problem import Problem
from realizar_aiohttp.wires.openai_messages import Message, template_messages

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
GREEDY = {"messages": HELLO, "temperature": 0, "max_tokens": 12, "ignore_eos": True}


async def ask(client: Any, path: str = CHAT, status: int = 200, **body: Any) -> Any:
    async with client.post(path, json=body) as response:
        found = await response.json()
        assert response.status == status, found
        return found


async def chunks(client: Any, path: str = CHAT, **body: Any) -> list[dict[str, Any]]:
    """The chunks of a stream, which must be framed as OpenAI frames them."""
    async with client.post(path, json={"stream": True, **body}) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        events = (await response.text()).split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(event.startswith("data: ") for event in events[:-1])
    return [json.loads(event[6:]) for event in events[:-2]]


def expected(llm: Any, **params: Any) -> Any:
    return llm.chat(HELLO, SamplingParams(**{"temperature": 0, "max_tokens": 12, "ignore_eos": True} | params))


async def test_an_answer_is_what_the_engine_gives(serving, llm):
    async with serving() as client:
        found = await ask(client, model="tiny", **GREEDY)
    wanted = expected(llm)
    assert found["object"] == "chat.completion"
    assert found["model"] == "tiny"
    assert found["id"].startswith("chatcmpl-")
    (choice,) = found["choices"]
    assert choice["message"] == {"role": "assistant", "content": wanted.text, "refusal": None}
    assert (choice["index"], choice["finish_reason"], choice["logprobs"]) == (0, "length", None)
    prompt = len(wanted.prompt_token_ids)
    assert found["usage"].pop("prompt_tokens_details")["cached_tokens"] >= 0
    assert found["usage"] == {"prompt_tokens": prompt, "completion_tokens": 12, "total_tokens": prompt + 12}


async def test_a_stream_adds_up_to_the_answer(serving, llm):
    async with serving() as client:
        found = await chunks(client, **GREEDY)
    deltas = [chunk["choices"][0]["delta"] for chunk in found]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert deltas[-1] == {}
    assert "".join(delta.get("content", "") for delta in deltas) == expected(llm).text
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in found]
    assert reasons == [None] * (len(found) - 1) + ["length"]
    assert len({(chunk["id"], chunk["object"], chunk["created"]) for chunk in found}) == 1
    assert not any("usage" in chunk for chunk in found)


async def test_usage_is_the_last_chunk_if_it_is_wanted(serving, llm):
    async with serving() as client:
        found = await chunks(client, **GREEDY, stream_options={"include_usage": True})
    assert found[-1]["choices"] == []
    assert found[-1]["usage"]["completion_tokens"] == 12
    assert found[-2]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("stream", [False, True])
async def test_several_answers_draw_from_seeds_of_their_own(serving, llm, stream):
    asked = {**GREEDY, "temperature": 1.0, "seed": 7, "n": 3}
    params = SamplingParams(temperature=1.0, seed=7, n=3, max_tokens=12, ignore_eos=True)
    wanted = [done.text for done in llm.choices(HELLO, params)]
    async with serving() as client:
        if stream:
            texts = ["", "", ""]
            for chunk in await chunks(client, **asked):
                (choice,) = chunk["choices"]
                texts[choice["index"]] += choice["delta"].get("content", "")
        else:
            found = await ask(client, **asked)
            texts = [choice["message"]["content"] for choice in found["choices"]]
            assert found["usage"]["completion_tokens"] == 36
    assert texts == wanted
    assert len(set(texts)) == 3


@pytest.mark.parametrize("top", [None, 0, 3])
async def test_logprobs(serving, llm, top):
    asked = {**GREEDY, "logprobs": True, **({} if top is None else {"top_logprobs": top})}
    async with serving() as client:
        found = await ask(client, **asked)
        streamed = await chunks(client, **asked)
    entries = found["choices"][0]["logprobs"]["content"]
    wanted = expected(llm, logprobs=top or 0)
    assert [entry["logprob"] for entry in entries] == [item.logprob for item in wanted.logprobs]
    assert [bytes(entry["bytes"]) for entry in entries] == [llm.tokenizer.token_bytes(i) for i in wanted.token_ids]
    assert all(len(entry["top_logprobs"]) == (top or 0) for entry in entries)
    parts = [chunk["choices"][0]["logprobs"] for chunk in streamed]
    assert [entry for part in parts if part for entry in part["content"]] == entries


async def test_stop_strings_end_the_answer(serving, llm):
    text = expected(llm).text
    stop = text[3:5]
    async with serving() as client:
        found = await ask(client, **GREEDY, stop=stop)
        same = await ask(client, **GREEDY, stop=[stop])
    assert found["choices"][0]["message"]["content"] == text[: text.index(stop)]
    assert found["choices"][0]["finish_reason"] == "stop"
    assert same["choices"] == found["choices"]


async def test_an_end_token_is_a_stop_and_min_tokens_puts_it_off(serving, llm):
    always_ends = {"messages": HELLO, "temperature": 0, "max_tokens": 8, "logit_bias": {"2": 100}}
    async with serving() as client:
        at_once = await ask(client, **always_ends)
        later = await ask(client, **always_ends, min_tokens=4)
        never = await ask(client, **always_ends, ignore_eos=True)
    assert [found["choices"][0]["finish_reason"] for found in (at_once, later, never)] == ["stop", "stop", "length"]
    assert [found["usage"]["completion_tokens"] for found in (at_once, later, never)] == [1, 5, 8]


async def test_max_completion_tokens_is_the_newer_name(serving):
    async with serving() as client:
        found = await ask(client, **{**GREEDY, "max_completion_tokens": 3})
    assert found["usage"]["completion_tokens"] == 3


async def test_parts_developers_and_nulls(serving, llm):
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts, "name": None}]
    plain = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hel\nlo"}]
    async with serving() as client:
        found = await ask(client, **{**GREEDY, "messages": messages, "top_p": None, "tools": None, "stop": None})
    wanted = llm.chat(plain, SamplingParams(temperature=0, max_tokens=12, ignore_eos=True))
    assert found["choices"][0]["message"]["content"] == wanted.text
    assert found["usage"]["prompt_tokens"] == len(wanted.prompt_token_ids)


REFUSED = [
    ({"messages": []}, "messages"), ({"messages": "Hello"}, "messages"), ({"messages": [1]}, "messages[0]"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
     "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}, "messages[0].content[0].text"),
    ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0].function"),
    ({"temperature": "hot"}, "temperature"), ({"temperature": True}, "temperature"),
    ({"temperature": -1}, "temperature"),
    ({"top_p": 0}, "top_p"), ({"n": 0}, "n"), ({"n": 1000}, "n"), ({"n": 1.5}, "n"), ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": "5"}, "max_tokens"), ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
    ({"top_logprobs": 2}, "top_logprobs"), ({"logprobs": 3}, "logprobs"), ({"stop": ["a"] * 17}, "stop"),
    ({"stop": [1]}, "stop"), ({"stop": [""]}, "stop"), ({"seed": 2**80}, "seed"), ({"stream": "yes"}, "stream"),
    ({"logit_bias": {"x": 1}}, "logit_bias"), ({"logit_bias": {"1": "a"}}, "logit_bias.1"),
    ({"min_tokens": 50}, "min_tokens"), ({"stream_options": 1}, "stream_options"),
    ({"tools": [{"type": "function"}]}, "tools"), ({"tool_choice": "required"}, "tool_choice"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"chat_template_kwargs": {"chat_template": "{{ 7 * 7 }}"}}, "chat_template_kwargs.chat_template"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "param"), REFUSED, ids=str)
async def test_what_does_not_fit_is_refused_by_its_path(serving, change, param):
    async with serving() as client:
        found = await ask(client, status=400, **{**GREEDY, **change})
        streamed = await ask(client, status=400, **{**GREEDY, "stream": True, **change})
    error = found["error"]
    assert error["param"] == param, error
    assert param.split(".")[0].split("[")[0] in error["message"]
    assert error["type"] == "invalid_request_error"
    assert isinstance(error["code"], str)
    assert streamed == found


async def test_a_prompt_that_does_not_fit_says_by_how_much(serving, llm):
    async with serving() as client:
        found = await ask(client, status=400, messages=[{"role": "user", "content": "x" * 300}])
    error = found["error"]
    assert (error["code"], error["n_ctx"]) == ("context_length_exceeded", llm.max_model_len)
    assert error["n_prompt_tokens"] > 300


async def test_an_unknown_model_is_404_and_a_path_is_only_a_name(serving):
    async with serving() as client:
        for name in ("gpt-4", "/etc/passwd", "../tiny", "https://a.b/c.gguf"):
            found = await ask(client, status=404, model=name, **GREEDY)
            assert (found["error"]["code"], found["error"]["param"]) == ("model_not_found", "model")


async def test_a_model_that_only_embeds_says_so(serving, encoder, pool_of):
    async with serving(pool_of(encoder=encoder)) as client:
        found = await ask(client, status=501, **GREEDY)
    assert "embeddings" in found["error"]["message"]


def test_calls_in_a_history_become_objects_for_the_template():
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    given = [Message(role="assistant", tool_calls=[call]), Message(role="tool", content="2", tool_call_id="call_1")]
    shown = template_messages(given)
    assert shown[0]["content"] == ""
    assert shown[0]["tool_calls"][0]["function"] == {"name": "f", "arguments": {"x": 1}}
    assert shown[1] == {"role": "tool", "content": "2", "tool_call_id": "call_1"}
    broken = {**call, "function": {"name": "f", "arguments": "{"}}
    with pytest.raises(Problem, match="arguments: found a text that is not JSON"):
        template_messages([Message(role="assistant", tool_calls=[broken])])


async def test_top_k_minus_one_is_off(serving):
    async with serving() as client:
        off = await ask(client, **{**GREEDY, "temperature": 1.0, "seed": 5, "top_k": 0})
        assert (await ask(client, **{**GREEDY, "temperature": 1.0, "seed": 5, "top_k": -1}))["choices"] == off[
            "choices"
        ]
