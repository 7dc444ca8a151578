"""POST /completion, llama.cpp's own interface."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import Any

import attrs
from aiohttp import web

from realizar.engine import Completion, Piece, Timings
from realizar.model_pool import ServedModel
from realizar.sampling import SamplingParams
from realizar_aiohttp.call import Call
from realizar_aiohttp.constraint import Constraint, constrained, only_one
from realizar_aiohttp.ending import ending
from realizar_aiohttp.fields import field
from realizar_aiohttp.generation import Job, completions, pieces
from realizar_aiohttp.problem import not_supported, wrong_value
from realizar_aiohttp.routes import Route
from realizar_aiohttp.sse import LLAMA_CPP, event_stream
from realizar_aiohttp.structure import show
from realizar_aiohttp.wires.openai_completions import MAX_PROMPTS
from realizar_aiohttp.wires.openai_logprobs import chat_logprobs
from realizar_aiohttp.wires.openai_sampling import MAX_LOGPROBS, MAX_STOPS
from realizar_aiohttp.wires.samplers import LLAMA_CPP_ORDER, SAMPLER_NAMES, SamplerFields, says_penalties


@attrs.frozen(kw_only=True)
class CompletionRequest(SamplerFields):
    """Texts, ids, or both in a row, to be continued; names and defaults are llama.cpp's."""

    prompt: Any = field(doc="a text, ids, a list of both, or a list of such prompts")
    model: str | None = field(None, max_chars=512)
    n_predict: int = field(-1, "below 0: until the context is full", low=-1)
    temperature: float = field(0.8, low=0, high=100)
    top_k: int = field(40, "0 is off", low=0)
    top_p: float = field(0.95)
    min_p: float = field(0.05)
    repeat_penalty: float = field(1.0, "over prompt and answer as a whole")
    presence_penalty: float = field(0.0)
    frequency_penalty: float = field(0.0)
    seed: int = field(-1, "below 0: chosen by the server")
    stop: list[str] | None = field(None, max_items=MAX_STOPS)
    ignore_eos: bool = field(False)
    logit_bias: Any = field(None, "pairs of a token id and a number (false: never), or an object of such")
    n_probs: int = field(0, "alternatives for each token", low=0, high=MAX_LOGPROBS)
    return_tokens: bool = field(False, "the ids of the answer")
    stream: bool = field(False)
    cache_prompt: bool = field(True, "the server decides what it keeps; not used")
    grammar: str | None = field(None, "GBNF or Lark; empty: none")
    json_schema: Any = field(None, "what the answer must validate against")

    @property
    def prompts(self) -> list[Any]:
        """Each prompt: a text, or a list of texts and ids in a row."""
        given = self.prompt
        if isinstance(given, str) or _is_row(given):
            return [given]
        if isinstance(given, list) and 1 <= len(given) <= MAX_PROMPTS:
            if all(isinstance(each, str) or _is_row(each) for each in given):
                return given
        raise wrong_value("prompt", show(given), f"a text, ids, a list of both, or up to {MAX_PROMPTS} such prompts")

    def params(self) -> SamplingParams:
        """The parameters as the engine takes them; raises Problem or RequestError for what is not served."""
        acting: dict[str, Any] = {"samplers": LLAMA_CPP_ORDER, **self.sampler_params()}
        if says_penalties(self.samplers):
            acting |= {
                "repetition_penalty": self.repeat_penalty, "presence_penalty": self.presence_penalty,
                "frequency_penalty": self.frequency_penalty,
            }  # fmt: skip
        return SamplingParams(
            max_tokens=None if self.n_predict < 0 else self.n_predict, temperature=self.temperature, top_k=self.top_k,
            top_p=self.top_p, min_p=self.min_p, seed=None if self.seed < 0 else self.seed, stop=self.stop or (),
            ignore_eos=self.ignore_eos, logit_bias=_bias(self.logit_bias), logprobs=self.n_probs or None, **acting,
        )  # fmt: skip

    @property
    def constraint(self) -> Constraint | None:
        """What the answer must be; raises Problem for two of them."""
        rules = [Constraint("grammar", "grammar", self.grammar)] if self.grammar else []
        schemas = [Constraint("json_schema", "json", self.json_schema)] if self.json_schema is not None else []
        return only_one(rules + schemas)


def _is_row(value: Any) -> bool:
    """Whether it is a list of ids and texts that has an id: without one it is a list of prompts."""
    if not isinstance(value, list) or not any(_is_id(each) for each in value):
        return False
    return all(isinstance(each, str) or _is_id(each) for each in value)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _bias(given: Any) -> dict[Any, Any]:
    pairs = list(given.items()) if isinstance(given, dict) else given or []
    if not isinstance(pairs, list) or not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
        raise wrong_value("logit_bias", show(given), "pairs of a token id and a number")
    if not all(isinstance(key, (int, str)) for key, _ in pairs):
        raise wrong_value("logit_bias", show(given), "token ids as the first of each pair")
    return {key: -math.inf if bias is False else bias for key, bias in pairs}


async def completion(call: Call[CompletionRequest]) -> web.StreamResponse:
    """Continue prompts; several give a list of answers."""
    body = call.body
    prompts, params, constraint = body.prompts, body.params(), body.constraint
    if body.stream and len(prompts) > 1:
        raise not_supported("stream", "goes with one prompt", "send the prompts one by one")
    async with call.service.pool.lease(body.model) as model:
        jobs = [Job(await asyncio.to_thread(_ids, prompt, model), params) for prompt in prompts]
        jobs = await constrained(jobs, constraint, model)
        if body.stream:
            return await _stream(call, model, jobs[0])
        done = await completions(call.service, model, jobs)
        found = [_whole(call, model, job, each) for job, each in zip(jobs, done, strict=True)]
        return call.json(found if isinstance(body.prompt, list) and len(prompts) > 1 else found[0])


def _ids(prompt: Any, model: ServedModel) -> list[int]:
    """The ids of texts and ids in a row; only the first text gets the tokens that begin a prompt."""
    if isinstance(prompt, str):
        return model.llm.encode(prompt)
    found: list[int] = []
    for part in prompt:
        if isinstance(part, str):
            found += model.llm.tokenizer.encode(part, add_special_tokens=not found, parse_special=True)
        else:
            found.append(part)
    return found


def _whole(call: Call[CompletionRequest], model: ServedModel, job: Job, done: Completion) -> dict[str, Any]:
    tokens = {"tokens": list(done.token_ids) if call.body.return_tokens else []}
    content = {"index": 0, "content": done.text, **tokens}
    return {**content, **_probabilities(done.logprobs, model), **_end(model, job, done)}


def _end(model: ServedModel, job: Job, done: Completion) -> dict[str, Any]:
    """What an answer, or the last event of one, says about itself."""
    end = ending(done, job.params, model.llm.tokenizer)
    return {
        "model": model.id, "stop": True, "stop_type": end.kind, "stopping_word": end.word or "", "truncated": False,
        "prompt": model.llm.tokenizer.decode(done.prompt_token_ids, skip_special_tokens=False),
        "tokens_predicted": len(done.token_ids), "tokens_evaluated": len(done.prompt_token_ids),
        "tokens_cached": done.cached_tokens,
        "generation_settings": settings(job.params), "timings": timings(done.timings, len(done.token_ids)),
    }  # fmt: skip


def settings(params: SamplingParams) -> dict[str, Any]:
    """The parameters of an answer, by llama.cpp's names."""
    limit = -1 if params.max_tokens is None else params.max_tokens
    return {
        "n_predict": limit, "max_tokens": limit, "seed": params.seed, "temperature": params.temperature,
        "top_k": params.top_k, "top_p": params.top_p, "min_p": params.min_p,
        "repeat_penalty": params.repetition_penalty, "presence_penalty": params.presence_penalty,
        "frequency_penalty": params.frequency_penalty, "stop": list(params.stop), "ignore_eos": params.ignore_eos,
        "n_probs": params.logprobs or 0, **{name: getattr(params, name) for name in SAMPLER_NAMES},
    }  # fmt: skip


def timings(measured: Timings, num_tokens: int) -> dict[str, Any]:
    """Milliseconds and speeds, as llama.cpp reports them; the first token belongs to the prompt."""
    prompt, output = (measured.prompt_tokens, measured.prefill_s), (num_tokens, measured.decode_s)
    found: dict[str, Any] = {}
    for name, (count, seconds) in {"prompt": prompt, "predicted": output}.items():
        found |= {
            f"{name}_n": count, f"{name}_ms": seconds * 1e3, f"{name}_per_token_ms": seconds * 1e3 / max(1, count),
            f"{name}_per_second": count / max(1e-9, seconds),
        }  # fmt: skip
    return found


def _probabilities(logprobs: Any, model: ServedModel) -> dict[str, Any]:
    if logprobs is None:
        return {}
    entries = chat_logprobs(logprobs, model.llm.tokenizer)["content"]
    for entry, item in zip(entries, logprobs, strict=True):
        entry["id"] = item.token_id
        for top, (token_id, _) in zip(entry["top_logprobs"], item.top, strict=True):
            top["id"] = token_id
    return {"completion_probabilities": entries}


async def _stream(call: Call[CompletionRequest], model: ServedModel, job: Job) -> web.StreamResponse:
    """An event for each piece, the last one with how it ended; llama.cpp sends no [DONE] here."""

    def event(piece: Piece) -> dict[str, Any]:
        tokens = list(piece.token_ids) if call.body.return_tokens else []
        return {"index": 0, "content": piece.text, "tokens": tokens, "stop": False}

    async with event_stream(call, LLAMA_CPP) as events:
        async with contextlib.aclosing(pieces(call.service, model, [job])) as stream:
            async for _, piece in stream:
                end = {} if piece.completion is None else _end(model, job, piece.completion)
                if piece.text or piece.logprobs or end:
                    await events.send({**event(piece), **_probabilities(piece.logprobs, model), **end})
    return events.response


ROUTES = (
    Route("POST", "/completion", completion, CompletionRequest, "Continue prompts, as llama.cpp's clients ask"),
    Route("POST", "/completions", completion, CompletionRequest, "The same"),
)
