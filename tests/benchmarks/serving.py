"""A server under load: output tokens a second and latencies, beside llama-server with --compare FOLDER, in turns."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from suite import chosen_model, parser

from realizar.bench.load import Load, LoadReport, generate_load
from realizar.store import resolve

PROMPT_WORDS = 95
"""About 100 tokens of SmolLM2."""


def main() -> None:
    """A table for one stream and one for many."""
    arguments = parser(__doc__, model=True)
    arguments.add_argument("--compare", type=Path, metavar="FOLDER", help="where llama-server is")
    arguments.add_argument("--streams", type=int, nargs="+", default=[1, 16], help="requests open at once")
    arguments.add_argument("--threads", type=int, default=2)
    chosen = arguments.parse_args()
    with chosen_model(chosen) as model:
        for streams in [2] if chosen.quick else chosen.streams:
            _print(streams, _measure(resolve(model, allow_download=False), streams, chosen))


def _measure(model: Path, streams: int, chosen: argparse.Namespace) -> dict[str, list[LoadReport]]:
    """Each server anew in each round, its first requests not counted."""
    requests, port = 2 * streams if chosen.quick else max(4, 3 * streams), free_port()
    common = ["--port", port, "--threads", chosen.threads]
    ours = [sys.executable, "-m", "realizar", "serve", model, *common]
    servers = {"realizar": [*ours, *(["--backend", chosen.backend] if chosen.backend else [])]}
    if chosen.compare:
        servers["llama-server"] = [chosen.compare / "llama-server", "-m", model, "-np", 16, "-c", 16384, *common]
    found: dict[str, list[LoadReport]] = {name: [] for name in servers}
    for number in range(1 if chosen.quick else chosen.rounds):
        for name, command in servers.items():
            with running(list(map(str, command)), port) as (url, _):
                load = Load(
                    url, concurrency=streams, requests=requests, prompt_words=PROMPT_WORDS,
                    max_tokens=8 if chosen.quick else 64, seed=1000 * number,
                )  # fmt: skip
                asyncio.run(generate_load(Load(url, requests=2, concurrency=2, max_tokens=4, seed=-1 - number)))
                found[name].append(asyncio.run(generate_load(load)))
    return found


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[tuple[str, int]]:
    """URL and process id of a server that is ready; it is ended afterwards."""
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_until_ready(url, process)
            yield url, process.pid
        finally:
            process.terminate()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        if process.poll() is not None:
            raise SystemExit(f"{process.args[0]} ended with {process.returncode}")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5) as response:
            if response.status == 200:
                return
        time.sleep(0.1)
    raise SystemExit(f"{process.args[0]} was not ready within two minutes")


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _print(streams: int, found: dict[str, list[LoadReport]]) -> None:
    print(f"\n## {streams} stream{'s' * (streams > 1)}, medians of {len(found['realizar'])} rounds\n")
    print("| | output tokens/s | first token p50, ms | between tokens p50 / p99, ms | failed |")
    print("|---|---|---|---|---|")
    for name, reports in found.items():
        first, between = ([report.latencies[kind] for report in reports] for kind in ("first token", "between tokens"))
        cells = (
            f"{median(report.output_tokens_per_s for report in reports):.1f}",
            f"{1000 * median(p.p50 for p in first):.0f}",
            f"{1000 * median(p.p50 for p in between):.1f} / {1000 * median(p.p99 for p in between):.1f}",
            str(sum(len(report.records) - len(report.whole) for report in reports)),
        )
        print(f"| {name} | {' | '.join(cells)} |")
    if "llama-server" in found:
        pairs = list(zip(found["realizar"], found["llama-server"], strict=True))
        ratios = sorted(ours.output_tokens_per_s / theirs.output_tokens_per_s for ours, theirs in pairs)
        print(f"| ratio | {median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}) | | | |")


if __name__ == "__main__":
    main()
