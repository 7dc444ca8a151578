"""POST /v1/messages and /v1/messages/count_tokens, as Anthropic's clients call them."""

from __future__ import annotations

import contextlib
import uuid
from typing import Any

import attrs
from aiohttp import web

from realizar.engine import Completion
from realizar.model_pool import ServedModel
from realizar.sampling import SamplingParams
from realizar_aiohttp.answer import Answer
from realizar_aiohttp.call import Call
from realizar_aiohttp.ending import ending
from realizar_aiohttp.fields import field
from realizar_aiohttp.generation import Job, completions, pieces
from realizar_aiohttp.problem import not_supported, wrong_value
from realizar_aiohttp.routes import Route
from realizar_aiohttp.sse import ANTHROPIC, event_stream
from realizar_aiohttp.structure import show
from realizar_aiohttp.tools import MAX_TOOLS
from realizar_aiohttp.turn import Begun, Turn, prove_thinks
from realizar_aiohttp.wires.anthropic_blocks import (
    Block,
    BlockEvents,
    Message,
    answer_blocks,
    anthropic_tools,
    template_messages,
    text_of,
)  # fmt: skip
from realizar_aiohttp.wires.openai_sampling import MAX_STOPS


@attrs.frozen(kw_only=True)
class CountRequest:
    """A conversation whose tokens are to be counted."""

    messages: list[Message] = field(max_items=4096)
    model: str | None = field(None, max_chars=512)
    system: str | list[Block] | None = field(None, max_items=64)
    tools: list[dict[str, Any]] | None = field(None, "functions that the answer may call", max_items=MAX_TOOLS)
    tool_choice: dict[str, Any] | None = field(None, '"auto", "any", "tool" (and a name) or "none"', max_items=16)
    thinking: dict[str, Any] | None = field(None, "whether the model may reason; its budget is not kept", max_items=16)

    @property
    def thinks(self) -> bool:
        """Whether reasoning is asked for."""
        kind = (self.thinking or {}).get("type", "disabled")
        if kind not in ("enabled", "disabled", "adaptive"):
            raise wrong_value("thinking.type", show(kind), '"enabled", "disabled" or "adaptive"')
        return bool(kind != "disabled")

    def turn(self) -> Turn:
        """What is to be answered; raises Problem with the path of what does not fit."""
        return Turn(
            messages=self._conversation(), params=self.params(), variables={"enable_thinking": self.thinks},
            tools=anthropic_tools(self.tools, self.tool_choice),
        )  # fmt: skip

    def params(self) -> SamplingParams:
        """Nothing is generated where tokens are counted."""
        return SamplingParams()

    def _conversation(self) -> list[dict[str, Any]]:
        if not self.messages:
            raise wrong_value("messages", "an empty list", "at least one message")
        if self.messages[-1].role == "assistant":
            last = f"messages[{len(self.messages) - 1}].role"
            raise not_supported(last, "found 'assistant' at the end, and answers that were begun are not continued")
        system = [] if self.system is None else [{"role": "system", "content": text_of(self.system, "system")}]
        turns = [template_messages(message, f"messages[{i}]") for i, message in enumerate(self.messages)]
        return [*system, *(each for turn in turns for each in turn)]


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
    turn = call.body.turn()
    async with call.service.pool.lease(call.body.model) as model:
        if call.body.thinks:
            prove_thinks(model, "thinking")
        begun = await turn.begin(model)
        if call.body.stream:
            return await _stream(call, model, begun)
        (done,) = await completions(call.service, model, [begun.job])
        answer = begun.reader().whole(done)
        return call.json({**_message(model, begun.job, done, answer), "content": answer_blocks(answer)})


async def count_tokens(call: Call[CountRequest]) -> web.Response:
    """How many tokens a conversation is, with all that the chat template adds."""
    turn = call.body.turn()
    async with call.service.pool.lease(call.body.model) as model:
        ids = await call.service.resilience.tokenize(lambda: turn.ids(model))
    return call.json({"input_tokens": len(ids)})


async def _stream(call: Call[MessagesRequest], model: ServedModel, begun: Begun) -> web.StreamResponse:
    """message_start, content blocks in deltas, message_delta with the reason of the end, message_stop."""
    job, reader = begun.job, begun.reader()
    blocks = BlockEvents()
    opening = [{"type": "message_start", "message": {**_message(model, job, None, reader.answer), "content": []}}]
    async with event_stream(call, ANTHROPIC) as events:
        async with contextlib.aclosing(pieces(call.service, model, [job])) as stream:
            async for _, piece in stream:
                sent, opening = opening, []
                sent += [event for delta in reader.push(piece) for event in blocks.events(delta)]
                if piece.completion is not None:
                    sent += blocks.finish() + _closing(_message(model, job, piece.completion, reader.answer))
                if sent:
                    await events.send(*sent)
    return events.response


def _closing(message: dict[str, Any]) -> list[dict[str, Any]]:
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    return [{"type": "message_delta", "delta": delta, "usage": message["usage"]}, {"type": "message_stop"}]


def _message(model: ServedModel, job: Job, done: Completion | None, answer: Answer) -> dict[str, Any]:
    """The message without its content; None: as it is before the first token."""
    assert isinstance(job.prompt, list)
    usage = {"input_tokens": len(job.prompt), "output_tokens": 0 if done is None else len(done.token_ids)}
    reason = word = None
    if done is not None:
        end = ending(done, job.params, model.llm.tokenizer)
        reason = {"eos": "end_turn", "word": "stop_sequence", "limit": "max_tokens"}[end.kind]
        reason = "tool_use" if answer.calls and end.kind == "eos" else reason
        word = end.word
    return {
        "id": f"msg_{uuid.uuid4().hex}", "type": "message", "role": "assistant", "model": model.id,
        "stop_reason": reason, "stop_sequence": word, "usage": usage,
    }  # fmt: skip


ROUTES = (
    Route("POST", "/v1/messages", messages, MessagesRequest, "Answer a conversation, as Anthropic's clients ask"),
    Route("POST", "/v1/messages/count_tokens", count_tokens, CountRequest, "Tokens of a conversation"),
)
