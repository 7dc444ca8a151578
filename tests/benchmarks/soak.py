"""A server under mixed and hostile traffic for a while: every answer must be the one it gives alone, nothing may leak.

Clients that leave, that read slowly, that are stopped by the system, that send nonsense or too much; beside them plain
requests, whose texts and log probabilities are compared bit for bit with what the idle server answered.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from serving import free_port, running
from suite import chosen_model, parser

from realizar.store import resolve

PAIRS = 24
"""Requests whose answers are known."""

CONTEXT = 256
"""Short, so that the cache, whose pages are taken as they are first used, is used up while the server warms up."""

TOPICS = "rivers letters engines gardens winters bridges planets kitchens harvests signals candles deserts".split()


def main() -> None:
    """Exit code 1 if an answer was wrong, or something leaked."""
    arguments = parser(__doc__, model=True)
    arguments.add_argument("--minutes", type=float, default=30.0)
    arguments.add_argument("--clients", type=int, default=12)
    chosen = arguments.parse_args()
    with chosen_model(chosen) as model:
        port = free_port()
        command = [sys.executable, "-m", "realizar", "serve", str(resolve(model, allow_download=False)), "--port", port]
        command += ["--ctx", CONTEXT]
        command += ["--backend", chosen.backend] if chosen.backend else []
        with running(list(map(str, command)), port) as (url, pid):
            sys.exit(asyncio.run(_soak(url, pid, chosen)))


async def _soak(url: str, pid: int, chosen: argparse.Namespace) -> int:
    """Warm up, soak, settle, report."""
    minutes, length = (0.05, 4) if chosen.quick else (chosen.minutes, 48)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connector, timeout=aiohttp.ClientTimeout(600)) as session:
        soak = Soak(session, url, length)
        await soak.learn()
        await soak.run(chosen.clients, time.monotonic() + 0.2 * 60 * minutes)
        await soak.settle()
        before = _rss_nbytes(pid), _descriptors(pid)
        await soak.run(chosen.clients, time.monotonic() + 0.8 * 60 * minutes)
        left = await soak.settle()
        after = _rss_nbytes(pid), _descriptors(pid)
    print(f"## Soak of {minutes:g} minutes, {chosen.clients} clients\n")
    print("| | |\n|---|---|")
    for name, count in sorted(soak.counts.items()):
        print(f"| {name} | {count} |")
    print(f"| wrong answers | {len(soak.wrong)} |\n| blocks, sequences left | {left} |")
    print(f"| memory after a fifth, at the end, MB | {before[0] / 1e6:.0f}, {after[0] / 1e6:.0f} |")
    print(f"| descriptors | {before[1]}, {after[1]} |")
    for wrong in soak.wrong[:5]:
        print(f"\n{wrong}", file=sys.stderr)
    grew = after[0] > 1.1 * before[0] + 32e6 or after[1] > before[1] + 4
    return int(bool(soak.wrong) or left != (0, 0) or grew)


class Soak:
    """The traffic, and what was seen."""

    def __init__(self, session: aiohttp.ClientSession, url: str, length: int) -> None:
        self._session, self._url = session, url
        self._bodies = [_body(i, length) for i in range(PAIRS)]
        self._answers: list[Any] = []
        self._random = random.Random(0)
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def learn(self) -> None:
        """What the server answers when it does nothing else."""
        for body in self._bodies:
            self._answers.append(await self._plain(body))

    async def run(self, clients: int, until: float) -> None:
        """Let so many clients do at random what clients do."""
        kinds: list[Callable[[], Awaitable[None]]] = [
            self._compare, self._compare, self._compare_stream, self._leave, self._read_slowly, self._malformed,
            self._oversize, self._stopped,
        ]  # fmt: skip

        async def client() -> None:
            while time.monotonic() < until:
                await self._random.choice(kinds)()

        await asyncio.gather(*(client() for _ in range(clients)))

    async def settle(self) -> tuple[int, int]:
        """(blocks used, sequences open) once nothing is running, or after half a minute."""
        for _ in range(300):
            async with self._session.get("/debug/state") as response:
                model = (await response.json())["models"][0]
            left = model["stats"]["blocks_used"], len(model["sequences"])
            if left == (0, 0):
                break
            await asyncio.sleep(0.1)
        return left

    async def _plain(self, body: dict[str, Any]) -> Any:
        async with self._session.post("/v1/completions", json=body) as response:
            answer = await response.json()
            if response.status != 200:
                return response.status, answer
            choice = answer["choices"][0]
            return choice["text"], choice["finish_reason"], choice["logprobs"]["token_logprobs"]

    async def _compare(self) -> None:
        i = self._random.randrange(PAIRS)
        self._judge("compared", i, await self._plain(self._bodies[i]), self._answers[i])

    async def _compare_stream(self) -> None:
        i = self._random.randrange(PAIRS)
        text = "".join([piece async for piece in self._stream(self._bodies[i])])
        self._judge("compared, streamed", i, text, self._answers[i][0])

    def _judge(self, kind: str, i: int, found: Any, expected: Any) -> None:
        self.counts[kind] += 1
        if found != expected:
            self.wrong.append(f"request {i} ({kind}): {found!r}, alone {expected!r}")

    async def _stream(self, body: dict[str, Any]) -> Any:
        async with self._session.post("/v1/completions", json={**body, "stream": True}) as response:
            async for line in response.content:
                if line.startswith(b"data: {"):
                    for choice in json.loads(line[6:])["choices"]:
                        yield choice["text"]

    async def _leave(self) -> None:
        self.counts["left"] += 1
        after = self._random.randrange(4)
        async with contextlib.aclosing(self._stream(self._random.choice(self._bodies))) as stream:
            async for _ in stream:
                after -= 1
                if after < 0:
                    return

    async def _read_slowly(self) -> None:
        self.counts["read slowly"] += 1
        async for _ in self._stream(self._random.choice(self._bodies)):
            await asyncio.sleep(0.05)

    async def _malformed(self) -> None:
        """Bytes, wrong types, an unknown model: a 4xx each."""
        data = self._random.choice(
            [self._random.randbytes(64), b'{"prompt": 5.5}', b'{"prompt": "a", "max_tokens": "many"}', b"[[" * 500,
             b'{"prompt": "a", "model": "../secret"}', b'{"prompt": "a", "temperature": -1}', b""]
        )  # fmt: skip
        await self._expect("malformed", data, range(400, 500))

    async def _oversize(self) -> None:
        await self._expect("oversize", b'{"prompt": "' + b"a" * (9 << 20) + b'"}', (413,))

    async def _expect(self, kind: str, data: bytes, statuses: Any) -> None:
        self.counts[kind] += 1
        try:
            async with self._session.post("/v1/completions", data=data) as response:
                if response.status not in statuses:
                    self.wrong.append(f"{kind} {data[:60]!r}: status {response.status}")
        except aiohttp.ClientConnectionError:
            self.counts[f"{kind}, connection closed"] += 1  # refused while it was still being sent

    async def _stopped(self) -> None:
        """A client that the system stops in the middle of an answer."""
        curl = shutil.which("curl")
        if curl is None:
            return
        self.counts["stopped"] += 1
        body = json.dumps({**self._random.choice(self._bodies), "stream": True})
        line = [curl, "-sN", f"{self._url}/v1/completions", "-H", "Content-Type: application/json", "-d", body]
        process = await asyncio.create_subprocess_exec(*line, stdout=asyncio.subprocess.DEVNULL)
        await asyncio.sleep(0.1)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(1.0)
            process.send_signal(signal.SIGCONT)
            process.kill()
        await process.wait()


def _body(index: int, length: int) -> dict[str, Any]:
    """Some greedy, some seeded; some prompts share their beginning."""
    topic = TOPICS[index % len(TOPICS)]
    prompt = f"A long and careful essay about {topic}, written for children who like {TOPICS[index % 5]}. " * (
        1 + index % 3
    )
    sampling = {"temperature": 0} if index % 2 else {"temperature": 0.9, "seed": index}
    return {"prompt": prompt, "max_tokens": length, "logprobs": 1, **sampling}


def _rss_nbytes(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(text.partition("VmRSS:")[2].split()[0])


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


if __name__ == "__main__":
    main()
