"""The generation routes of the Rust engine of the same name, with its fields and answers."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Literal

import attrs
from aiohttp import web

from realizar.engine import Completion
from realizar.sampling import SamplingParams
from realizar_aiohttp.call import Call, to_json
from realizar_aiohttp.fields import field
from realizar_aiohttp.generation import Job, completions, pieces
from realizar_aiohttp.problem import wrong_value
from realizar_aiohttp.routes import Route
from realizar_aiohttp.shapes import openai_error
from realizar_aiohttp.sse import Framing, event_stream
from realizar_aiohttp.wires.openai_completions import MAX_PROMPTS
from realizar_aiohttp.wires.openai_sampling import MAX_STOPS


@attrs.frozen(kw_only=True)
class Strategy:
    """How tokens are chosen; the strategy says which of the two filters counts."""

    max_tokens: int = field(50, low=1)
    temperature: float = field(1.0, low=0, high=100)
    strategy: Literal["greedy", "top_k", "top_p"] = field("greedy")
    top_k: int = field(50, low=1)
    top_p: float = field(0.9)
    seed: int | None = field(None)
    model_id: str | None = field(None, max_chars=512)

    def params(self) -> SamplingParams:
        """The parameters as the engine takes them."""
        chosen: dict[str, dict[str, Any]] = {
            "greedy": {"temperature": 0.0},
            "top_k": {"temperature": self.temperature, "top_k": self.top_k},
            "top_p": {"temperature": self.temperature, "top_p": self.top_p},
        }
        return SamplingParams(max_tokens=self.max_tokens, seed=self.seed, **chosen[self.strategy])


@attrs.frozen(kw_only=True)
class GenerateRequest(Strategy):
    """A text to be continued."""

    prompt: str = field()


@attrs.frozen(kw_only=True)
class BatchRequest(Strategy):
    """Texts to be continued."""

    prompts: list[str] = field(max_items=MAX_PROMPTS)


@attrs.frozen(kw_only=True)
class BatchCompletionsRequest:
    """Texts to be continued, with statistics."""

    prompts: list[str] = field(max_items=MAX_PROMPTS)
    max_tokens: int = field(50, low=1)
    temperature: float = field(0.0, low=0, high=100)
    top_k: int = field(50, low=1)
    stop: list[str] | None = field(None, max_items=MAX_STOPS)
    model: str | None = field(None, max_chars=512)


async def generate(call: Call[GenerateRequest]) -> web.Response:
    """Continue a text."""
    async with call.service.pool.lease(call.body.model_id) as model:
        (done,) = await completions(call.service, model, [Job(call.body.prompt, call.body.params())])
    return call.json(_result(done))


async def generate_batch(call: Call[BatchRequest]) -> web.Response:
    """Continue texts, computed together."""
    _prove_some(call.body.prompts)
    params = call.body.params()
    async with call.service.pool.lease(call.body.model_id) as model:
        done = await completions(call.service, model, [Job(prompt, params) for prompt in call.body.prompts])
    return call.json({"results": [_result(each) for each in done]})


async def generate_stream(call: Call[GenerateRequest]) -> web.StreamResponse:
    """Continue a text token by token: events `token`, then `done`."""
    params = call.body.params()
    async with call.service.pool.lease(call.body.model_id) as model:
        async with event_stream(call, _EVENTS) as events:
            async with contextlib.aclosing(pieces(call.service, model, [Job(call.body.prompt, params)])) as stream:
                async for _, piece in stream:
                    sent = [("token", {"token_id": token_id, "text": piece.text}) for token_id in piece.token_ids]
                    if piece.completion is not None:
                        sent.append(("done", {"num_generated": len(piece.completion.token_ids)}))
                    await events.send(*sent)
    return events.response


async def batch_completions(call: Call[BatchCompletionsRequest]) -> web.Response:
    """Continue texts, computed together, and say how fast that was."""
    body, started_s = call.body, time.perf_counter()
    _prove_some(body.prompts)
    params = SamplingParams(
        max_tokens=body.max_tokens, temperature=body.temperature, top_k=body.top_k, stop=body.stop or ()
    )
    async with call.service.pool.lease(body.model) as model:
        done = await completions(call.service, model, [Job(prompt, params) for prompt in body.prompts])
        seconds, total = time.perf_counter() - started_s, sum(len(each.token_ids) for each in done)
        stats = {
            "batch_size": len(done), "gpu_used": model.llm.backend_name == "cuda", "total_tokens": total,
            "processing_time_ms": seconds * 1e3, "throughput_tps": total / seconds,
        }  # fmt: skip
    return call.json({"results": [{"index": i, **_result(each)} for i, each in enumerate(done)], "stats": stats})


def _prove_some(prompts: list[str]) -> None:
    if not prompts:
        raise wrong_value("prompts", "an empty list", "at least one text")


def _result(done: Completion) -> dict[str, Any]:
    return {"token_ids": list(done.token_ids), "text": done.text, "num_generated": len(done.token_ids)}


def _event(named: tuple[str, Any]) -> bytes:
    name, value = named
    return b"event: " + name.encode() + b"\ndata: " + to_json(value) + b"\n\n"


_EVENTS = Framing("text/event-stream", _event, lambda problem: ("error", openai_error(problem)))

ROUTES = (
    Route("POST", "/generate", generate, GenerateRequest, "Continue a text"),
    Route("POST", "/batch/generate", generate_batch, BatchRequest, "Continue texts"),
    Route("POST", "/realize/batch", generate_batch, BatchRequest, "The same"),
    Route("POST", "/stream/generate", generate_stream, GenerateRequest, "Continue a text token by token"),
    Route("POST", "/realize/generate", generate_stream, GenerateRequest, "The same"),
    Route("POST", "/v1/batch/completions", batch_completions, BatchCompletionsRequest, "Continue texts, with figures"),
)
