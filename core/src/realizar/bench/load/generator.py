"""Sends requests and notes when each piece of an answer comes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from realizar.bench.load.prompts import random_prompt
from realizar.bench.load.report import LoadReport, RequestRecord
from realizar.errors import RequestError
from realizar.progress import Progress, silent

if TYPE_CHECKING:
    import aiohttp


@attrs.frozen
class Load:
    """What to send, and how fast.

    concurrency: requests that are open at once (a closed loop: each answer starts the next request).
    rate: requests a second instead, at random (Poisson) times, however slow the answers are (an open loop).
    prompt_words: length of a prompt; its tokens are what the server says.
    """

    url: str
    requests: int = 64
    concurrency: int = 16
    rate: float | None = None
    prompt_words: int = 80
    max_tokens: int = 64
    model: str | None = None
    api_key: str | None = None
    seed: int = 0
    timeout_s: float = 600.0

    def body(self, index: int) -> dict[str, Any]:
        """Request number `index`: greedy, streamed, of exactly `max_tokens` where the server has `ignore_eos`."""
        fields = {
            "prompt": random_prompt(self.seed, index, self.prompt_words), "max_tokens": self.max_tokens,
            "temperature": 0, "stream": True, "stream_options": {"include_usage": True}, "ignore_eos": True,
        }  # fmt: skip
        return fields if self.model is None else {"model": self.model, **fields}


async def generate_load(load: Load, progress: Progress = silent) -> LoadReport:
    """Send all requests of `load` to its /v1/completions and wait for their ends."""
    try:
        import aiohttp
    except ImportError:
        raise RequestError("sending load needs aiohttp; install it with: pip install 'realizar[aiohttp]'") from None
    headers = {} if load.api_key is None else {"Authorization": f"Bearer {load.api_key}"}
    timeout = aiohttp.ClientTimeout(total=load.timeout_s)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)  # some servers close what they said they keep
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector) as session:
        run = _Run(load, session, progress)
        await (run.closed_loop() if load.rate is None else run.open_loop(load.rate))
    return LoadReport(tuple(run.records))


class _Run:
    def __init__(self, load: Load, session: aiohttp.ClientSession, progress: Progress) -> None:
        self._load, self._session, self._progress = load, session, progress
        self._start = time.perf_counter()
        self.records: list[RequestRecord] = []

    async def closed_loop(self) -> None:
        indices = iter(range(self._load.requests))
        await asyncio.gather(*(self._one_after_another(indices) for _ in range(self._load.concurrency)))

    async def open_loop(self, rate: float) -> None:
        gaps = np.random.default_rng(self._load.seed).exponential(1 / rate, self._load.requests)
        await asyncio.gather(*(self._at(when, i) for i, when in enumerate((gaps.cumsum() - gaps[0]).tolist())))

    async def _one_after_another(self, indices: Iterator[int]) -> None:
        for index in indices:
            await self._request(index, self._now())

    async def _at(self, when: float, index: int) -> None:
        await asyncio.sleep(when - self._now())
        await self._request(index, when)

    async def _request(self, index: int, sent_s: float) -> None:
        """Send one request; a failure is a record too."""
        import aiohttp

        try:
            record = await self._answer(index, sent_s)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            record = RequestRecord(sent_s, self._now(), failure=type(error).__name__)
        self.records.append(record)
        self._progress("requests", len(self.records), self._load.requests)

    async def _answer(self, index: int, sent_s: float) -> RequestRecord:
        times: list[float] = []
        usage: dict[str, int] = {}
        url = self._load.url.rstrip("/") + "/v1/completions"
        async with self._session.post(url, json=self._load.body(index)) as response:
            if response.status != 200:
                return RequestRecord(sent_s, self._now(), failure=f"HTTP {response.status}")
            async for event in _events(response.content):
                if "error" in event:
                    return RequestRecord(sent_s, self._now(), tuple(times), failure="error in the stream")
                if any(choice.get("text") for choice in event.get("choices", ())):
                    times.append(self._now())
                usage = event.get("usage") or usage
        return RequestRecord(
            sent_s, self._now(), tuple(times),
            usage.get("prompt_tokens", 0), usage.get("completion_tokens", len(times)),
        )  # fmt: skip

    def _now(self) -> float:
        return time.perf_counter() - self._start


async def _events(content: aiohttp.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of a stream of server-sent events."""
    async for line in content:
        if line.startswith(b"data:") and (data := line[5:].strip()) != b"[DONE]":
            yield json.loads(data)
