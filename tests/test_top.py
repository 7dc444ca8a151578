"""The terminal's view of a server, of a state as the server tells it."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from rich.console import Console

from realizar.cli import top
from realizar.errors import RequestError

pytest.importorskip("aiohttp")

STATS = {
    "running": 2, "waiting": 1, "blocks_total": 120, "blocks_used": 60, "blocks_free": 60, "blocks_cached": 30,
    "preemptions": 3, "prefix_queries": 100, "prefix_hits": 64, "drafted_tokens": 10, "accepted_tokens": 7,
    "step_tokens": 20, "step_s": 0.01,
}  # fmt: skip

SEQUENCES = [
    {"id": 1, "tokens": 30, "computed": 29, "max_tokens": 94, "priority": 0, "waiting": False},
    {"id": 2, "tokens": 90, "computed": 16, "max_tokens": 154, "priority": 5, "waiting": False},
    {"id": 3, "tokens": 10, "computed": 0, "max_tokens": 74, "priority": 0, "waiting": True},
]

STATE = {
    "open_requests": 3, "draining": False,
    "models": [
        {"id": "a", "alive": True, "stats": STATS, "sequences": SEQUENCES},
        {"id": "b", "alive": False, "stats": None, "sequences": []},
    ],
}  # fmt: skip


def _text(state: dict) -> str:
    console = Console(width=120, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(top.rendered(state))
    return captured.get()


def test_the_page_shows_batch_cache_and_models():
    text = _text(STATE)
    assert "3 open requests" in text
    assert "a: 2 running, 1 waiting, 2000 tokens/s in the last step of 20" in text
    assert text.count("█") == 45
    assert "60 of 120 blocks, 30 to use again" in text
    assert "b: not loaded" in text
    assert [line.split()[1] for line in text.splitlines() if line.strip()[:1].isdigit()][-3:] == [
        "decode", "prefill", "waiting",
    ]  # fmt: skip


def test_a_stopped_engine_and_an_ending_server_are_said():
    stopped = {**STATE, "draining": True, "models": [{**STATE["models"][0], "alive": False}]}
    text = _text(stopped)
    assert "ending" in text
    assert "a (stopped)" in text


def test_once_prints_and_ends(monkeypatch):
    async def state(url: str, key: str | None) -> dict:
        return STATE

    monkeypatch.setattr(top, "fetch_state", state)
    result = CliRunner().invoke(top.top_command, ["--once"])
    assert result.exit_code == 0
    assert "3 open requests" in result.output


def test_no_server_is_an_error_for_people():
    result = CliRunner().invoke(top.top_command, ["http://127.0.0.1:9", "--once"])
    assert isinstance(result.exception, RequestError)
    assert "is a server running there?" in str(result.exception)
