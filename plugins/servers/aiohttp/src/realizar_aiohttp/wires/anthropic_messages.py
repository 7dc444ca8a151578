"""POST /v1/messages and /v1/messages/count_tokens, as Anthropic's clients call them."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import Any, Literal

import attrs
from aiohttp import web

from realizar.engine import Completion
from realizar.model_pool import ServedModel
from realizar.sampling import SamplingParams
from realizar_aiohttp.call import Call
from realizar_aiohttp.ending import ending
from realizar_aiohttp.fields import field
from realizar_aiohttp.generation import Job, completions, pieces
from realizar_aiohttp.problem import not_supported, wrong_value
from realizar_aiohttp.routes import Route
from realizar_aiohttp.sse import ANTHROPIC, event_stream
from realizar_aiohttp.wires.openai_sampling import MAX_STOPS


@attrs.frozen(kw_only=True)
class Block:
    """A block of a content; texts are the only ones that the models here read."""

    type: str = field(doc='"text"', max_chars=64)
    text: str | None = field(None)
    cache_control: dict[str, Any] | None = field(None, "not used: every prefix is treated alike", max_items=16)


@attrs.frozen(kw_only=True)
class Message:
    """One turn."""

    role: Literal["user", "assistant"] = field()
    content: str | list[Block] = field(max_items=1024)


@attrs.frozen(kw_only=True)
class CountRequest:
    """A conversation whose tokens are to be counted."""

    messages: list[Message] = field(max_items=4096)
    model: str | None = field(None, max_chars=512)
    system: str | list[Block] | None = field(None, max_items=64)
    tools: list[dict[str, Any]] | None = field(None, "refused", max_items=128)
    tool_choice: dict[str, Any] | None = field(None, max_items=16)
    thinking: dict[str, Any] | None = field(None, "refused unless it is disabled", max_items=16)

    def conversation(self) -> list[dict[str, Any]]:
        """The messages as a chat template sees them; raises Problem with the path of what it cannot be shown."""
        if not self.messages:
            raise wrong_value("messages", "an empty list", "at least one message")
        if self.messages[-1].role == "assistant":
            last = f"messages[{len(self.messages) - 1}].role"
            raise not_supported(last, "found 'assistant' at the end, and answers that were begun are not continued")
        if self.tools:
            raise not_supported("tools", "tool calls are not served yet", "describe them in `system`")
        if (self.thinking or {}).get("type", "disabled") != "disabled":
            raise not_supported("thinking", "reasoning is not told apart from the answer yet")
        system = [] if self.system is None else [{"role": "system", "content": _text(self.system, "system")}]
        turns = [
            {"role": message.role, "content": _text(message.content, f"messages[{i}].content")}
            for i, message in enumerate(self.messages)
        ]
        return [*system, *turns]


@attrs.frozen(kw_only=True)
class MessagesRequest(CountRequest):
    """A conversation to be answered."""

    max_tokens: int = field(low=1)
    temperature: float | None = field(None, low=0, high=100)
    top_p: float | None = field(None)
    top_k: int | None = field(None, low=0)
    stop_sequences: list[str] | None = field(None, max_items=MAX_STOPS)
    stream: bool = field(False)
    metadata: dict[str, Any] | None = field(None, "whom the request is for; not used", max_items=16)

    def params(self) -> SamplingParams:
        """The parameters as the engine takes them; Anthropic's default temperature is 1."""
        given: dict[str, Any] = {"temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k}
        kept = {name: value for name, value in given.items() if value is not None}
        return SamplingParams(max_tokens=self.max_tokens, stop=tuple(self.stop_sequences or ()), **kept)


async def messages(call: Call[MessagesRequest]) -> web.StreamResponse:
    """Answer a conversation, all at once or as it is generated."""
    conversation, params = call.body.conversation(), call.body.params()
    async with call.service.pool.lease(call.body.model) as model:
        job = Job(await asyncio.to_thread(model.llm.encode, conversation), params)
        if call.body.stream:
            return await _stream(call, model, job)
        (done,) = await completions(call.service, model, [job])
        content = [{"type": "text", "text": done.text}]
        return call.json({**_message(model, job, done), "content": content})


async def count_tokens(call: Call[CountRequest]) -> web.Response:
    """How many tokens a conversation is, with all that the chat template adds."""
    conversation = call.body.conversation()
    async with call.service.pool.lease(call.body.model) as model:
        ids = await call.service.resilience.tokenize(lambda: model.llm.encode(conversation))
    return call.json({"input_tokens": len(ids)})


async def _stream(call: Call[MessagesRequest], model: ServedModel, job: Job) -> web.StreamResponse:
    """message_start, one content block in deltas, message_delta with the reason of the end, message_stop."""
    opening: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**_message(model, job, None), "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    ]
    async with event_stream(call, ANTHROPIC) as events:
        async with contextlib.aclosing(pieces(call.service, model, [job])) as stream:
            async for _, piece in stream:
                sent, opening = opening, []
                if piece.text:
                    delta = {"type": "text_delta", "text": piece.text}
                    sent.append({"type": "content_block_delta", "index": 0, "delta": delta})
                if piece.completion is not None:
                    sent += _closing(_message(model, job, piece.completion))
                if sent:
                    await events.send(*sent)
    return events.response


def _closing(message: dict[str, Any]) -> list[dict[str, Any]]:
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    return [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": delta, "usage": message["usage"]},
        {"type": "message_stop"},
    ]


def _message(model: ServedModel, job: Job, done: Completion | None) -> dict[str, Any]:
    """The message without its content; None: as it is before the first token."""
    assert isinstance(job.prompt, list)
    usage = {"input_tokens": len(job.prompt), "output_tokens": 0 if done is None else len(done.token_ids)}
    reason = word = None
    if done is not None:
        end = ending(done, job.params, model.llm.tokenizer)
        reason = {"eos": "end_turn", "word": "stop_sequence", "limit": "max_tokens"}[end.kind]
        word = end.word
    return {
        "id": f"msg_{uuid.uuid4().hex}", "type": "message", "role": "assistant", "model": model.id,
        "stop_reason": reason, "stop_sequence": word, "usage": usage,
    }  # fmt: skip


def _text(content: str | list[Block], path: str) -> str:
    """The text of a content; blocks are joined by line ends."""
    if isinstance(content, str):
        return content
    for i, block in enumerate(content):
        if block.type != "text":
            raise not_supported(f"{path}[{i}].type", f"found {block.type!r}, and the models here read only text")
        if block.text is None:
            raise wrong_value(f"{path}[{i}].text", "nothing", "a text")
    return "\n".join(block.text or "" for block in content)


ROUTES = (
    Route("POST", "/v1/messages", messages, MessagesRequest, "Answer a conversation, as Anthropic's clients ask"),
    Route("POST", "/v1/messages/count_tokens", count_tokens, CountRequest, "Tokens of a conversation"),
)
