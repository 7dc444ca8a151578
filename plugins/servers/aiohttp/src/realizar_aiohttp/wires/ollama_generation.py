"""POST /api/generate and /api/chat."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import attrs
from aiohttp import web

from realizar.model_pool import ServedModel
from realizar_aiohttp.answer import Answer
from realizar_aiohttp.call import Call
from realizar_aiohttp.constraint import constrained
from realizar_aiohttp.fields import field
from realizar_aiohttp.generation import Job, completions, pieces
from realizar_aiohttp.managing import prove_managing
from realizar_aiohttp.problem import not_supported
from realizar_aiohttp.routes import Route
from realizar_aiohttp.sse import NDJSON, event_stream
from realizar_aiohttp.tools import MAX_TOOLS, openai_tools
from realizar_aiohttp.turn import Begun, Turn
from realizar_aiohttp.wires.ollama_options import (
    OllamaRequest,
    apply_keep_alive,
    lease,
    logprobs_of,
    plain_id,
    stamp,
    statistics,
)
from realizar_aiohttp.wires.openai_messages import tool_call


@attrs.frozen(kw_only=True)
class GenerateRequest(OllamaRequest):
    """A prompt to be answered; an empty one only asks whether the model is there."""

    prompt: str = field("")
    system: str | None = field(None)
    raw: bool = field(False, "no chat template")
    context: list[int] | None = field(None, "what an earlier answer returned, to go on from", max_items=1 << 20)
    template: str | None = field(None, "refused: templates come from the model only")
    suffix: str | None = field(None, "refused")
    images: list[Any] | None = field(None, "refused", max_items=64)


@attrs.frozen(kw_only=True)
class ChatMessage:
    """One message."""

    role: str = field(max_chars=64)
    content: str = field("")
    thinking: str | None = field(None)
    images: list[Any] | None = field(None, "refused", max_items=64)
    tool_calls: list[dict[str, Any]] | None = field(None, max_items=128)
    tool_name: str | None = field(None, "the function that this is the result of", max_chars=256)

    def shown(self, path: str) -> dict[str, Any]:
        """The message as a chat template sees it."""
        if self.images:
            raise not_supported(f"{path}.images", "the models here read only text")
        found = attrs.asdict(self, recurse=False, filter=lambda _, value: value is not None)
        if self.tool_name is not None:
            found["name"] = self.tool_name
        if self.tool_calls is not None:
            found["tool_calls"] = [
                {"type": "function", **tool_call(call, f"{path}.tool_calls[{i}]")}
                for i, call in enumerate(self.tool_calls)
            ]
        return found


@attrs.frozen(kw_only=True)
class ChatRequest(OllamaRequest):
    """A conversation to be answered; one without messages only asks whether the model is there."""

    messages: list[ChatMessage] = field((), max_items=4096)
    tools: list[dict[str, Any]] | None = field(None, "functions that the answer may call", max_items=MAX_TOOLS)

    def turn(self) -> Turn:
        """What is to be answered; raises Problem with the path of what does not fit."""
        return Turn(
            messages=[message.shown(f"messages[{i}]") for i, message in enumerate(self.messages)],
            params=self.params(), variables=self.variables, tools=openai_tools(self.tools), constraint=self.constraint,
        )  # fmt: skip


Member = Callable[[Answer], dict[str, Any]]
"""Puts what was said where the route's objects have it."""


async def generate(call: Call[GenerateRequest]) -> web.StreamResponse:
    """Answer a prompt, through the chat template unless it is raw or the model has none."""
    body = call.body
    for name in ("template", "suffix", "images"):
        if getattr(body, name):
            raise not_supported(name, "is not served; templates come from the model, and it reads only text")
    params, constraint = body.params(), body.constraint
    if not body.prompt and body.keep_s == 0:
        return _unload(call, _response)
    async with lease(call.service.pool, body.model) as model:
        apply_keep_alive(call, model.id)
        if not body.prompt:
            return _loaded(call, model.id, _response)
        body.prove_thinks(model)
        if body.raw or model.llm.tokenizer.spec.chat_template is None:
            job = Job(await asyncio.to_thread(model.llm.encode, body.prompt), params)
            begun = Begun((await constrained([job], constraint, model))[0], None, None)
        else:
            messages = [{"role": "system", "content": body.system}] if body.system else []
            messages.append({"role": "user", "content": body.prompt})
            turn = Turn(messages=messages, params=params, variables=body.variables, constraint=constraint)
            begun = await turn.begin(model)
        return await _answer(call, model, begun.behind(body.context or ()), _response, with_context=True)


async def chat(call: Call[ChatRequest]) -> web.StreamResponse:
    """Answer a conversation."""
    body = call.body
    turn = body.turn()
    if not body.messages and body.keep_s == 0:
        return _unload(call, _message)
    async with lease(call.service.pool, body.model) as model:
        apply_keep_alive(call, model.id)
        if not body.messages:
            return _loaded(call, model.id, _message)
        body.prove_thinks(model)
        return await _answer(call, model, await turn.begin(model), _message)


def _thinking(answer: Answer) -> dict[str, Any]:
    return {"thinking": answer.reasoning} if answer.reasoning else {}


def _response(answer: Answer) -> dict[str, Any]:
    return {"response": answer.content, **_thinking(answer)}


def _message(answer: Answer) -> dict[str, Any]:
    """Arguments are an object here."""
    message = {"role": "assistant", "content": answer.content, **_thinking(answer)}
    calls = [
        {"id": call.id, "function": {"index": call.index, "name": call.name, "arguments": json.loads(call.arguments)}}
        for call in answer.calls
    ]
    return {"message": {**message, **({"tool_calls": calls} if calls else {})}}


def _loaded(call: Call[Any], model_id: str, member: Member, reason: str = "load") -> web.Response:
    return call.json(
        {"model": model_id, "created_at": stamp(), **member(Answer()), "done": True, "done_reason": reason}
    )


def _unload(call: Call[Any], member: Member) -> web.Response:
    """Let the model go once nobody uses it; one that is not loaded is not loaded for that."""
    prove_managing(call, "unload a model")
    pool = call.service.pool
    name = plain_id(pool, call.body.model) or pool.ids[0]
    pool.prove_known(name)
    apply_keep_alive(call, name)
    return _loaded(call, name, member, "unload")


async def _answer(
    call: Call[Any], model: ServedModel, begun: Begun, member: Member, *, with_context: bool = False
) -> web.StreamResponse:
    """The answer as lines, or as one object that has all of it. with_context: ids for another request to go on from."""
    started_s = time.perf_counter()
    reader = begun.reader()

    def line(said: Answer, rest: dict[str, Any]) -> dict[str, Any]:
        return {"model": model.id, "created_at": stamp(), **member(said), "done": False, **rest}

    def end(done: Any) -> dict[str, Any]:
        context = {"context": [*done.prompt_token_ids, *done.token_ids]} if with_context else {}
        return {**statistics(done, time.perf_counter() - started_s), **context}

    if not call.body.stream:
        (done,) = await completions(call.service, model, [begun.job])
        return call.json(line(reader.whole(done), {**end(done), **logprobs_of(done.logprobs, model)}))
    async with event_stream(call, NDJSON) as events:
        async with contextlib.aclosing(pieces(call.service, model, [begun.job])) as stream:
            async for _, piece in stream:
                said = reader.said(piece)
                if said or piece.logprobs:
                    await events.send(line(said, logprobs_of(piece.logprobs, model)))
                if piece.completion is not None:
                    await events.send(line(Answer(), end(piece.completion)))
    return events.response


ROUTES = (
    Route("POST", "/api/generate", generate, GenerateRequest, "Answer a prompt, as Ollama's clients ask"),
    Route("POST", "/api/chat", chat, ChatRequest, "Answer a conversation, as Ollama's clients ask"),
)
