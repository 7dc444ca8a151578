"""POST /v1/chat/completions."""

from __future__ import annotations

import contextlib
import inspect
from typing import Any

import attrs
from aiohttp import web

from realizar.engine import LLM, Completion, Piece
from realizar.model_pool import ServedModel
from realizar.tool_calls import CallArguments, CallBegin, CallEnd, Content, Delta, Reasoning
from realizar_aiohttp.answer import Answer
from realizar_aiohttp.call import Call
from realizar_aiohttp.fields import field
from realizar_aiohttp.generation import completions, num_answers, pieces
from realizar_aiohttp.problem import wrong_value
from realizar_aiohttp.routes import Route
from realizar_aiohttp.sse import OPENAI, event_stream
from realizar_aiohttp.tools import MAX_TOOLS, openai_tools
from realizar_aiohttp.turn import Begun, Turn
from realizar_aiohttp.wires.explanations import explanations
from realizar_aiohttp.wires.openai_constraints import OpenAIConstraints
from realizar_aiohttp.wires.openai_logprobs import chat_logprobs
from realizar_aiohttp.wires.openai_messages import Message, template_messages
from realizar_aiohttp.wires.openai_sampling import MAX_LOGPROBS, envelope, usage


@attrs.frozen(kw_only=True)
class ChatRequest(OpenAIConstraints):
    """A conversation to be answered."""

    messages: list[Message] = field(max_items=4096)
    max_tokens: int | None = field(None, "until the context is full if it is not given", low=1)
    max_completion_tokens: int | None = field(None, "the newer name of max_tokens", low=1)
    logprobs: bool = field(False, "log probabilities of the tokens of the answer")
    top_logprobs: int | None = field(None, "alternatives for each; needs logprobs", low=0, high=MAX_LOGPROBS)
    chat_template_kwargs: dict[str, Any] | None = field(None, "variables of the chat template", max_items=32)
    reasoning_effort: str | None = field(None, "a variable of some chat templates", max_chars=16)
    tools: list[dict[str, Any]] | None = field(None, "functions that the answer may call", max_items=MAX_TOOLS)
    tool_choice: Any = field(None, '"none", "auto", "required", or the function that must be called')
    parallel_tool_calls: bool | None = field(None, "false: one call at most")

    def turn(self) -> Turn:
        """What is to be generated."""
        if not self.messages:
            raise wrong_value("messages", "an empty list", "at least one message")
        if self.top_logprobs is not None and not self.logprobs:
            raise wrong_value("top_logprobs", str(self.top_logprobs), "logprobs to be true with it")
        limit = self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens
        params = self.params(limit, (self.top_logprobs or 0) if self.logprobs else None)
        return Turn(
            messages=template_messages(self.messages), params=params, variables=self._variables(),
            tools=openai_tools(self.tools, self.tool_choice, self.parallel_tool_calls), constraint=self.constraint,
        )  # fmt: skip

    def finish_reason(self, completion: Completion, answer: Answer) -> str:
        """As OpenAI has it: an answer that had to call one named function just stops."""
        called = answer.calls and completion.finish_reason == "stop" and not isinstance(self.tool_choice, dict)
        return "tool_calls" if called else completion.finish_reason

    def _variables(self) -> dict[str, Any]:
        """Variables of the template; never the template itself, nor an argument of ours."""
        given = self.chat_template_kwargs or {}
        for name in given:
            if name in _OUR_NAMES:
                raise wrong_value(f"chat_template_kwargs.{name}", "a name of the server's own", "a variable")
        return given if self.reasoning_effort is None else {"reasoning_effort": self.reasoning_effort, **given}


_OUR_NAMES = {*inspect.signature(LLM.astream).parameters, "messages", "add_generation_prompt", "documents"}
"""What a variable of the template cannot be called: arguments of the engine, and what it gives the template itself."""


async def chat_completions(call: Call[ChatRequest]) -> web.StreamResponse:
    """Answer a conversation, all at once or as it is generated."""
    body = call.body
    turn = body.turn()
    async with call.service.pool.lease(body.model) as model:
        begun = await turn.begin(model)
        if body.stream:
            return await _stream(call, model, begun)
        explained: dict[int, list[Piece]] = {}
        done = await completions(call.service, model, [begun.job], explained)
        choices = [
            {**_choice(i, completion, begun, body, model), **explanations(explained.get(i, ()), model.llm.tokenizer)}
            for i, completion in enumerate(done)
        ]
        head = envelope("chatcmpl", "chat.completion", model)
        return call.json({**head, "choices": choices, "usage": usage(done)})


def _choice(index: int, completion: Completion, begun: Begun, body: ChatRequest, model: ServedModel) -> dict[str, Any]:
    logprobs = None if completion.logprobs is None else chat_logprobs(completion.logprobs, model.llm.tokenizer)
    answer = begun.reader().whole(completion)
    reason = body.finish_reason(completion, answer)
    return {"index": index, "message": _message(answer), "logprobs": logprobs, "finish_reason": reason}


def _message(answer: Answer) -> dict[str, Any]:
    """The reasoning goes by both names that clients read."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.content, "refusal": None}
    if answer.reasoning:
        message |= {"reasoning_content": answer.reasoning, "reasoning": answer.reasoning}
    if answer.calls:
        message["content"] = answer.content or None
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in answer.calls
        ]
    return message


def delta_of(delta: Delta) -> dict[str, Any]:
    """What a chunk says; id and name of a call come once, then pieces of its arguments."""
    match delta:
        case Content(text):
            return {"content": text}
        case Reasoning(text):
            return {"reasoning_content": text}
        case CallBegin(index, id, name):
            function = {"name": name, "arguments": ""}
            return {"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}
        case CallArguments(index, text):
            return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}
        case CallEnd():
            return {}


async def _stream(call: Call[ChatRequest], model: ServedModel, begun: Begun) -> web.StreamResponse:
    """Chunks: the role, pieces of the answer, the reason of the end for each choice, and the usage if it is wanted."""
    head = envelope("chatcmpl", "chat.completion.chunk", model)

    def chunk(index: int, delta: dict[str, Any], **rest: Any) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None, **rest}
        return {**head, "choices": [choice]}

    readers = [begun.reader() for _ in range(num_answers([begun.job]))]
    roles = [chunk(i, {"role": "assistant", "content": ""}) for i in range(len(readers))]
    done: dict[int, Completion] = {}

    def chunks(index: int, piece: Piece) -> list[dict[str, Any]]:
        found, roles[:] = list(roles), []  # of every choice in order, before the first text: clients count on it
        deltas = [said for delta in readers[index].push(piece) if (said := delta_of(delta))]
        if piece.logprobs:  # they go with the first delta that the token brought, which may say nothing yet
            logprobs = chat_logprobs(piece.logprobs, model.llm.tokenizer)
            found.append(chunk(index, deltas.pop(0) if deltas else {"content": ""}, logprobs=logprobs))
        found += [chunk(index, delta) for delta in deltas]
        if said := explanations([piece], model.llm.tokenizer):
            found.append(chunk(index, {}, **said))
        if piece.completion is not None:
            done[index] = piece.completion
            reason = call.body.finish_reason(piece.completion, readers[index].answer)
            found.append(chunk(index, {}, finish_reason=reason))
        return found

    async with event_stream(call, OPENAI) as events:
        async with contextlib.aclosing(pieces(call.service, model, [begun.job])) as stream:
            async for index, piece in stream:
                await events.send(*chunks(index, piece))
        if call.body.wants_usage:
            await events.send({**head, "choices": [], "usage": usage(done.values())})
    return events.response


ROUTES = (Route("POST", "/v1/chat/completions", chat_completions, ChatRequest, "Answer a conversation"),)
