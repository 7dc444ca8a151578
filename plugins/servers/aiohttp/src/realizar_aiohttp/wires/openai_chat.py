"""POST /v1/chat/completions."""

from __future__ import annotations

import contextlib
import inspect
from typing import Any

import attrs
from aiohttp import web

from realizar.engine import LLM, Completion, Piece
from realizar.model_pool import ServedModel
from realizar_aiohttp.call import Call
from realizar_aiohttp.fields import field
from realizar_aiohttp.generation import Job, completions, num_answers, pieces
from realizar_aiohttp.problem import wrong_value
from realizar_aiohttp.routes import Route
from realizar_aiohttp.sse import OPENAI, event_stream
from realizar_aiohttp.structured import prove_plain
from realizar_aiohttp.wires.openai_logprobs import chat_logprobs
from realizar_aiohttp.wires.openai_messages import Message, template_messages
from realizar_aiohttp.wires.openai_sampling import MAX_LOGPROBS, OpenAISampling, envelope, usage


@attrs.frozen(kw_only=True)
class ChatRequest(OpenAISampling):
    """A conversation to be answered."""

    messages: list[Message] = field(max_items=4096)
    max_tokens: int | None = field(None, "until the context is full if it is not given", low=1)
    max_completion_tokens: int | None = field(None, "the newer name of max_tokens", low=1)
    logprobs: bool = field(False, "log probabilities of the tokens of the answer")
    top_logprobs: int | None = field(None, "alternatives for each; needs logprobs", low=0, high=MAX_LOGPROBS)
    chat_template_kwargs: dict[str, Any] | None = field(None, "variables of the chat template", max_items=32)
    tools: list[dict[str, Any]] | None = field(None, max_items=128)
    tool_choice: Any = field(None)
    parallel_tool_calls: bool | None = field(None)
    response_format: dict[str, Any] | None = field(None)

    def job(self) -> Job:
        """What is to be generated."""
        if not self.messages:
            raise wrong_value("messages", "an empty list", "at least one message")
        if self.top_logprobs is not None and not self.logprobs:
            raise wrong_value("top_logprobs", str(self.top_logprobs), "logprobs to be true with it")
        limit = self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens
        params = self.params(limit, (self.top_logprobs or 0) if self.logprobs else None)
        return Job(template_messages(self.messages), params, self._variables())

    def _variables(self) -> dict[str, Any]:
        """Variables of the template; never the template itself, nor an argument of ours."""
        given = self.chat_template_kwargs or {}
        for name in given:
            if name in _OUR_NAMES:
                raise wrong_value(f"chat_template_kwargs.{name}", "a name of the server's own", "a variable")
        return given


_OUR_NAMES = {*inspect.signature(LLM.astream).parameters, "messages", "add_generation_prompt", "documents"}
"""What a variable of the template cannot be called: arguments of the engine, and what it gives the template itself."""


async def chat_completions(call: Call[ChatRequest]) -> web.StreamResponse:
    """Answer a conversation, all at once or as it is generated."""
    body = call.body
    prove_plain(body)
    job = body.job()
    async with call.service.pool.lease(body.model) as model:
        if body.stream:
            return await _stream(call, model, job)
        done = await completions(call.service, model, [job])
        choices = [_choice(i, completion, model) for i, completion in enumerate(done)]
        head = envelope("chatcmpl", "chat.completion", model)
        return call.json({**head, "choices": choices, "usage": usage(done)})


def _choice(index: int, completion: Completion, model: ServedModel) -> dict[str, Any]:
    logprobs = None if completion.logprobs is None else chat_logprobs(completion.logprobs, model.llm.tokenizer)
    message = {"role": "assistant", "content": completion.text, "refusal": None}
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": completion.finish_reason}


async def _stream(call: Call[ChatRequest], model: ServedModel, job: Job) -> web.StreamResponse:
    """Chunks: the role, pieces of text, the reason of the end for each choice, and the usage if it is wanted."""
    head = envelope("chatcmpl", "chat.completion.chunk", model)

    def chunk(index: int, delta: dict[str, Any], **rest: Any) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None, **rest}
        return {**head, "choices": [choice]}

    roles = [chunk(i, {"role": "assistant", "content": ""}) for i in range(num_answers([job]))]
    done: dict[int, Completion] = {}

    def chunks(index: int, piece: Piece) -> list[dict[str, Any]]:
        found, roles[:] = list(roles), []  # of every choice in order, before the first text: clients count on it
        if piece.text or piece.logprobs:
            logprobs = None if piece.logprobs is None else chat_logprobs(piece.logprobs, model.llm.tokenizer)
            found.append(chunk(index, {"content": piece.text}, logprobs=logprobs))
        if piece.completion is not None:
            done[index] = piece.completion
            found.append(chunk(index, {}, finish_reason=piece.completion.finish_reason))
        return found

    async with event_stream(call, OPENAI) as events:
        async with contextlib.aclosing(pieces(call.service, model, [job])) as stream:
            async for index, piece in stream:
                await events.send(*chunks(index, piece))
        if call.body.wants_usage:
            await events.send({**head, "choices": [], "usage": usage(done.values())})
    return events.response


ROUTES = (Route("POST", "/v1/chat/completions", chat_completions, ChatRequest, "Answer a conversation"),)
