"""From prompts to pieces: several generations at a time for one request, measured, cancelled with it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import attrs

from realizar.engine import Completion, Piece
from realizar.engine.prompt import Prompt
from realizar.model_pool import ServedModel
from realizar.sampling import SamplingParams
from realizar_aiohttp.service import Service
from realizar_aiohttp.tracing import TRACES


@attrs.frozen
class Job:
    """One prompt and `params.n` answers to it. chat: further arguments of `LLM.astream` (tools, template variables)."""

    prompt: Prompt
    params: SamplingParams
    chat: Mapping[str, Any] = attrs.field(factory=dict)


Pieces = AsyncGenerator[tuple[int, Piece], None]
"""(number of the answer, piece), interleaved; each answer's last piece has its completion.

Answers are numbered through: all of the first job's prompt, then all of the second's.
"""


def num_answers(jobs: Sequence[Job]) -> int:
    """How many answers the jobs have together."""
    return sum(job.params.n for job in jobs)


async def pieces(service: Service, model: ServedModel, jobs: Sequence[Job]) -> Pieces:
    """The pieces of all jobs as they come; leaving ends those that are not done. The first error ends all."""
    traces = TRACES.get()
    async with contextlib.aclosing(_interleaved(service, model, jobs)) as stream:
        async for index, piece in stream:
            if traces is not None:
                traces.note(index, piece)
            yield index, piece


async def _interleaved(service: Service, model: ServedModel, jobs: Sequence[Job]) -> Pieces:
    if len(jobs) == 1:
        async with contextlib.aclosing(_measured(service, model, jobs[0])) as only:
            async for piece in only:
                yield piece.index, piece
        return
    queue: asyncio.Queue[tuple[int, Piece] | BaseException] = asyncio.Queue()
    starts = accumulate((job.params.n for job in jobs), initial=0)
    tasks = [asyncio.create_task(_pump(service, model, job, i, queue)) for i, job in zip(starts, jobs, strict=False)]
    try:
        left = num_answers(jobs)
        while left:
            item = await queue.get()
            if isinstance(item, BaseException):
                raise item
            left -= item[1].completion is not None
            yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def completions(
    service: Service, model: ServedModel, jobs: Sequence[Job], explained: dict[int, list[Piece]] | None = None
) -> list[Completion]:
    """The answers of all jobs, in their order. explained: gets the pieces with explanations, by answer."""
    found: dict[int, Completion] = {}
    async with contextlib.aclosing(pieces(service, model, jobs)) as stream:
        async for index, piece in stream:
            if piece.completion is not None:
                found[index] = piece.completion
            if explained is not None and piece.explanation:
                explained.setdefault(index, []).append(piece)
    return [found[i] for i in range(num_answers(jobs))]


async def _pump(
    service: Service, model: ServedModel, job: Job, first: int, queue: asyncio.Queue[tuple[int, Piece] | BaseException]
) -> None:
    try:
        async with contextlib.aclosing(_measured(service, model, job)) as stream:
            async for piece in stream:
                queue.put_nowait((first + piece.index, piece))
    except Exception as error:
        queue.put_nowait(error)


async def _measured(service: Service, model: ServedModel, job: Job) -> AsyncGenerator[Piece, None]:
    """The pieces of one job, each noted in the metrics."""
    asked = TRACES.get()
    level = None if asked is None else asked.level
    with service.metrics.generation(model.id, job.params.n) as meter:
        generated = service.resilience.generate(model, job.prompt, job.params, job.chat, level)
        async with contextlib.aclosing(generated) as stream:
            async for piece in stream:
                meter.piece(piece)
                yield piece
