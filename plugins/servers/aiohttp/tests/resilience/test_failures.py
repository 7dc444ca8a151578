"""Engines that fail, hang, run out of memory or give no numbers, seen by the clients of a server."""

from __future__ import annotations

import asyncio
import functools
import json
import random

import pytest

from realizar.engine import LLM
from realizar.errors import ModelError
from realizar.model_pool import ModelPool

LONG = {"max_tokens": 60}


async def streamed(client, **body):
    """The events of a stream."""
    whole = {"messages": [{"role": "user", "content": "Hi"}], "temperature": 0, "ignore_eos": True, "stream": True}
    async with client.post("/v1/chat/completions", json={**whole, **body}) as response:
        assert response.status == 200
        events = (await response.text()).strip().split("\n\n")
    assert events.pop() == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events]


async def test_a_crash_ends_what_was_open_in_its_own_shape_and_the_engine_comes_back(
    client_of, asking, failing, faults, pool_of, slow_llm
):
    async with client_of(pool_of(broken=failing, sound=slow_llm), restart_delay_s=0.3) as client:
        ask = asking(client)
        other = asyncio.create_task(ask.chat(model="sound", **LONG))
        faults.order("", "", "", "crash")
        *_, last = await streamed(client, max_tokens=60)
        assert last["error"]["code"] == "unavailable"
        assert last["error"]["message"] == "the engine has failed and is started again"
        assert await ask.status("/readyz") == 503
        assert await ask.status("/livez") == 200
        status, headers, body = await ask.chat()
        assert (status, headers["Retry-After"], body["error"]["type"]) == (503, "1", "unavailable_error")

        async def ready():
            return await ask.status("/readyz") == 200

        await ask.until(ready)
        assert (await ask.chat())[0] == 200
        assert await ask.metric("engine_restarts_total", model="broken") == 1
        assert await ask.metric("breaker_opened_total") == 0  # all that was one failure
        assert (await other)[0] == 200


MESSAGE = "the engine has failed and is started again"
MESSAGES = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}


@pytest.mark.parametrize(
    ("path", "body", "last"),
    [
        ("/api/chat", {**MESSAGES, "options": {"temperature": 0}}, {"error": f"{MESSAGE} (try again shortly)"}),
        (
            "/v1/messages", {**MESSAGES, "model": "broken", "max_tokens": 60, "temperature": 0},
            {"type": "error", "error": {"type": "overloaded_error", "message": f"{MESSAGE} (try again shortly)"}},
        ),
    ],
    ids=["ollama", "anthropic"],
)  # fmt: skip
async def test_other_clients_are_told_in_their_own_words(client_of, failing, faults, pool_of, path, body, last):
    async with client_of(pool_of(broken=failing)) as client:
        faults.order(*[""] * 8, "crash")
        async with client.post(path, json=body) as response:
            assert response.status == 200
            *_, line = (await response.text()).strip().split("\n")
    assert json.loads(line.removeprefix("data: ")) == last


async def test_failures_open_the_breaker_and_one_attempt_closes_it(client_of, asking, failing, faults, pool_of):
    async with client_of(pool_of(broken=failing), breaker_failures=2, breaker_open_s=1) as client:
        ask = asking(client)
        faults.order("raise", "raise", "raise")
        assert [(await ask.chat())[0] for _ in range(2)] == [500, 500]
        steps = faults.num_steps
        status, headers, body = await ask.chat()
        assert (status, headers["Retry-After"], body["error"]["code"]) == (503, "1", "model_failing")
        assert faults.num_steps == steps  # it was left alone
        assert (await ask.state())["lanes"][0]["breaker"] == "open"
        assert await ask.metric("breaker_state") == 2
        await asyncio.sleep(1.05)
        assert (await ask.state())["lanes"][0]["breaker"] == "half-open"
        assert (await ask.chat())[0] == 500  # the attempt, which fails
        assert (await ask.chat())[0] == 503
        await asyncio.sleep(1.05)
        assert (await ask.chat())[0] == 200
        assert (await ask.state())["lanes"][0]["breaker"] == "closed"
        assert await ask.metric("breaker_opened_total", model="broken") == 2
        assert await ask.metric("refused_total", reason="model_failing") == 2


async def test_a_step_that_ends_many_requests_is_one_failure(client_of, asking, failing, faults, pool_of):
    async with client_of(pool_of(broken=failing), breaker_failures=2) as client:
        ask = asking(client)
        faults.order("hang", "raise")
        first = asyncio.create_task(ask.chat())

        def open_ones(count):
            async def there():
                return len(failing.sequences) == count

            return there

        await ask.until(open_ones(1))
        second = asyncio.create_task(ask.chat(n=2))
        await ask.until(open_ones(3))
        faults.go_on()
        assert [(await task)[0] for task in (first, second)] == [500, 500]
        assert (await ask.chat())[0] == 200


@pytest.fixture
def with_fallback(failing, faults, write_model):
    """A pool whose model fails, and what stands in for it: the same file on the reference."""
    path = write_model()
    pool = ModelPool({"broken": lambda: failing}, {"broken": functools.partial(LLM, path, backend="numpy")})
    pool.load()
    yield pool
    pool.close()


async def test_a_fallback_answers_while_the_model_fails_and_says_so(client_of, asking, faults, with_fallback):
    async with client_of(with_fallback, breaker_failures=1, breaker_open_s=1) as client:
        ask = asking(client)
        _, headers, whole = await ask.chat()
        assert "X-Realizar-Backend" not in headers
        faults.order("raise")
        assert (await ask.chat())[0] == 500
        status, headers, stood_in = await ask.chat()
        assert (status, headers["X-Realizar-Backend"]) == (200, "numpy; fallback")
        assert stood_in["choices"] == whole["choices"]
        assert await ask.metric("fallbacks_total", model="broken") == 1
        assert (await ask.state())["lanes"][0]["fallback"] == "numpy"
        await asyncio.sleep(1.05)
        _, headers, _ = await ask.chat()
        assert "X-Realizar-Backend" not in headers


async def test_a_fallback_that_cannot_be_loaded_is_no_answer(client_of, asking, failing, faults, caplog):
    def load():
        raise ModelError("the file is gone")

    pool = ModelPool({"broken": lambda: failing}, {"broken": load})
    pool.load()
    async with client_of(pool, breaker_failures=1) as client:
        ask = asking(client)
        faults.order("raise")
        assert [(await ask.chat())[0] for _ in range(2)] == [500, 503]
        assert await ask.metric("fallbacks_total") == 0
    assert "cannot be loaded: the file is gone" in caplog.text


async def test_a_fault_that_passes_is_not_seen(client_of, asking, failing, faults, pool_of):
    async with client_of(pool_of(broken=failing)) as client:
        ask = asking(client)
        expected = (await ask.chat())[2]["choices"]
        faults.order("transient", "", "transient")
        status, _, body = await ask.chat()
        assert (status, body["choices"]) == (200, expected)
        assert await ask.metric("retried_total", model="broken") == 2
        faults.order("transient", "transient")
        status, headers, body = await ask.chat()
        assert (status, headers["Retry-After"]) == (503, "1")
        assert body["error"]["message"] == "the device was busy"


async def test_logits_that_are_no_numbers_end_the_request_and_are_counted(client_of, asking, failing, faults, pool_of):
    async with client_of(pool_of(broken=failing), breaker_failures=2) as client:
        ask = asking(client)
        faults.order("", "nan")
        *_, last = await streamed(client, max_tokens=60)
        assert last["error"]["code"] == "engine_error"
        assert "nan" in last["error"]["message"]
        assert await ask.metric("corrupted_total", model="broken") == 1
        assert (await ask.chat())[0] == 200
        faults.order("nan")
        assert (await ask.chat())[0] == 500
        assert (await ask.chat())[0] == 503  # it counts as a failure of the model


async def test_embeddings_that_are_no_numbers_are_counted(client_of, asking, faults, write_model, pool_of):
    with LLM(write_model(encoder=True), backend="faults") as encoder:
        async with client_of(pool_of(encoder=encoder), breaker_failures=1) as client:
            ask = asking(client)
            faults.order("nan")
            assert [(await client.post("/v1/embeddings", json={"input": "a"})).status for _ in range(2)] == [500, 503]
            assert await ask.metric("corrupted_total", model="encoder") == 1


async def test_a_step_that_hangs_is_a_failure_and_its_end_is_noticed(client_of, asking, failing, faults, pool_of):
    async with client_of(pool_of(broken=failing), stall_s=0.5, breaker_failures=1, breaker_open_s=0.5) as client:
        ask = asking(client)
        faults.order("", "hang")
        async with asyncio.timeout(5):
            *_, last = await streamed(client, max_tokens=60)
        assert last["error"]["code"] == "unavailable"
        assert "has been busy with one step" in last["error"]["message"]
        assert await ask.status("/readyz") == 503
        assert (await ask.chat())[0] == 503
        assert await ask.metric("engine_stalls_total", model="broken") == 1
        faults.go_on()

        async def answers():
            return (await ask.chat())[0] == 200

        await ask.until(answers)
        assert await ask.status("/readyz") == 200


async def test_running_out_of_memory_makes_the_server_do_less_step_by_step(
    client_of, asking, failing, faults, pool_of, settle, caplog
):
    text = {"messages": [{"role": "user", "content": "x" * 100}]}
    async with client_of(pool_of(broken=failing), breaker_failures=100, calm_s=600) as client:
        ask = asking(client)
        await ask.chat(**text)
        await settle(failing)
        assert failing.stats.blocks_cached > 0
        faults.order("memory")
        status, headers, body = await ask.chat(n=4)
        assert (status, headers["Retry-After"]) == (503, "1")
        assert "memory" in body["error"]["message"]
        _, _, body = await ask.chat(**text)
        await settle(failing)
        assert body["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
        assert (failing.prefix_cache, failing.max_waiting) == (False, 64)
        faults.order("memory")
        await ask.chat()
        assert failing.max_waiting == 16
        faults.order("memory")
        await ask.chat()
        status, headers, body = await ask.chat()
        assert (status, body["error"]["code"]) == (503, "memory")
        assert 590 <= int(headers["Retry-After"]) <= 600
        assert (await ask.state())["degradation"] == {"level": 3, "given_up": ["prefix_cache", "queue", "refuse"]}
        for step in ("prefix_cache", "queue", "refuse"):
            assert await ask.metric("degradations_total", step=step) == 1
        assert await ask.metric("degradation_level") == 3
    assert "given up now: prefix_cache, queue, refuse" in caplog.text


async def test_little_memory_is_noticed_before_anything_fails(client_of, asking, failing, pool_of, caplog):
    async with client_of(pool_of(broken=failing), min_memory_nbytes=1 << 60) as client:
        ask = asking(client)

        async def noticed():
            return await ask.metric("degradation_level") >= 1 and not failing.prefix_cache

        await ask.until(noticed)
    assert "MiB are left to this process; given up now: prefix_cache" in caplog.text


async def test_what_was_given_up_comes_back_when_memory_is_enough(client_of, asking, failing, faults, pool_of, caplog):
    async with client_of(pool_of(broken=failing), calm_s=0.1) as client:
        ask = asking(client)
        faults.order("memory")
        await ask.chat()

        async def recovered():
            return await ask.metric("degradation_level") == 0 and failing.prefix_cache

        await ask.until(recovered)
        assert failing.max_waiting == 64
    assert "given up now: nothing" in caplog.text


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_fails_every_answer_is_right_and_no_block_is_lost(
    client_of, asking, failing, faults, pool_of, settle, seed
):
    limits = {"restart_delay_s": 0.02, "breaker_open_s": 0.1, "calm_s": 0.1}
    async with client_of(pool_of(broken=failing), **limits) as client:
        ask = asking(client)
        texts = [[{"role": "user", "content": "x" * n}] for n in (1, 20, 40)]
        expected = [(await ask.chat(messages=text))[2]["choices"] for text in texts]
        draw = random.Random(seed)
        kinds = ["", "raise", "transient", "memory", "nan", "crash"]
        faults.order(*draw.choices(kinds, weights=[12, 1, 2, 1, 1, 1], k=80))
        statuses = []

        async def client_that_goes_on(i):
            for n in range(12):
                status, _, body = await ask.chat(messages=texts[(i + n) % 3])
                statuses.append(status)
                assert status in (200, 500, 503)
                assert status != 200 or body["choices"] == expected[(i + n) % 3]
                await asyncio.sleep(draw.random() / 20)

        await asyncio.gather(*(client_that_goes_on(i) for i in range(4)))
        assert len(set(statuses)) > 1
        faults.order()

        async def well():
            return await ask.status("/readyz") == 200 and (await ask.chat())[0] == 200

        await ask.until(well)
        await settle(failing)
