"""Several models: loaded when a request names them, told of, reloaded and let go while others go on."""

from __future__ import annotations

import asyncio
import re
import signal

import pytest

from realizar.engine import LLM
from realizar.errors import MemoryExceeded
from realizar.model_pool import ModelPool
from realizar_aiohttp.wires.ollama_options import OllamaRequest

BODY = {"prompt": "a", "max_tokens": 5, "temperature": 0, "ignore_eos": True}


@pytest.fixture
def pool(plugins, write_model):
    """Two models, of which the second takes all of the budget; 'big' never fits."""
    paths = {"first": write_model(seed=1), "second": write_model(seed=2), "big": write_model(seed=3)}

    def loader(name):
        return lambda: LLM(paths[name], backend="numpy")

    def too_big(budget):
        raise MemoryExceeded(f"big needs 300 MiB, available are {budget}")

    sizes = {"first": lambda budget: 60, "second": lambda budget: 60, "big": too_big}
    pool = ModelPool({name: loader(name) for name in paths}, sizes=sizes, budget_nbytes=100, wait_s=0.3)
    pool.load()
    yield pool
    pool.close()


async def ids_loaded(client):
    data = (await (await client.get("/v1/models")).json())["data"]
    assert [entry["id"] for entry in data] == ["first", "second", "big"]
    return [entry["id"] for entry in data if entry["loaded"]]


async def complete(client, **change):
    response = await client.post("/v1/completions", json={**BODY, **change})
    return response.status, await response.json()


async def until(true):
    async with asyncio.timeout(20):
        while not await true():
            await asyncio.sleep(0.01)


async def test_a_model_is_loaded_by_the_request_that_names_it(serving, pool):
    async with serving(pool) as client:
        assert await ids_loaded(client) == ["first"]
        answers = await asyncio.gather(*(complete(client, model="second") for _ in range(4)))
        assert {status for status, _ in answers} == {200}
        assert len({answer["choices"][0]["text"] for _, answer in answers}) == 1
        assert await ids_loaded(client) == ["second"]
        assert (await client.get("/health")).status == 200
        text = await (await client.get("/metrics")).text()
        tags = await (await client.get("/api/tags")).json()
    assert 'realizar_model_loads_total{model="second"} 1.0' in text
    assert 'realizar_model_unloads_total{model="first",why="room"} 1.0' in text
    assert 'realizar_model_loaded{model="first"} 0.0' in text
    assert float(re.search(r'realizar_model_load_seconds_total\{model="second"\} (\S+)', text)[1]) > 0
    assert "realizar_models_memory_bytes 60.0" in text
    assert "realizar_models_memory_budget_bytes 100.0" in text
    assert [(model["name"], "size" in model) for model in tags["models"]] == [
        ("first:latest", False), ("second:latest", True), ("big:latest", False),
    ]  # fmt: skip


async def test_a_model_in_use_keeps_its_room_and_the_other_one_is_a_503(serving, plugins, write_model):
    path = write_model(seed=1)
    loaders = {"slow": lambda: LLM(path, backend="slow"), "other": lambda: LLM(path, backend="numpy")}
    pool = ModelPool(loaders, sizes=dict.fromkeys(loaders, lambda _: 60), budget_nbytes=100, wait_s=0.1)
    pool.load()
    async with serving(pool) as client:
        body = {**BODY, "max_tokens": 100, "stream": True}
        async with client.post("/v1/completions", json=body) as stream:
            await stream.content.readline()
            refused = await client.post("/v1/completions", json={**BODY, "model": "other"})
            error = (await refused.json())["error"]
            assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
            assert "try again" in error["message"]
            rest = await stream.content.read()
        assert rest.endswith(b"data: [DONE]\n\n") and b'"error"' not in rest
        await asyncio.sleep(0.2)  # the load that was asked for has failed by now, or has made room
        assert (await complete(client, model="other"))[0] == 200
    pool.close()


async def test_what_never_fits_is_refused_with_its_numbers(serving, pool):
    async with serving(pool) as client:
        status, answer = await complete(client, model="big")
        assert await ids_loaded(client) == ["first"]
    assert status == 503
    assert (answer["error"]["code"], answer["error"]["param"]) == ("model_does_not_fit", "model")
    assert answer["error"]["message"] == "big needs 300 MiB, available are 100"


async def test_reload_drops_no_request(serving, plugins, write_model):
    path = write_model(seed=1)
    pool = ModelPool({"tiny": lambda: LLM(path, backend="slow")})
    pool.load()
    (old,) = pool.loaded
    wanted = old.llm.generate("a", max_40()).text
    async with serving(pool, allow_manage=True) as client:
        async with client.post("/v1/completions", json={**BODY, "max_tokens": 40, "stream": True}) as stream:
            await stream.content.readline()
            other = write_model(seed=2)
            path.write_text(other.read_text())
            reloaded = await client.post("/realize/reload", json={"model": "tiny"})
            found = await reloaded.json()
            assert (reloaded.status, found["success"]) == (200, True)
            assert old.is_replaced and old.llm.alive
            (new,) = pool.loaded
            assert (await complete(client))[0] == 200
            chunks = (await stream.content.read()).decode()
        assert '"error"' not in chunks
        assert chunks.count("finish_reason") >= 1 and "[DONE]" in chunks
        await until(lambda: asyncio.sleep(0, not old.llm.alive))
        after = (await complete(client, max_tokens=40))[1]["choices"][0]["text"]
    assert after == new.llm.generate("a", max_40()).text != wanted
    assert pool.cache.counts.unloads == {("tiny", "reload"): 1}
    pool.close()


def max_40():
    from realizar.sampling import SamplingParams

    return SamplingParams(temperature=0, max_tokens=40, ignore_eos=True)


async def test_reload_takes_served_names_only_and_must_be_allowed(serving, pool):
    async with serving(pool) as client:
        assert (await client.post("/realize/reload", json={})).status == 403
    async with serving(pool, allow_manage=True) as client:
        assert (await client.post("/realize/reload", json={"path": "/etc/passwd"})).status == 400
        assert (await client.post("/realize/reload", json={"model": "/etc/passwd"})).status == 404


async def test_keep_alive_lets_a_model_go_or_stay(serving, pool):
    async with serving(pool, allow_manage=True) as client:
        body = {"model": "first", "keep_alive": 0}
        found = await (await client.post("/api/generate", json=body)).json()
        assert found["done_reason"] == "unload"

        async def is_gone():
            return await ids_loaded(client) == []

        await until(is_gone)
        await client.post("/api/generate", json=body)  # is not loaded for that
        assert await ids_loaded(client) == []
        await client.post("/api/chat", json={"model": "first:latest", "keep_alive": "10m"})
        (entry,) = (await (await client.get("/api/ps")).json())["models"]
        assert not entry["expires_at"].startswith("9999")
        await client.post("/api/chat", json={"keep_alive": -1})
        (entry,) = (await (await client.get("/api/ps")).json())["models"]
        assert entry["expires_at"].startswith("9999")
        prompt = {"prompt": "a", "stream": False, "keep_alive": "0s", "options": {"num_predict": 2}}
        assert (await (await client.post("/api/generate", json=prompt)).json())["eval_count"] == 2
        await until(is_gone)


@pytest.mark.parametrize(
    ("given", "seconds"), [(0, 0), (-1, -1), (2.5, 2.5), ("30", 30), ("5m", 300), ("1h30m", 5400), ("-1m", -60),
                           ("250ms", 0.25)],
)  # fmt: skip
def test_durations(given, seconds):
    assert OllamaRequest(keep_alive=given).keep_s == seconds


async def test_a_request_without_leave_changes_nothing(serving, pool):
    async with serving(pool) as client:
        await client.post("/api/chat", json={"keep_alive": 1})
    assert pool.loaded[0].keep_s is None


def test_the_command_serves_several_and_reloads_on_hangup(command, write_model):
    import http.client

    names = ("--served-model-name", "a", "--served-model-name", "b", "--default", "b", "--backend", "numpy")
    with command(str(write_model(seed=5)), *names, "--idle-unload", "60", "--memory-budget", "3G") as process:
        found = re.fullmatch(r"b, a: ready at http://(\S+) .*\n", process.stdout.readline())
        connection = http.client.HTTPConnection(found[1], timeout=20)
        for model in ("a", "b"):
            connection.request("POST", "/v1/completions", f'{{"model": "{model}", "prompt": "a", "max_tokens": 2}}')
            response = connection.getresponse()
            assert response.status == 200, response.read()
            response.read()
        process.send_signal(signal.SIGHUP)
        assert {process.stdout.readline(), process.stdout.readline()} == {"a: loaded anew\n", "b: loaded anew\n"}
        connection.request("GET", "/v1/models")
        assert connection.getresponse().read().count(b'"loaded":true') == 2
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0
