"""Streams under bad conditions: clients that leave, do not read, or wait; engines that fail; a server that ends."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest

from realizar.engine import LLM
from realizar_aiohttp.service import SERVICE

CHAT = "/v1/chat/completions"
LONG = {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0, "max_tokens": 200, "ignore_eos": True}


async def finished(client, reason):
    """How many generations ended for that reason, once there is one."""
    async with asyncio.timeout(10):
        while True:
            text = await (await client.get("/metrics")).text()
            line = f'realizar_generations_finished_total{{finished_reason="{reason}",model="slow"}} '
            if line in text:
                return float(text.partition(line)[2].split("\n")[0])
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("n", [1, 3])
async def test_a_client_that_leaves_a_stream_frees_its_blocks(serving, slow_llm, pool_of, settle, n):
    async with serving(pool_of(slow=slow_llm)) as client:
        response = await client.post(CHAT, json={**LONG, "stream": True, "n": n})
        await response.content.readline()
        assert slow_llm.stats.blocks_used > 0
        left_s = time.monotonic()
        response.close()
        await settle(slow_llm)
        assert time.monotonic() - left_s < 2  # of 4 s that it would have gone on
        assert await finished(client, "abort") == n


async def test_a_client_that_leaves_before_the_answer_frees_its_blocks(serving, slow_llm, pool_of, settle):
    async with serving(pool_of(slow=slow_llm)) as client:
        asked = asyncio.create_task(client.post(CHAT, json=LONG))
        async with asyncio.timeout(10):
            while not slow_llm.stats.running:
                await asyncio.sleep(0.005)
        asked.cancel()
        await settle(slow_llm)
        assert await finished(client, "abort") == 1


def test_a_client_that_does_not_read_is_given_up_and_hurts_nobody(running, pool_of, llm):
    body = {**LONG, "stream": True, "logprobs": True, "top_logprobs": 20, "n": 16}
    raw = json.dumps(body).encode()
    with running(pool_of(tiny=llm), write_timeout_s=0.5) as url:
        address = urlsplit(url)
        with socket.socket() as stuck:
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.connect((address.hostname, address.port))
            head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(raw)}\r\n\r\n"
            stuck.sendall(head.encode() + raw)
            deadline = time.monotonic() + 30
            while not llm.stats.running:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            while llm.stats.running:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            time.sleep(1)  # now the server has given it up
            stuck.settimeout(5)
            received = b"".join(iter(lambda: stuck.recv(1 << 20), b""))
    assert received.startswith(b"HTTP/1.1 200")
    assert b"[DONE]" not in received
    assert len(received) < 6 << 20  # what the system had taken before; all would have been 9 MB


async def test_a_silent_stream_shows_signs_of_life(serving, slow_llm, pool_of):
    busy = [slow_llm.stream([0] * 200) for _ in range(3)]  # prefill takes its time
    try:
        async with serving(pool_of(slow=slow_llm), keepalive_s=0.005) as client:
            async with client.post(CHAT, json={**LONG, "max_tokens": 8, "stream": True}) as response:
                lines = (await response.text()).split("\n\n")
    finally:
        for stream in busy:
            stream.close()
    assert ":" in lines
    assert [line for line in lines if line not in ("", ":")][-1] == "data: [DONE]"


@pytest.fixture
def faulty_llm(plugins, write_model):
    with LLM(write_model(), backend="faulty") as llm:
        yield llm


async def test_an_error_after_the_first_event_comes_in_band(serving, faulty_llm, pool_of, caplog):
    async with serving(pool_of(faulty=faulty_llm)) as client:
        async with client.post(CHAT, json={**LONG, "stream": True}) as response:
            assert response.status == 200
            *_, last, done, end = (await response.text()).split("\n\n")
        async with client.post(CHAT, json=LONG) as response:
            assert response.status == 500
            whole = await response.json()
    assert (done, end) == ("data: [DONE]", "")
    error = json.loads(last.removeprefix("data: "))["error"]
    assert (error["code"], error["type"]) == ("engine_error", "server_error")
    assert whole["error"] == error
    assert "device lost" not in str(whole)
    assert "device lost" in caplog.text


async def test_an_error_before_the_first_event_has_its_own_status(serving, llm):
    async with serving() as client:
        messages = [{"role": "user", "content": "x" * 300}]
        async with client.post(CHAT, json={**LONG, "messages": messages, "stream": True}) as response:
            assert response.status == 400
            assert response.content_type == "application/json"


async def test_draining_lets_open_requests_end_and_takes_no_others(serving, slow_llm, pool_of):
    async with serving(pool_of(slow=slow_llm)) as client:
        service = client.app[SERVICE]
        asked = asyncio.create_task(client.post(CHAT, json={**LONG, "max_tokens": 20}))
        while not service.num_open:
            await asyncio.sleep(0.005)
        drain = asyncio.create_task(service.drain(10))
        await asyncio.sleep(0.01)
        for path, status in (("/v1/models", 503), ("/health", 503), ("/readyz", 503), ("/livez", 200)):
            response = await client.get(path)
            assert response.status == status, path
        assert (await client.get("/v1/models")).headers["Retry-After"] == "1"
        assert (await asked).status == 200
        await asyncio.wait_for(drain, 5)


async def test_draining_does_not_wait_for_ever(serving, slow_llm, pool_of, caplog):
    async with serving(pool_of(slow=slow_llm)) as client:
        service = client.app[SERVICE]
        asked = asyncio.create_task(client.post(CHAT, json=LONG))
        while not service.num_open:
            await asyncio.sleep(0.005)
        await service.drain(0.05)
        assert "1 requests were still open" in caplog.text
        asked.cancel()


async def test_a_full_queue_says_when_to_come_again(serving, plugins, write_model, pool_of):
    with LLM(write_model(), backend="slow", max_waiting=1) as llm:
        async with serving(pool_of(tiny=llm)) as client:
            many = [asyncio.create_task(client.post(CHAT, json={**LONG, "n": 16})) for _ in range(8)]
            done, others = await asyncio.wait(many, return_when=asyncio.FIRST_COMPLETED)
            for task in others:
                task.cancel()
            refused = next(iter(done)).result()
            assert refused.status == 429
            assert int(refused.headers["Retry-After"]) >= 1
            assert (await refused.json())["error"] | {"type": "rate_limit_error", "code": "queue_full"}


async def test_what_prompts_share_is_told(serving, plugins, write_model, pool_of):
    body = {**LONG, "max_tokens": 2, "messages": [{"role": "user", "content": "x" * 100}]}
    with LLM(write_model(), backend="numpy") as llm:
        async with serving(pool_of(tiny=llm)) as client:
            cached = []
            for _ in range(2):
                found = await (await client.post(CHAT, json=body)).json()
                cached.append(found["usage"]["prompt_tokens_details"]["cached_tokens"])
            metrics = await (await client.get("/metrics")).text()
    assert cached[0] == 0
    assert cached[1] >= 96
    assert f'realizar_prefix_hits_total{{model="tiny"}} {cached[1]}.0' in metrics


async def test_an_engine_that_has_ended_is_not_ready(serving, plugins, write_model, pool_of):
    llm = LLM(write_model(), backend="numpy")
    async with serving(pool_of(tiny=llm)) as client:
        assert (await client.get("/readyz")).status == 200
        llm.close()
        assert (await client.get("/readyz")).status == 503
        assert (await client.get("/livez")).status == 200
        assert (await client.post(CHAT, json=LONG)).status == 503


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {**LONG, "max_tokens": 1}), ("/v1/messages", {**LONG, "max_tokens": 1}), ("/tokenize", {"text": "a"}),
        ("/api/generate", {"prompt": "a", "stream": False, "options": {"num_predict": 1}}),
        ("/completion", {"prompt": "a", "n_predict": 1}), ("/v1/perplexity", {"prompt": "ab"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
async def test_tokenizing_does_not_keep_others_waiting(serving, llm, monkeypatch, path, body):
    """While a tokenizer is at work, which here takes until it is let go, others are answered."""
    may_go, encode = threading.Event(), llm.tokenizer.encode

    def slowly(*args, **kwargs):
        assert may_go.wait(20)
        return encode(*args, **kwargs)

    monkeypatch.setattr(llm.tokenizer, "encode", slowly)
    async with serving() as client:
        asked = asyncio.create_task(client.post(path, json=body))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(10):
            assert (await client.get("/livez")).status == 200
        assert not asked.done()
        may_go.set()
        assert (await asked).status == 200


async def test_one_prompt_that_fails_ends_the_others(serving, faulty_llm, pool_of, settle):
    """Two prompts of one request: one grows until the backend fails, the other would go on for long."""
    async with serving(pool_of(slow=faulty_llm)) as client:
        body = {"prompt": ["x" * 60, "a"], "max_tokens": 50, "ignore_eos": True, "temperature": 0}
        assert (await client.post("/v1/completions", json=body)).status == 500
        await settle(faulty_llm)
        fine = await client.post("/v1/completions", json={**body, "prompt": ["a", "b"]})
        assert (fine.status, len((await fine.json())["choices"])) == (200, 2)
        assert await finished(client, "length") == 2
