"""What a server does not take on: too long a wait, too much of one key, too late, too much of one kind."""

from __future__ import annotations

import asyncio
import contextlib
import re

import pytest

from realizar.engine import LLM

LONG = {"max_tokens": 200}


@contextlib.asynccontextmanager
async def busy(ask, llm, num_sequences, **body):
    """Requests that keep an engine busy with that many sequences while the block lasts."""
    asked = [asyncio.create_task(ask.chat(n=16, **LONG, **body)) for _ in range(num_sequences // 16)]
    async with asyncio.timeout(20):
        while len(llm.sequences) < num_sequences:
            await asyncio.sleep(0.005)
    try:
        yield
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def test_a_request_that_would_wait_too_long_is_told_to_come_again(client_of, asking, slow_llm, pool_of, settle):
    async with client_of(pool_of(slow=slow_llm), max_wait_s=0.2) as client:
        ask = asking(client)
        assert (await ask.chat())[0] == 200
        assert slow_llm.max_running % 16 == 0
        async with busy(ask, slow_llm, slow_llm.max_running):
            waiting = [slow_llm.stream([0] * 100) for _ in range(16)]
            status, headers, body = await ask.chat(max_tokens=1)
            assert (status, body["error"]["code"], body["error"]["type"]) == (429, "overloaded", "rate_limit_error")
            assert int(headers["Retry-After"]) >= 1
            assert (await ask.state())["wait_s"]["slow"] > 0.2
            assert await ask.metric("refused_total", reason="overloaded") == 1
            for stream in waiting:
                stream.close()
        await settle(slow_llm)


async def test_nobody_is_refused_where_all_wait_only_for_the_next_step(client_of, asking, failing, faults, pool_of):
    async with client_of(pool_of(broken=failing), max_wait_s=1e-6) as client:
        ask = asking(client)
        assert (await ask.chat())[0] == 200
        faults.order("hang")
        asked = []
        for open_ones in (1, 2, 3):
            asked.append(asyncio.create_task(ask.chat()))
            async with asyncio.timeout(10):
                while len(failing.sequences) < open_ones and not asked[-1].done():
                    await asyncio.sleep(0.005)
        faults.go_on()
        assert [(await task)[0] for task in asked] == [200, 200, 200]


async def test_a_request_that_could_not_be_done_in_its_time_is_not_begun(client_of, asking, slow_llm, pool_of, settle):
    async with client_of(pool_of(slow=slow_llm)) as client:
        ask = asking(client)
        await ask.chat()
        async with busy(ask, slow_llm, slow_llm.max_running):
            waiting = [slow_llm.stream([0] * 100) for _ in range(16)]
            status, _, body = await ask.chat(timeout=0.5)
            assert (status, body["error"]["code"]) == (429, "overloaded")
            for stream in waiting:
                stream.close()
        await settle(slow_llm)


@pytest.mark.parametrize("how", ["header", "field", "server"])
async def test_a_request_has_a_deadline(client_of, asking, slow_llm, pool_of, settle, how):
    limits = {"request_timeout_s": 1.0} if how == "server" else {}
    headers = {"X-Request-Timeout": {"header": "1.0", "server": "1000"}[how]} if how != "field" else None
    fields = {"timeout": 1.0} if how == "field" else {}
    async with client_of(pool_of(slow=slow_llm), **limits) as client:
        ask = asking(client)
        status, _, body = await ask.chat(headers=headers, **LONG, **fields)
        assert (status, body["error"]["code"]) == (408, "deadline_exceeded")
        assert re.search(
            r"deadline of (0\.9|1 s).*, with [1-9]\d* tokens", body["error"]["message"]
        )  # the engine's words
        await settle(slow_llm)
        assert await ask.metric("deadlines_exceeded_total", model="slow") == 1
        assert (await ask.chat(headers=headers, **fields))[0] == 200


async def test_a_deadline_holds_while_the_engine_hangs(client_of, asking, failing, faults, pool_of):
    async with client_of(pool_of(broken=failing)) as client:
        faults.order("hang")
        async with asyncio.timeout(5):
            status, _, body = await asking(client).chat(timeout=0.2)
        assert (status, body["error"]["code"]) == (408, "deadline_exceeded")
        faults.go_on()


@pytest.mark.parametrize("given", ["soon", "-1", "0", "inf", "nan", ""])
async def test_a_deadline_that_is_none(client_of, asking, llm, pool_of, given):
    async with client_of(pool_of(tiny=llm)) as client:
        status, _, body = await asking(client).chat(headers={"X-Request-Timeout": given})
        assert (status, body["error"]["param"]) == (400, "X-Request-Timeout")


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


async def test_a_key_has_so_many_requests_at_a_time(client_of, asking, slow_llm, pool_of):
    async with client_of(pool_of(slow=slow_llm), api_keys=("a", "b"), key_concurrency=2) as client:
        ask = asking(client)
        open_ones = [asyncio.create_task(ask.chat(headers=bearer("a"), max_tokens=60)) for _ in range(2)]
        async with asyncio.timeout(10):
            while len(slow_llm.sequences) < 2:
                await asyncio.sleep(0.005)
        status, headers, body = await ask.chat(headers=bearer("a"))
        assert (status, headers["Retry-After"], body["error"]["code"]) == (429, "1", "key_concurrency")
        assert (await client.get("/v1/models", headers=bearer("a"))).status == 200
        assert (await ask.chat(headers=bearer("b")))[0] == 200
        state = await (await client.get("/debug/state", headers=bearer("b"))).json()
        assert list(state["resilience"]["keys"]["open_requests"].values()) == [2]
        assert "'a'" not in str(state)
        assert [(await task)[0] for task in open_ones] == [200, 200]
        assert (await ask.chat(headers=bearer("a")))[0] == 200


async def test_a_key_has_so_many_tokens_a_minute(client_of, llm, pool_of):
    async with client_of(pool_of(tiny=llm), api_keys=("a", "b"), key_tokens_per_minute=60) as client:

        async def complete(key, prompt="a", **body):
            whole = {"prompt": prompt, "temperature": 0, "ignore_eos": True, **body}
            return await client.post("/v1/completions", json=whole, headers=bearer(key))

        assert (await complete("a", max_tokens=38)).status == 200  # 40 with the prompt
        refused = await complete("a", max_tokens=38)
        assert (refused.status, (await refused.json())["error"]["code"]) == (429, "key_tokens")
        assert 15 <= int(refused.headers["Retry-After"]) <= 20
        assert (await complete("a", max_tokens=8)).status == 200  # less is still there
        assert (await complete("b", max_tokens=38)).status == 200
        assert (await complete("b", prompt="a" * 1000)).status == 400
        assert (await complete("b", max_tokens=8)).status == 200  # what was refused has cost nothing
        assert (await complete("a", prompt="a" * 1000)).status == 400


async def test_what_was_not_used_is_given_back(client_of, slow_llm, pool_of, settle):
    async with client_of(pool_of(slow=slow_llm), key_tokens_per_minute=300) as client:
        body = {"prompt": "a", "temperature": 0, "ignore_eos": True, "stream": True, "max_tokens": 290}
        response = await client.post("/v1/completions", json=body)
        await response.content.readline()
        response.close()  # after a few tokens
        await settle(slow_llm)
        left = (await (await client.get("/debug/state")).json())["resilience"]["keys"]["tokens_left"]["none"]
        assert 200 < left < 300


async def test_embeddings_are_charged_too(client_of, asking, encoder, pool_of):
    async with client_of(pool_of(encoder=encoder), key_tokens_per_minute=60) as client:
        statuses = [(await client.post("/v1/embeddings", json={"input": "a" * 50})).status for _ in range(3)]
        assert statuses == [200, 200, 429]


async def test_generations_have_so_many_places(client_of, asking, slow_llm, pool_of):
    async with client_of(pool_of(slow=slow_llm), max_generations=1) as client:
        ask = asking(client)
        first = asyncio.create_task(ask.chat(max_tokens=60))
        async with asyncio.timeout(10):
            while not slow_llm.sequences:
                await asyncio.sleep(0.005)
        status, headers, body = await ask.chat()
        assert (status, headers["Retry-After"], body["error"]["code"]) == (429, "1", "bulkhead_full")
        assert (await client.post("/tokenize", json={"content": "a"})).status == 200
        lane = (await ask.state())["lanes"][0]
        assert lane["open"]["generation"] == {"open": 1, "limit": 1}
        assert (await first)[0] == 200
        assert (await ask.chat())[0] == 200
        assert await ask.metric("refused_total", reason="bulkhead_full") == 1


async def test_scorings_have_so_many_places(client_of, asking, faults, write_model, pool_of):
    with LLM(write_model(encoder=True), backend="faults") as encoder:
        async with client_of(pool_of(encoder=encoder), max_scorings=1) as client:
            faults.order("hang")
            first = asyncio.create_task(client.post("/v1/embeddings", json={"input": "a"}))
            async with asyncio.timeout(10):
                while not encoder.sequences:
                    await asyncio.sleep(0.005)
            assert (await client.post("/v1/embeddings", json={"input": "a"})).status == 429
            faults.go_on()
            assert (await first).status == 200


async def test_tokenizations_have_so_many_places_and_threads_of_their_own(client_of, asking, llm, pool_of):
    async with client_of(pool_of(tiny=llm), max_tokenizations=1) as client:
        large = {"content": "a" * (2 << 20)}
        many = [asyncio.create_task(client.post("/tokenize", json=large)) for _ in range(4)]
        assert (await asking(client).chat())[0] == 200
        statuses = sorted([(await task).status for task in many])
        assert statuses[0] == 200
        assert statuses[-1] == 429
