"""The server as a whole: health, metrics, ids, ports, TLS, and the command that starts it."""

from __future__ import annotations

import http.client
import re
import signal
import socket
import ssl
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from realizar.errors import PluginError, RequestError
from realizar.model_pool import ModelPool
from realizar.selection import choose_server
from realizar_aiohttp import plugin
from realizar_aiohttp.metrics import VLLM_NAMES

BODY = {"prompt": "a", "max_tokens": 5, "temperature": 0, "ignore_eos": True}


async def test_health_waits_for_the_models(serving, llm):
    pool = ModelPool({"tiny": lambda: llm})
    async with serving(pool) as client:
        for path in ("/health", "/v1/health", "/readyz"):
            response = await client.get(path)
            assert response.status == 503
            assert (await response.json())["error"]["message"] == "Loading model"
        asked = await client.post("/v1/completions", json=BODY)
        assert (asked.status, asked.headers["Retry-After"]) == (503, "1")
        assert (await client.get("/livez")).status == 200
        assert [entry["id"] for entry in (await (await client.get("/v1/models")).json())["data"]] == ["tiny"]
        pool.load()
        for path in ("/health", "/v1/health", "/readyz", "/health?deep=1"):
            response = await client.get(path)
            assert (response.status, await response.json()) == (200, {"status": "ok"})


async def metrics_of(client):
    response = await client.get("/metrics")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = text_string_to_metric_families(await response.text())
    return {sample.name: sample for family in families for sample in family.samples}


async def test_metrics_count_what_happened(serving, llm, settle):
    async with serving() as client:
        for _ in range(2):
            await client.post("/v1/completions", json=BODY)
        await client.get("/made/up/by/somebody")
        await settle(llm)
        found = await metrics_of(client)
        text = await (await client.get("/metrics")).text()
    values = {name: sample.value for name, sample in found.items()}
    assert values["realizar_generation_tokens_total"] == 10
    assert values["realizar_prompt_tokens_total"] == 4
    assert values["realizar_generations_finished_total"] == 2
    assert values["realizar_time_to_first_token_seconds_count"] == 2
    assert values["realizar_inter_token_latency_seconds_count"] == 8
    assert (values["realizar_requests_running"], values["realizar_kv_cache_usage_ratio"]) == (0, 0)
    assert found["realizar_generation_tokens_total"].labels == {"model": "tiny"}
    assert 'realizar_http_requests_total{method="any",route="unknown",status="404"} 1.0' in text
    assert "made" not in text
    assert "vllm:" not in text


async def test_metrics_under_the_names_of_vllm(serving):
    async with serving(metrics_compat="vllm") as client:
        await client.post("/v1/completions", json=BODY)
        found = await metrics_of(client)
    names = set(found)
    for name in VLLM_NAMES.values():
        assert {name, f"{name}_total", f"{name}_bucket"} & names, name
    tokens = found["vllm:generation_tokens_total"]
    assert (tokens.value, tokens.labels) == (5, {"model_name": "tiny", "engine": "0"})
    assert found["vllm:request_success_total"].labels["finished_reason"] == "length"
    assert found["vllm:time_to_first_token_seconds_count"].value == 1


async def test_a_request_has_an_id(serving):
    async with serving() as client:
        given = await client.get("/v1/models", headers={"X-Request-Id": "my-id.1"})
        assert given.headers["X-Request-Id"] == "my-id.1"
        for made_up in ("", "a b", "x" * 200, "é"):
            made = await client.get("/v1/models", headers={"X-Request-Id": made_up})
            assert re.fullmatch("req_[0-9a-f]{32}", made.headers["X-Request-Id"])


async def test_routes_and_methods_that_are_not_there(serving):
    async with serving() as client:
        missing = await client.get("/v1/nothing")
        assert (missing.status, (await missing.json())["error"]["code"]) == (404, "not_found")
        wrong = await client.get("/v1/completions")
        assert (wrong.status, wrong.headers["Allow"]) == (405, "POST")
        assert (await wrong.json())["error"]["code"] == "method_not_allowed"


def test_a_port_in_use_is_a_clear_error(running, pool_of, llm):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RequestError, match=f"port {port}: cannot listen there"):
            serve_once(pool_of(tiny=llm), port=port)


def serve_once(pool: ModelPool, **config: object) -> None:
    """Start a server that is to stop at once."""
    import asyncio

    from realizar.servers import ServerConfig
    from realizar_aiohttp.server import AiohttpServer

    async def serve() -> None:
        stop = asyncio.Event()
        stop.set()
        await AiohttpServer().serve(pool, ServerConfig(**config), listening=lambda url: None, stop=stop)  # type: ignore[arg-type]

    asyncio.run(serve())


def test_tls(running, pool_of, llm):
    pem = Path(__file__).with_name("loopback.pem")
    with running(pool_of(tiny=llm), tls_cert=pem, tls_key=pem) as url:
        assert url.startswith("https://")
        trusting = ssl.create_default_context(cafile=str(pem))
        with urllib.request.urlopen(f"{url}/health", context=trusting, timeout=10) as response:
            assert response.status == 200
    with pytest.raises(RequestError, match="not usable"):
        serve_once(pool_of(tiny=llm), port=0, tls_cert=Path(__file__), tls_key=Path(__file__))


def test_the_plugin_offers_one_server(plugins):
    assert plugin.REALIZAR_API == (1, 0)
    assert choose_server("aiohttp").name == choose_server().name == "aiohttp"
    with pytest.raises(PluginError, match="unknown server 'other'; installed: aiohttp"):
        choose_server("other")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_where_it_is_and_ends_cleanly(command, signum):
    with command("--served-model-name", "mine", "--backend", "numpy") as process:
        found = re.fullmatch(r"mine: ready at http://(\S+) .*\n", process.stdout.readline())
        connection = http.client.HTTPConnection(found[1], timeout=20)
        connection.request("POST", "/v1/completions", '{"prompt": "a", "max_tokens": 2}')
        assert connection.getresponse().status == 200
        process.send_signal(signum)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert errors == "finishing open requests (Ctrl-C again to end at once)\n"


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--host", "0.0.0.0"), 1, "no key is asked for; give --api-key-file"),
        (("--server", "nginx"), 1, "unknown server 'nginx'; installed: aiohttp"),
        (("--tls-cert", __file__), 1, "give both --tls-cert and --tls-key"),
        (("--port", "99999"), 2, "99999"), (("--backend", "abacus"), 1, "unknown backend 'abacus'"),
        (("--deterministic", "--backend", "numpy"), 1, "depend on what is computed beside"),
        (("--ctx", "100000"), 1, "a context of 100000 tokens"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_served_is_one_line_and_an_exit_code(command, args, code, words):
    with command(*args) as process:
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (code, "")
    assert words in errors
    assert "Traceback" not in errors


def test_a_model_that_is_not_there_ends_the_server(command):
    with command(model="no-such-model") as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "no-such-model" in errors
    assert "Traceback" not in errors
