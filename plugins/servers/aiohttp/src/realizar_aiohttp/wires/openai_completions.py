"""POST /v1/completions."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import attrs
from aiohttp import web

from realizar.engine import Completion, Piece
from realizar.model_pool import ServedModel
from realizar_aiohttp.call import Call
from realizar_aiohttp.fields import field
from realizar_aiohttp.generation import Job, completions, num_answers, pieces
from realizar_aiohttp.problem import not_supported, wrong_value
from realizar_aiohttp.routes import Route
from realizar_aiohttp.sse import OPENAI, event_stream
from realizar_aiohttp.wires.openai_logprobs import completion_logprobs
from realizar_aiohttp.wires.openai_sampling import MAX_LOGPROBS, MAX_N, OpenAISampling, envelope, usage

MAX_PROMPTS = 64
"""Prompts of one request."""


@attrs.frozen(kw_only=True)
class CompletionRequest(OpenAISampling):
    """Texts, or their token ids, to be continued as they stand."""

    prompt: str | list[str] | list[int] | list[list[int]] = field()
    max_tokens: int | None = field(16, low=1)
    logprobs: int | None = field(None, "alternatives for each token", low=0, high=MAX_LOGPROBS)
    echo: bool = field(False, "the prompt's text comes before the answer")
    best_of: int | None = field(None, "must equal n", low=1, high=MAX_N)
    suffix: str | None = field(None, "refused")

    @property
    def prompts(self) -> list[Any]:
        """Each prompt, as a text or as ids."""
        if isinstance(self.prompt, str) or (self.prompt and isinstance(self.prompt[0], int)):
            return [self.prompt]
        return list(self.prompt)

    def jobs(self) -> list[Job]:
        """What is to be generated, for each prompt."""
        prompts = self.prompts
        if not 1 <= len(prompts) <= MAX_PROMPTS:
            raise wrong_value("prompt", f"{len(prompts)} prompts", f"1 to {MAX_PROMPTS}")
        if self.suffix:
            raise not_supported("suffix", "filling in the middle is not served")
        if self.best_of not in (None, self.n):
            raise not_supported("best_of", f"found {self.best_of} beside n = {self.n}; all answers are returned")
        if self.echo and self.logprobs is not None:
            raise not_supported("echo", "log probabilities of the prompt are not served here", "use /v1/logprobs")
        params = self.params(self.max_tokens, self.logprobs)
        return [Job(prompt, params) for prompt in prompts]


async def text_completions(call: Call[CompletionRequest]) -> web.StreamResponse:
    """Continue texts, all at once or as it is generated."""
    body, jobs = call.body, call.body.jobs()
    async with call.service.pool.lease(body.model) as model:
        echoes = [""] * num_answers(jobs)
        if body.echo:
            echoes = await asyncio.to_thread(lambda: [_echo(job.prompt, model) for job in jobs for _ in range(body.n)])
        if body.stream:
            return await _stream(call, model, jobs, echoes)
        done = await completions(call.service, model, jobs)
        head = envelope("cmpl", "text_completion", model)
        choices = [_choice(i, completion, echoes[i], model) for i, completion in enumerate(done)]
        return call.json({**head, "choices": choices, "usage": usage(done)})


def _echo(prompt: Any, model: ServedModel) -> str:
    return prompt if isinstance(prompt, str) else model.llm.tokenizer.decode(prompt)


def _choice(index: int, completion: Completion, echo: str, model: ServedModel) -> dict[str, Any]:
    tokenizer, logprobs = model.llm.tokenizer, completion.logprobs
    listed = None if logprobs is None else completion_logprobs(logprobs, tokenizer, 0)
    return {
        "index": index, "text": echo + completion.text, "logprobs": listed, "finish_reason": completion.finish_reason,
    }  # fmt: skip


async def _stream(
    call: Call[CompletionRequest], model: ServedModel, jobs: list[Job], echoes: list[str]
) -> web.StreamResponse:
    """Chunks of text, the last of each choice with the reason of its end, and the usage if it is wanted."""
    head, tokenizer = envelope("cmpl", "text_completion", model), model.llm.tokenizer
    done: dict[int, Completion] = {}
    offsets = [0] * num_answers(jobs)

    def chunk(index: int, piece: Piece) -> dict[str, Any]:
        text, echoes[index] = echoes[index] + piece.text, ""
        logprobs = None
        if piece.logprobs is not None:
            logprobs = completion_logprobs(piece.logprobs, tokenizer, offsets[index])
            offsets[index] += sum(map(len, logprobs["tokens"]))
        reason = None if piece.completion is None else piece.completion.finish_reason
        choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}
        return {**head, "choices": [choice]}

    async with event_stream(call, OPENAI) as events:
        async with contextlib.aclosing(pieces(call.service, model, jobs)) as stream:
            async for index, piece in stream:
                if piece.completion is not None:
                    done[index] = piece.completion
                if piece.text or piece.logprobs or piece.completion is not None:
                    await events.send(chunk(index, piece))
        if call.body.wants_usage:
            await events.send({**head, "choices": [], "usage": usage(done.values())})
    return events.response


ROUTES = (Route("POST", "/v1/completions", text_completions, CompletionRequest, "Continue a text"),)
