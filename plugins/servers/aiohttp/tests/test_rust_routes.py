"""The routes of the Rust engine, done for real or refused with the reason."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from realizar.sampling import SamplingParams
from realizar_aiohttp.recent import Recent, percentile


async def post(client: Any, path: str, status: int = 200, **body: Any) -> Any:
    async with client.post(path, json=body) as response:
        found = await response.json()
        assert response.status == status, found
        return found


def result(llm: Any, prompt: str, **params: Any) -> dict[str, Any]:
    done = llm.generate(prompt, SamplingParams(**{"temperature": 0, "max_tokens": 6} | params))
    return {"token_ids": list(done.token_ids), "text": done.text, "num_generated": len(done.token_ids)}


async def test_generate_is_greedy_unless_it_is_told_how(serving, llm):
    async with serving() as client:
        greedy = await post(client, "/generate", prompt="a", max_tokens=6)
        drawn = {"max_tokens": 6, "temperature": 1.0, "seed": 3}
        by_k = await post(client, "/generate", prompt="a", strategy="top_k", top_k=5, **drawn)
        by_p = await post(client, "/generate", prompt="a", strategy="top_p", top_p=0.5, **drawn)
        wrong = await post(client, "/generate", status=400, prompt="a", strategy="beam")
    assert greedy == result(llm, "a")
    assert by_k == result(llm, "a", top_k=5, **drawn)
    assert by_p == result(llm, "a", top_p=0.5, **drawn)
    assert wrong["error"]["message"] == 'strategy: found \'beam\', expected "greedy" or "top_k" or "top_p"'


@pytest.mark.parametrize("path", ["/batch/generate", "/realize/batch", "/v1/batch/completions"])
async def test_batches(serving, llm, path):
    prompts = ["a", "The sky", "1 2 3"]
    async with serving() as client:
        found = await post(client, path, prompts=prompts, max_tokens=6)
        await post(client, path, status=400, prompts=[])
    keep = ("token_ids", "text", "num_generated")
    assert [{key: each[key] for key in keep} for each in found["results"]] == [result(llm, text) for text in prompts]
    if "stats" in found:
        assert found["stats"] | {"batch_size": 3, "gpu_used": False, "total_tokens": 18} == found["stats"]


@pytest.mark.parametrize("path", ["/stream/generate", "/realize/generate"])
async def test_a_stream_has_an_event_for_each_token(serving, llm, path):
    async with serving() as client:
        async with client.post(path, json={"prompt": "a", "max_tokens": 6}) as response:
            events = [event.split("\n") for event in (await response.text()).split("\n\n")[:-1]]
    wanted = result(llm, "a")
    *tokens, done = [(name, json.loads(data.removeprefix("data: "))) for name, data in events]
    assert {name for name, _ in tokens} == {"event: token"}
    assert [data["token_id"] for _, data in tokens] == wanted["token_ids"]
    assert "".join(data["text"] for _, data in tokens) == wanted["text"]
    assert done == ("event: done", {"num_generated": len(wanted["token_ids"])})


async def test_logprobs_and_perplexity_agree_with_the_logits(serving, llm):
    async with serving() as client:
        found = await post(client, "/v1/logprobs", prompt="The sky", max_tokens=6)
        judged = await post(client, "/v1/perplexity", prompt="The sky is blue")
        await post(client, "/v1/perplexity", status=400, prompt="")
        await post(client, "/v1/perplexity", status=400, prompt="x" * 500)
    ids = llm.encode("The sky")
    output = [entry["token_id"] for entry in found["logprobs"]]
    log_p = log_softmax(llm.logits([*ids, *output]))
    wanted = [log_p[len(ids) - 1 + i, token_id] for i, token_id in enumerate(output)]
    assert [entry["logprob"] for entry in found["logprobs"]] == pytest.approx(wanted, abs=1e-4)
    assert found["perplexity"] == pytest.approx(math.exp(-np.mean(wanted)), rel=1e-4)
    assert found["sum_logprob"] == pytest.approx(sum(wanted), rel=1e-4)
    text = llm.encode("The sky is blue")
    losses = -log_softmax(llm.logits(text))[np.arange(len(text) - 1), text[1:]]
    assert judged["perplexity"] == pytest.approx(math.exp(losses.mean()), rel=1e-4)
    assert judged["num_tokens"] == len(text)


def log_softmax(logits: Any) -> Any:
    logits = logits.astype(np.float64)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


async def test_models_and_figures(serving, llm):
    async with serving() as client:
        models = await (await client.get("/models")).json()
        model = await (await client.get("/realize/model")).json()
        for _ in range(3):
            await post(client, "/generate", prompt="a", max_tokens=6)
        status = await (await client.get("/v1/metrics")).json()
        dispatch = await (await client.get("/metrics/dispatch")).json()
        await post(client, "/metrics/dispatch/reset")
        after = await (await client.get("/metrics/dispatch")).json()
    assert models["models"] == [{"id": "tiny", "name": "tiny", "description": "", "format": "tiny", "loaded": True}]
    assert model | {"id": "tiny", "quantization": "F32", "context_length": llm.max_model_len} == model
    assert model["lineage"]["content_hash"] == llm.info.digest
    assert (status["total_requests"], status["total_tokens"], status["model_name"]) == (3, 18, "tiny")
    assert 0 < status["latency_p50_ms"] <= status["latency_p99_ms"]
    assert status["throughput_tok_per_sec"] > 0
    assert (dispatch["cpu_dispatches"], dispatch["gpu_dispatches"], dispatch["gpu_ratio"]) == (3, 0, 0)
    assert 0 < dispatch["cpu_latency_min_us"] <= dispatch["cpu_latency_mean_us"] <= dispatch["cpu_latency_max_us"]
    assert after["total_dispatches"] == 0


async def test_what_has_no_meaning_here_says_why(serving):
    async with serving() as client:
        for method, path in (
            ("POST", "/v1/predict"), ("POST", "/v1/explain"), ("GET", "/v1/audit/x"), ("POST", "/v1/gpu/warmup"),
            ("GET", "/v1/gpu/status"),
        ):  # fmt: skip
            response = await client.request(method, path)
            assert (response.status, (await response.json())["error"]["type"]) == (501, "not_supported_error")
        response = await client.post("/realize/reload", json={"path": "/etc/passwd"})
        refused = await response.json()
    assert response.status == 403
    assert refused["error"]["code"] == "management_disabled"


def test_percentiles():
    assert percentile([], 0.5) == 0
    assert [percentile([1.0, 2.0, 3.0, 4.0], share) for share in (0, 0.25, 0.5, 0.75, 0.99, 1)] == [1, 1, 2, 3, 4, 4]
    assert Recent().tokens_per_s() == 0
