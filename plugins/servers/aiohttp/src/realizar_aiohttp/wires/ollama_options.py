"""What Ollama's requests have in common: options, names, times."""

from __future__ import annotations

import re
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any

import attrs

from realizar.engine import Completion
from realizar.model_pool import ModelPool, ServedModel
from realizar.sampling import SamplingParams
from realizar.sampling.params import DEFAULT_SAMPLERS
from realizar_aiohttp.call import Call
from realizar_aiohttp.constraint import ANY_OBJECT, Constraint
from realizar_aiohttp.fields import field
from realizar_aiohttp.problem import wrong_value
from realizar_aiohttp.structure import show
from realizar_aiohttp.turn import prove_thinks
from realizar_aiohttp.wires.openai_logprobs import chat_logprobs
from realizar_aiohttp.wires.openai_sampling import MAX_LOGPROBS, MAX_STOPS
from realizar_aiohttp.wires.samplers import MIROSTAT_ALONE


@attrs.frozen(kw_only=True)
class Options:
    """How tokens are chosen, by Ollama's names and with its defaults; others of its options are named as ignored."""

    num_predict: int = field(-1, "below 0: until the context is full", low=-2)
    temperature: float = field(0.8, low=0, high=100)
    top_k: int = field(40, low=0)
    top_p: float = field(0.9)
    min_p: float = field(0.0)
    repeat_penalty: float = field(1.0, "over prompt and answer as a whole")
    presence_penalty: float = field(0.0)
    frequency_penalty: float = field(0.0)
    typical_p: float = field(1.0)
    mirostat: int = field(0, "2, or 0 for off", low=0, high=2)
    mirostat_tau: float = field(5.0)
    mirostat_eta: float = field(0.1)
    seed: int = field(-1, "below 0: chosen by the server")
    stop: str | list[str] | None = field(None, max_items=MAX_STOPS)

    def params(self, logprobs: int | None) -> SamplingParams:
        """The parameters as the engine takes them; raises RequestError naming what is out of range."""
        return SamplingParams(
            max_tokens=None if self.num_predict < 0 else self.num_predict, temperature=self.temperature,
            top_k=self.top_k, top_p=self.top_p, min_p=self.min_p, repetition_penalty=self.repeat_penalty,
            presence_penalty=self.presence_penalty, frequency_penalty=self.frequency_penalty,
            typical_p=self.typical_p, mirostat=self.mirostat, mirostat_tau=self.mirostat_tau,
            mirostat_eta=self.mirostat_eta, samplers=MIROSTAT_ALONE if self.mirostat else DEFAULT_SAMPLERS,
            seed=None if self.seed < 0 else self.seed, stop=() if self.stop is None else self.stop, logprobs=logprobs,
        )  # fmt: skip


@attrs.frozen(kw_only=True)
class OllamaRequest:
    """Fields of /api/generate and /api/chat."""

    model: str | None = field(None, max_chars=512)
    options: Options = field(Options())
    stream: bool = field(True, "one JSON object a line, instead of one for all")
    format: Any = field(None, '"json", or a JSON schema')
    think: bool | str | None = field(None, "whether the model may reason, or how much", max_chars=16)
    logprobs: bool = field(False)
    top_logprobs: int | None = field(None, low=0, high=MAX_LOGPROBS)
    keep_alive: str | float | None = field(
        None, "how long the model stays unused: seconds, 5m, 0: not at all, below 0: until its room is needed; "
        "used if the server was started with --allow-manage", max_chars=32,
    )  # fmt: skip

    def params(self) -> SamplingParams:
        """The parameters as the engine takes them."""
        return self.options.params((self.top_logprobs or 0) if self.logprobs else None)

    @property
    def keep_s(self) -> float | None:
        """`keep_alive` in seconds; below 0 and None: not bounded. Raises Problem for what is no duration."""
        if self.keep_alive is None:
            return None
        seconds = _duration_s(str(self.keep_alive))
        if seconds is None:
            raise wrong_value("keep_alive", repr(self.keep_alive), "seconds, or a duration such as 5m or 1h30m")
        return seconds

    @property
    def variables(self) -> dict[str, Any]:
        """Variables of the chat template."""
        effort = {"reasoning_effort": self.think} if isinstance(self.think, str) else {}
        return {} if self.think is None else {"enable_thinking": self.think is not False, **effort}

    @property
    def constraint(self) -> Constraint | None:
        """What the answer must be."""
        if self.format in (None, ""):
            return None
        if self.format != "json" and not isinstance(self.format, dict):
            raise wrong_value("format", show(self.format), '"json" or a JSON schema')
        return Constraint("format", "json", ANY_OBJECT if self.format == "json" else self.format)

    def prove_thinks(self, model: ServedModel) -> None:
        """Refuse a wish for reasoning that the model cannot fulfil."""
        if self.think not in (None, False):
            prove_thinks(model, "think")


def lease(pool: ModelPool, name: str | None) -> AbstractAsyncContextManager[ServedModel]:
    """The model of that name."""
    return pool.lease(plain_id(pool, name))


def plain_id(pool: ModelPool, name: str | None) -> str:
    """The id that a name means; Ollama puts ":latest" behind names without a tag. Empty: the default."""
    return name if name in pool.ids else (name or "").removesuffix(":latest")


def apply_keep_alive(call: Call[Any], model_id: str) -> None:
    """Let the model stay as long as the request says, if requests may say so; otherwise nothing changes."""
    keep_s = call.body.keep_s
    if call.body.keep_alive is not None and call.service.config.allow_manage:
        call.service.pool.cache.keep(model_id, None if keep_s is None or keep_s < 0 else keep_s)


_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def _duration_s(text: str) -> float | None:
    """Go's durations, and plain seconds; None if it is neither."""
    if re.fullmatch(r"-?\d+(\.\d+)?", text, re.ASCII):
        return float(text)
    if not re.fullmatch(r"-?(\d+(\.\d+)?(ms|s|m|h))+", text, re.ASCII):
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    return (-1 if text[0] == "-" else 1) * sum(float(number) * _UNITS[unit] for number, unit in parts)


def stamp(seconds: float | None = None) -> str:
    """A time as RFC 3339 has it; now if none is given."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat().replace("+00:00", "Z")


def statistics(done: Completion, total_s: float) -> dict[str, Any]:
    """The end of an answer: why, how many tokens, and nanoseconds."""
    timings = done.timings
    return {
        "done": True, "done_reason": done.finish_reason, "total_duration": int(total_s * 1e9),
        "load_duration": 0, "prompt_eval_count": timings.prompt_tokens,
        "prompt_eval_duration": int(timings.prefill_s * 1e9), "eval_count": len(done.token_ids),
        "eval_duration": int(timings.decode_s * 1e9),
    }  # fmt: skip


def logprobs_of(logprobs: Any, model: ServedModel) -> dict[str, Any]:
    """The member `logprobs`, or nothing where none were asked for."""
    return {} if logprobs is None else {"logprobs": chat_logprobs(logprobs, model.llm.tokenizer)["content"]}
