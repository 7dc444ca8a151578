"""The load generator against a server of known behaviour."""

from __future__ import annotations

import asyncio
import json
import math
import threading

import pytest
from click.testing import CliRunner

from realizar.bench.load import Load, LoadReport, RequestRecord, generate_load
from realizar.cli.bench_serve import bench_serve_command

web = pytest.importorskip("aiohttp.web")


class Server:
    """Answers /v1/completions with `pieces` pieces, `gap_s` apart; notes what it was asked and how many at once."""

    def __init__(self, pieces: int = 3, gap_s: float = 0.0, status: int = 200, breaks: bool = False) -> None:
        self.pieces, self.gap_s, self.status, self.breaks = pieces, gap_s, status, breaks
        self.bodies: list[dict] = []
        self.keys: set[str | None] = set()
        self.open = self.most_open = 0

    def __enter__(self) -> str:
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,))
        self._thread.start()
        assert started.wait(10)
        return f"http://127.0.0.1:{self.port}/"

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self, started: threading.Event) -> None:
        async def start() -> web.AppRunner:
            app = web.Application()
            app.router.add_post("/v1/completions", self._complete)
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.port = site._server.sockets[0].getsockname()[1]
            return runner

        runner = self._loop.run_until_complete(start())
        started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        self.keys.add(request.headers.get("Authorization"))
        if self.status != 200:
            return web.json_response({"error": {"message": "no"}}, status=self.status)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": still here\n\n")
        for i in range(self.pieces):
            await asyncio.sleep(self.gap_s)
            if self.breaks and i:
                await self._send(response, {"error": {"message": "broken"}})
                break
            await self._send(response, {"choices": [{"text": "word"}]})
        await self._send(response, {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2 * self.pieces}})
        await response.write(b"data: [DONE]\n\n")
        self.open -= 1
        return response

    async def _send(self, response: web.StreamResponse, event: dict) -> None:
        await response.write(f"data: {json.dumps(event)}\n\n".encode())


def test_a_closed_loop_keeps_so_many_requests_open():
    server = Server(gap_s=0.02)
    with server as url:
        report = asyncio.run(generate_load(Load(url, requests=12, concurrency=4, api_key="k", model="m")))
    assert server.most_open == 4
    assert server.keys == {"Bearer k"}
    assert {body["model"] for body in server.bodies} == {"m"}
    assert len({body["prompt"][:9] for body in server.bodies}) == 12
    assert len(report.whole) == 12
    assert report.prompt_tokens == 7
    assert report.output_tokens_per_s == pytest.approx(12 * 6 / report.duration_s)
    assert all(len(record.token_s) == 3 for record in report.records)
    latencies = report.latencies
    assert 0.02 <= latencies["first token"].p50 <= latencies["whole request"].p50
    assert latencies["between tokens"].p50 >= 0.01


def test_an_open_loop_does_not_wait_for_answers():
    server = Server(gap_s=0.3, pieces=1)
    with server as url:
        report = asyncio.run(generate_load(Load(url, requests=10, rate=200)))
    assert server.most_open > 4
    assert len(report.whole) == 10
    assert min(record.sent_s for record in report.records) == 0


@pytest.mark.parametrize(
    ("server", "failure"), [(Server(status=429), "HTTP 429"), (Server(breaks=True), "error in the stream")]
)
def test_failures_are_counted_by_kind(server, failure):
    with server as url:
        report = asyncio.run(generate_load(Load(url, requests=3, concurrency=2)))
    assert report.failures == {failure: 3}
    assert math.isnan(report.latencies["first token"].p50)


def test_no_server_is_a_failure_of_every_request():
    result = CliRunner().invoke(bench_serve_command, ["http://127.0.0.1:9", "--requests", "2", "--format", "json"])
    assert result.exit_code == 1
    assert json.loads(result.output)["failures"] == {"ClientConnectorError": 2}


def test_the_command_prints_rates_and_percentiles(tmp_path):
    key = tmp_path / "key"
    key.write_text("secret\n")
    server = Server()
    with server as url:
        result = CliRunner().invoke(bench_serve_command, [url, "--requests", "4", "--api-key-file", str(key)])
    assert result.exit_code == 0, result.output
    assert "4 requests in" in result.output
    assert "failed: none" in result.output
    assert "between tokens" in result.output
    assert server.keys == {"Bearer secret"}


def test_percentiles_of_known_times():
    records = tuple(RequestRecord(i, i + 2.0, (i + 0.5, i + 1.0), 10, 5) for i in range(3))
    report = LoadReport(records)
    assert report.duration_s == 4.0
    assert report.output_tokens_per_s == 15 / 4
    assert report.latencies["first token"].p99 == 0.5
    assert report.latencies["between tokens"].largest == 0.5
    assert LoadReport(()).duration_s == 0
