"""What the log says of requests, and the traces that they are part of."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import os
import re
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realizar.json_log import JsonFormatter
from realizar_aiohttp.resilience.trace_context import continued

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def entries(caplog):
    """The server's log as JSON, made where each entry was written."""
    lines = []

    class Handler(logging.Handler):
        def emit(self, record):
            lines.append(self.format(record))

    handler, logger = Handler(), logging.getLogger("realizar.server")
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    caplog.set_level(logging.INFO, "realizar.server")
    yield lambda: [json.loads(line) for line in lines]
    logger.removeHandler(handler)


async def test_a_request_is_found_again_in_the_log_by_its_id_and_its_trace(client_of, asking, llm, pool_of, entries):
    headers = {"X-Request-Id": "mine", "traceparent": f"00-{TRACE}-{PARENT}-01", "Authorization": "Bearer secret-key"}
    async with client_of(pool_of(tiny=llm), api_keys=("secret-key",)) as client:
        _, answered, _ = await asking(client).chat(headers=headers)
    version, trace_id, span_id, flags = answered["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", TRACE, "01")
    assert span_id != PARENT
    (entry,) = entries()
    assert entry.pop("seconds") > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", entry.pop("time"))
    assert re.fullmatch("[0-9a-f]{12}", entry.pop("key"))
    assert entry == {
        "level": "info", "logger": "realizar.server", "message": "POST /v1/chat/completions: 200",
        "request_id": "mine", "trace_id": TRACE, "span_id": span_id, "method": "POST",
        "route": "/v1/chat/completions", "status": 200,
    }  # fmt: skip
    assert "secret-key" not in str(entries())


async def test_streams_continue_a_trace_and_requests_at_a_time_do_not_mix(client_of, slow_llm, pool_of, entries):
    body = {"prompt": "a", "max_tokens": 5, "stream": True}

    async def ask(i):
        headers = {"X-Request-Id": f"r{i}", "traceparent": f"00-{i:032x}-{PARENT}-00"}
        async with client.post("/v1/completions", json=body, headers=headers) as response:
            await response.read()
            return response.headers["traceparent"].split("-")[1]

    async with client_of(pool_of(slow=slow_llm)) as client:
        assert await asyncio.gather(*(ask(i) for i in range(1, 9))) == [f"{i:032x}" for i in range(1, 9)]
    found = {entry["request_id"]: entry["trace_id"] for entry in entries()}
    assert found == {f"r{i}": f"{i:032x}" for i in range(1, 9)}


async def test_a_failure_is_logged_under_the_id_of_its_request(client_of, asking, failing, faults, pool_of, entries):
    async with client_of(pool_of(broken=failing)) as client:
        faults.order("raise")
        await asking(client).chat(headers={"X-Request-Id": "unlucky"})
    error, last = entries()
    assert (error["request_id"], last["request_id"], last["status"]) == ("unlucky", "unlucky", 500)
    assert "RuntimeError: device lost" in error["exception"]


# Vectors: W3C Trace Context, section 3.2.2, and the test suite beside it.
@pytest.mark.parametrize(
    "header",
    [
        "", "00", f"00-{TRACE}-{PARENT}", f"ff-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-{PARENT}-01-more", f"00-{TRACE.upper()}-{PARENT}-01",
        f"0-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-1", f"00-{TRACE[:-1]}-{PARENT}-01", f"cc-{TRACE}-{PARENT}-01.",
    ],
)  # fmt: skip
def test_a_header_that_names_no_trace_begins_one(header):
    trace = continued(header)
    assert trace.trace_id != TRACE
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", str(trace))


@pytest.mark.parametrize(
    "header", [f"cc-{TRACE}-{PARENT}-01", f"cc-{TRACE}-{PARENT}-01-more", f" 00-{TRACE}-{PARENT}-03 "]
)
def test_later_versions_are_read_as_far_as_they_are_known(header):
    trace = continued(header)
    assert (trace.trace_id, trace.flags) == (TRACE, "01")


@given(st.text(max_size=80))
def test_any_header_gives_a_trace(header):
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", str(continued(header)))


def test_the_command_takes_the_limits_and_logs_json(faults, plugin_folder, write_model):
    kept = {name: value for name, value in os.environ.items() if name != "REALIZAR_BACKEND"}
    environ = {**kept, "PYTHONPATH": f"{plugin_folder}{os.pathsep}{kept.get('PYTHONPATH', '')}"}
    options = {
        "--backend": "faults", "--fallback-backend": "numpy", "--request-timeout": "50", "--max-wait": "60",
        "--key-concurrency": "4", "--key-tokens-per-minute": "1000", "--max-generations": "5", "--max-scorings": "6",
        "--max-tokenizations": "7", "--breaker-failures": "2", "--breaker-open": "3", "--stall": "9",
        "--log-format": "json", "--port": "0",
    }  # fmt: skip
    line = [
        sys.executable,
        "-m",
        "realizar",
        "serve",
        str(write_model()),
        *(x for pair in options.items() for x in pair),
    ]
    with subprocess.Popen(line, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        address = re.search(r"http://(\S+) ", process.stdout.readline())[1]
        connection = http.client.HTTPConnection(address, timeout=20)
        connection.request("GET", "/debug/state")
        state = json.loads(connection.getresponse().read())["resilience"]
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    (lane,) = state["lanes"]
    assert (lane["breaker"], lane["has_fallback"], lane["open"]["generation"]["limit"]) == ("closed", True, 5)
    given = {
        "request_timeout_s": 50, "max_wait_s": 60, "key_concurrency": 4, "key_tokens_per_minute": 1000,
        "max_generations": 5, "max_scorings": 6, "max_tokenizations": 7, "breaker_failures": 2, "breaker_open_s": 3,
        "stall_s": 9,
    }  # fmt: skip
    assert given.items() <= state["limits"].items()
    (entry,) = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
    assert (entry["route"], entry["status"]) == ("/debug/state", 200)
