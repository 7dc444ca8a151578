"""POST /api/generate and /api/chat."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import attrs
from aiohttp import web

from realizar.model_pool import ServedModel
from realizar_aiohttp.call import Call
from realizar_aiohttp.fields import field
from realizar_aiohttp.generation import Job, completions, pieces
from realizar_aiohttp.managing import prove_managing
from realizar_aiohttp.problem import not_supported
from realizar_aiohttp.routes import Route
from realizar_aiohttp.sse import NDJSON, event_stream
from realizar_aiohttp.wires.ollama_options import (
    OllamaRequest,
    apply_keep_alive,
    lease,
    logprobs_of,
    plain_id,
    stamp,
    statistics,
)


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
    tool_name: str | None = field(None, max_chars=256)


@attrs.frozen(kw_only=True)
class ChatRequest(OllamaRequest):
    """A conversation to be answered; one without messages only asks whether the model is there."""

    messages: list[ChatMessage] = field((), max_items=4096)
    tools: list[dict[str, Any]] | None = field(None, "refused", max_items=128)


Member = Callable[[str], dict[str, Any]]
"""Puts a text where the route's objects have it."""


async def generate(call: Call[GenerateRequest]) -> web.StreamResponse:
    """Answer a prompt, through the chat template unless it is raw or the model has none."""
    body = call.body
    for name in ("template", "suffix", "images"):
        if getattr(body, name):
            raise not_supported(name, "is not served; templates come from the model, and it reads only text")
    params = body.params()
    if not body.prompt and body.keep_s == 0:
        return _unload(call, _response)
    async with lease(call.service.pool, body.model) as model:
        apply_keep_alive(call, model.id)
        if not body.prompt:
            return _loaded(call, model.id, _response)
        prompt = await asyncio.to_thread(_prompt_ids, body, model)
        return await _answer(call, model, Job(prompt, params), _response, with_context=True)


async def chat(call: Call[ChatRequest]) -> web.StreamResponse:
    """Answer a conversation."""
    body = call.body
    if body.tools:
        raise not_supported("tools", "tool calls are not served yet", "describe them in the system message")
    for i, message in enumerate(body.messages):
        if message.images:
            raise not_supported(f"messages[{i}].images", "the models here read only text")
    params = body.params()
    if not body.messages and body.keep_s == 0:
        return _unload(call, _message)
    async with lease(call.service.pool, body.model) as model:
        apply_keep_alive(call, model.id)
        if not body.messages:
            return _loaded(call, model.id, _message)
        given = [attrs.asdict(message, filter=lambda _, value: value is not None) for message in body.messages]
        return await _answer(call, model, Job(given, params, body.variables), _message)


def _prompt_ids(body: GenerateRequest, model: ServedModel) -> list[int]:
    """The ids of a prompt, behind those of the context; blocks."""
    spec = model.llm.tokenizer.spec
    if body.raw or spec.chat_template is None:
        ids = model.llm.encode(body.prompt)
    else:
        system = [{"role": "system", "content": body.system}] if body.system else []
        ids = model.llm.encode([*system, {"role": "user", "content": body.prompt}], **body.variables)
    return [*(body.context or ()), *ids]


def _response(text: str) -> dict[str, Any]:
    return {"response": text}


def _message(text: str) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": text}}


def _loaded(call: Call[Any], model_id: str, member: Member, reason: str = "load") -> web.Response:
    return call.json({"model": model_id, "created_at": stamp(), **member(""), "done": True, "done_reason": reason})


def _unload(call: Call[Any], member: Member) -> web.Response:
    """Let the model go once nobody uses it; one that is not loaded is not loaded for that."""
    prove_managing(call, "unload a model")
    pool = call.service.pool
    name = plain_id(pool, call.body.model) or pool.ids[0]
    pool.prove_known(name)
    apply_keep_alive(call, name)
    return _loaded(call, name, member, "unload")


async def _answer(
    call: Call[Any], model: ServedModel, job: Job, member: Member, *, with_context: bool = False
) -> web.StreamResponse:
    """The answer as lines, or as one object that has all of it. with_context: ids for another request to go on from."""
    started_s = time.perf_counter()

    def line(text: str, rest: dict[str, Any]) -> dict[str, Any]:
        return {"model": model.id, "created_at": stamp(), **member(text), "done": False, **rest}

    def end(done: Any) -> dict[str, Any]:
        context = {"context": [*done.prompt_token_ids, *done.token_ids]} if with_context else {}
        return {**statistics(done, time.perf_counter() - started_s), **context}

    if not call.body.stream:
        (done,) = await completions(call.service, model, [job])
        return call.json(line(done.text, {**end(done), **logprobs_of(done.logprobs, model)}))
    async with event_stream(call, NDJSON) as events:
        async with contextlib.aclosing(pieces(call.service, model, [job])) as stream:
            async for _, piece in stream:
                if piece.text or piece.logprobs:
                    await events.send(line(piece.text, logprobs_of(piece.logprobs, model)))
                if piece.completion is not None:
                    await events.send(line("", end(piece.completion)))
    return events.response


ROUTES = (
    Route("POST", "/api/generate", generate, GenerateRequest, "Answer a prompt, as Ollama's clients ask"),
    Route("POST", "/api/chat", chat, ChatRequest, "Answer a conversation, as Ollama's clients ask"),
)
