"""POST /v1/logprobs and /v1/perplexity, as the Rust engine has them."""

from __future__ import annotations

import math
import time
from typing import Any

import attrs
from aiohttp import web

from realizar.engine.perplexity import negative_log_likelihoods
from realizar.model_pool import ServedModel
from realizar.sampling import SamplingParams
from realizar_aiohttp.call import Call
from realizar_aiohttp.fields import field
from realizar_aiohttp.generation import Job, completions
from realizar_aiohttp.problem import wrong_value
from realizar_aiohttp.routes import Route


@attrs.frozen(kw_only=True)
class LogprobsRequest:
    """A text to be continued greedily."""

    prompt: str = field()
    max_tokens: int = field(50, low=1)
    model: str | None = field(None, max_chars=512)


@attrs.frozen(kw_only=True)
class PerplexityRequest:
    """A text to be judged."""

    prompt: str = field()
    model: str | None = field(None, max_chars=512)


async def logprobs(call: Call[LogprobsRequest]) -> web.Response:
    """A greedy continuation, each token with its log probability, and the perplexity of it."""
    params = SamplingParams(temperature=0, max_tokens=call.body.max_tokens, logprobs=0)
    async with call.service.pool.lease(call.body.model) as model:
        (done,) = await completions(call.service, model, [Job(call.body.prompt, params)])
        tokenizer = model.llm.tokenizer
    found: list[dict[str, Any]] = [
        {
            "token": tokenizer.token_bytes(item.token_id).decode("utf-8", "replace"), "token_id": item.token_id,
            "logprob": item.logprob,
        }
        for item in done.logprobs or ()
    ]  # fmt: skip
    total = math.fsum(item["logprob"] for item in found)
    return call.json(
        {
            "prompt_tokens": len(done.prompt_token_ids), "completion_tokens": len(found), "logprobs": found,
            "tokens": [item["token"] for item in found], "sum_logprob": total,
            "perplexity": math.exp(-total / len(found)),
        }
    )  # fmt: skip


async def perplexity(call: Call[PerplexityRequest]) -> web.Response:
    """The perplexity of a text that fits the context."""
    started_s = time.perf_counter()
    async with call.service.pool.lease(call.body.model) as model:

        def measure(served: ServedModel) -> tuple[list[float], int]:
            ids = served.llm.encode(call.body.prompt)
            if len(ids) > model.llm.max_model_len:
                raise wrong_value("prompt", f"{len(ids)} tokens", f"at most {model.llm.max_model_len}")
            return negative_log_likelihoods(served.llm, ids, model.llm.max_model_len), len(ids)

        losses, num_tokens = await call.service.resilience.score(model, measure)
    seconds, found = time.perf_counter() - started_s, math.exp(math.fsum(losses) / len(losses))
    return call.json(
        {
            "perplexity": found, "num_tokens": num_tokens, "elapsed_ms": seconds * 1e3,
            "tokens_per_sec": num_tokens / seconds,
        }
    )  # fmt: skip


ROUTES = (
    Route("POST", "/v1/logprobs", logprobs, LogprobsRequest, "Log probabilities of a greedy continuation"),
    Route("POST", "/v1/perplexity", perplexity, PerplexityRequest, "The perplexity of a text"),
)
