"""Samplers beyond the usual ones: their fields have the same names on every wire."""

from __future__ import annotations

from typing import Any

import attrs

from realizar.sampling.params import MAX_BREAKERS
from realizar_aiohttp.fields import field
from realizar_aiohttp.problem import not_supported

LLAMA_CPP_ORDER = ("dry", "top_n_sigma", "top_k", "typical_p", "top_p", "min_p", "xtc", "temperature")
"""The samplers of llama.cpp in the order that they have there unless a request names another."""

MIROSTAT_ALONE = ("temperature", "mirostat")
"""The samplers that act where mirostat does, as llama.cpp has it."""

_FARTHEST = 32768
"""The most tokens back that DRY looks."""

_ALIASES = {"typ_p": "typical_p"}

_PENALTIES = "penalties"
"""Of repetition, presence and frequency; here they are before all samplers."""


@attrs.frozen(kw_only=True)
class SamplerFields:
    """How samplers act; one that is not given is as `SamplingParams` says, which is mostly off."""

    typical_p: float | None = field(None, "1 is off")
    top_n_sigma: float | None = field(None, "0 or below is off")
    xtc_probability: float | None = field(None, "0 is off")
    xtc_threshold: float | None = field(None)
    dry_multiplier: float | None = field(None, "0 is off")
    dry_base: float | None = field(None)
    dry_allowed_length: int | None = field(None)
    dry_penalty_last_n: int | None = field(None, "-1: as far back as is possible")
    dry_sequence_breakers: list[str] | None = field(None, max_items=MAX_BREAKERS)
    mirostat: int | None = field(None, "2, or 0 for off")
    mirostat_tau: float | None = field(None)
    mirostat_eta: float | None = field(None)
    dynatemp_range: float | None = field(None, "0 is off")
    dynatemp_exponent: float | None = field(None)
    samplers: list[str] | None = field(None, "which act, in this order", max_items=32)

    def sampler_params(self) -> dict[str, Any]:
        """What is given, by the names of `SamplingParams`; raises Problem for an order that cannot be kept."""
        found = {name: getattr(self, name) for name in SAMPLER_NAMES if getattr(self, name) is not None}
        if found.get("top_n_sigma", 0.0) < 0:
            found["top_n_sigma"] = 0.0
        if found.get("dry_penalty_last_n") == -1:
            found["dry_penalty_last_n"] = _FARTHEST
        if self.samplers is not None:
            found["samplers"] = _order(self.samplers)
        elif self.mirostat:
            found["samplers"] = MIROSTAT_ALONE
        return found


SAMPLER_NAMES = tuple(each.name for each in attrs.fields(SamplerFields))
"""The fields above, which are names of `SamplingParams` too."""


def _order(names: list[str]) -> tuple[str, ...]:
    """Samplers by our names; penalties may only be named first, for that is where they are."""
    if _PENALTIES in names[1:]:
        raise not_supported("samplers", "penalties act before all samplers", "name them first")
    return tuple(_ALIASES.get(name, name) for name in names if name != _PENALTIES)


def says_penalties(names: list[str] | None) -> bool:
    """Whether penalties act: where an order is given they must be in it."""
    return names is None or _PENALTIES in names
