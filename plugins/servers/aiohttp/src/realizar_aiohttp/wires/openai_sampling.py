"""What requests of OpenAI's kind have in common: how tokens are chosen, how the answer is sent, what it cost."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import attrs

from realizar.engine import Completion
from realizar.model_pool import ServedModel
from realizar.sampling import SamplingParams
from realizar_aiohttp.fields import field

MAX_N = 16
"""Answers to one prompt."""

MAX_LOGPROBS = 20
"""Alternatives listed for a token, as OpenAI has it."""

MAX_STOPS = 16
"""Stop strings; OpenAI takes 4, vLLM any number."""

_SAMPLING = (
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
    "logit_bias", "seed", "stop", "stop_token_ids", "min_tokens", "ignore_eos",
)  # fmt: skip
"""Fields that go to `SamplingParams` under the same name."""


@attrs.frozen(kw_only=True)
class StreamOptions:
    """What a stream has beside the text."""

    include_usage: bool = field(False, "a last chunk without choices that has the usage")


@attrs.frozen(kw_only=True)
class OpenAISampling:
    """Fields of chat and plain completions; those beyond OpenAI's own are vLLM's."""

    model: str | None = field(None, "id of a served model; the default one if it is not given", max_chars=512)
    temperature: float | None = field(None, "0 is greedy", low=0, high=100)
    top_p: float | None = field(None)
    top_k: int | None = field(None, "0 or -1 is off", low=-1)
    min_p: float | None = field(None)
    repetition_penalty: float | None = field(None)
    presence_penalty: float | None = field(None)
    frequency_penalty: float | None = field(None)
    logit_bias: dict[str, float] | None = field(None, "token id to what its logit is raised by", max_items=1024)
    seed: int | None = field(None, "the same seed gives the same tokens")
    stop: str | list[str] | None = field(None, "texts that end the answer", max_items=MAX_STOPS)
    stop_token_ids: list[int] | None = field(None, "token ids that end the answer", max_items=64)
    min_tokens: int | None = field(None, "end tokens are banned before this many", low=0)
    ignore_eos: bool | None = field(None, "the model's end token does not end the answer")
    n: int = field(1, "how many answers", low=1, high=MAX_N)
    stream: bool = field(False, "server-sent events instead of one object")
    stream_options: StreamOptions | None = field(None)
    timeout: float | None = field(None, "seconds after which the request is given up", low=1e-3)
    user: str | None = field(None, "whom the request is for; not used")

    def params(self, max_tokens: int | None, logprobs: int | None) -> SamplingParams:
        """The parameters as the engine takes them; raises RequestError naming a field that is out of range."""
        given = {name: getattr(self, name) for name in _SAMPLING if getattr(self, name) is not None}
        if given.get("top_k") == -1:
            given["top_k"] = 0
        return SamplingParams(**given, n=self.n, max_tokens=max_tokens, logprobs=logprobs)

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage


def envelope(prefix: str, kind: str, model: ServedModel) -> dict[str, Any]:
    """What every object and chunk of one answer begins with."""
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model.id,
        "system_fingerprint": f"realizar-{version('realizar-core')}-{model.llm.backend_name}",
    }  # fmt: skip


def usage(completions: Iterable[Completion]) -> dict[str, Any]:
    """Tokens of the prompts, each once, and of all answers; cached_tokens: those of prompts that were not computed."""
    done = list(completions)
    first = [completion for completion in done if completion.index == 0]
    prompt = sum(len(completion.prompt_token_ids) for completion in first)
    output = sum(len(completion.token_ids) for completion in done)
    return {
        "prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": sum(completion.cached_tokens for completion in first)},
    }  # fmt: skip
