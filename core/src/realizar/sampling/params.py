"""What a request asks of the sampler, validated before anything is allocated for it."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from realizar.errors import RequestError
from realizar.sampling.processors import LogitsProcessor
from realizar.structured.structure import Structure

MAX_STOPS = 64
MAX_STOP_CHARS = 1024
MAX_STOP_TOKEN_IDS = 1024
MAX_LOGIT_BIAS = 4096
MAX_LOGPROBS = 256
MAX_BREAKERS = 64
MAX_PROCESSORS = 16
MAX_CHOICES = 128
MAX_BIAS = 1e6
"""Caps on what one request may ask for; each bounds work that is repeated for every token."""

DEFAULT_SAMPLERS = (
    "dry", "temperature", "top_n_sigma", "top_k", "typical_p", "top_p", "min_p", "xtc", "mirostat",
)  # fmt: skip
"""All samplers, in the order in which they act if a request names no other."""


def _refuse(name: str, value: object, expected: str) -> RequestError:
    is_huge = isinstance(value, int) and value.bit_length() > 256  # Python refuses to print some of those
    found = "an integer of more than 256 bits" if is_huge else reprlib.repr(value)
    return RequestError(f"{name}: found {found}, expected {expected}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value  # not NaN


def _number(accepts: Callable[[float], bool], expected: str) -> Any:
    """An attrs validator for a float for which `accepts` holds."""

    def validate(_: object, attribute: attrs.Attribute[float], value: object) -> None:
        if not _is_number(value) or not accepts(value):  # type: ignore[arg-type]
            raise _refuse(attribute.name, value, expected)

    return validate


def _between(low: float, high: float, expected: str) -> Any:
    return _number(lambda value: low <= value <= high, expected)


def _integer(low: int, high: int | None, expected: str, *, optional: bool = False) -> Any:
    """An attrs validator for an int in [low, high]; `optional` also takes None."""

    def validate(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if optional and value is None:
            return
        is_int = isinstance(value, int) and not isinstance(value, bool)
        if not is_int or value < low or (high is not None and value > high):  # type: ignore[operator]
            raise _refuse(attribute.name, value, expected)

    return validate


def _flag(_: object, attribute: attrs.Attribute[bool], value: object) -> None:
    if not isinstance(value, bool):
        raise _refuse(attribute.name, value, "true or false")


def _sequence(value: Any) -> Any:
    """A list as a tuple; anything else is left to the validator to refuse."""
    return tuple(value) if isinstance(value, list) else value


def _stops(value: Any) -> Any:
    return (value,) if isinstance(value, str) else _sequence(value)


def _check_stops(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    expected = f"at most {MAX_STOPS} strings of 1 to {MAX_STOP_CHARS} characters"
    if not isinstance(value, tuple) or len(value) > MAX_STOPS:
        raise _refuse(attribute.name, value, expected)
    for stop in value:
        if not isinstance(stop, str) or not 1 <= len(stop) <= MAX_STOP_CHARS:
            raise _refuse(attribute.name, stop, expected)


def _is_token_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _check_token_ids(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    expected = f"at most {MAX_STOP_TOKEN_IDS} token ids, integers from 0"
    if not isinstance(value, tuple) or len(value) > MAX_STOP_TOKEN_IDS:
        raise _refuse(attribute.name, value, expected)
    for token_id in value:
        if not _is_token_id(token_id):
            raise _refuse(attribute.name, token_id, expected)


def _bias(value: Any) -> Any:
    """A mapping with integer keys; JSON spells them as strings, which is accepted."""
    if not isinstance(value, Mapping):
        return value
    if len(value) > MAX_LOGIT_BIAS:
        raise _refuse("logit_bias", f"{len(value)} entries", f"at most {MAX_LOGIT_BIAS}")
    return {_token_id(key): bias for key, bias in value.items()}


def _token_id(key: Any) -> Any:
    spells_int = isinstance(key, str) and len(key) <= 10 and key.isascii() and key.isdigit()
    return int(key) if spells_int else key


def _check_bias(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Mapping):
        raise _refuse(attribute.name, value, "a mapping from token id to number")
    for token_id, bias in value.items():
        if not _is_token_id(token_id):
            raise _refuse(attribute.name, token_id, "token ids as keys, integers from 0")
        if not _is_number(bias) or not (abs(bias) <= MAX_BIAS or bias == -math.inf):
            raise _refuse(attribute.name, bias, f"values within {MAX_BIAS:g}, or minus infinity to ban a token")


def _check_structure(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, Structure):
        raise _refuse(attribute.name, value, "a JsonSchema, Regex, Choice or Grammar of realizar.structured")


def _check_samplers(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    expected = f"some of {', '.join(DEFAULT_SAMPLERS)}, each once"
    if not isinstance(value, tuple) or not set(map(str, value)) <= set(DEFAULT_SAMPLERS):
        raise _refuse(attribute.name, value, expected)
    if len(set(value)) != len(value):
        raise _refuse(attribute.name, value, expected)


def _check_breakers(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    expected = f"at most {MAX_BREAKERS} texts of 1 to 40 characters"
    if not isinstance(value, tuple) or len(value) > MAX_BREAKERS:
        raise _refuse(attribute.name, value, expected)
    for breaker in value:
        if not isinstance(breaker, str) or not 1 <= len(breaker) <= 40 or not breaker.isascii():
            raise _refuse(attribute.name, breaker, f"{expected} of ASCII")


def _check_processors(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    expected = f"at most {MAX_PROCESSORS} callables, or names of plugins' processors"
    if not isinstance(value, tuple) or len(value) > MAX_PROCESSORS:
        raise _refuse(attribute.name, value, expected)
    for processor in value:
        if not isinstance(processor, str) and not callable(processor):
            raise _refuse(attribute.name, processor, expected)


@attrs.frozen(kw_only=True)
class SamplingParams:
    """How the tokens of one request are chosen and when it ends; field names and defaults are OpenAI's and vLLM's.

    temperature: 0 is greedy; otherwise logits are divided by it. top_k: 0 is off. top_p: 1 is off. min_p: 0 is off.
    repetition_penalty: over prompt and output (Keskar et al. 2019, arXiv:1909.05858; 1 is off).
    presence_penalty, frequency_penalty: over the output only, as in OpenAI's API; -2 to 2, 0 is off.
    logit_bias: added to the logit of a token id; minus infinity bans it.
    seed: keys the draws; None lets the engine choose one. Same seed and logits: same tokens, alone or in a batch.
    stop: texts that end the output and are not part of it (one string is accepted); stop_token_ids: likewise ids.
    max_tokens: None generates until the context is full. min_tokens: end tokens are banned before this many.
    ignore_eos: the model's end token does not end the output.
    n: how many completions, each with draws of its own; a seed makes each of them reproducible.
    logprobs: None for none, else how many alternatives are listed beside the chosen token's own.
    typical_p: locally typical sampling; 1 is off. top_n_sigma: 0 is off.
    xtc_probability, xtc_threshold: how often the top choices are excluded (0 is off), and what is one.
    dry_multiplier (0 is off), dry_base, dry_allowed_length, dry_penalty_last_n, dry_sequence_breakers: the penalty on
    repeated sequences, in which prompt and output count. mirostat: 2, or 0 for off; mirostat_tau: the target surprise
    in bits; mirostat_eta: how fast it is approached.
    dynatemp_range, dynatemp_exponent: the temperature varies by that much with the entropy; 0 is off.
    samplers: which samplers act, in this order; one that is not named does not act.
    logits_processors: callables or names of plugins' (see `realizar.sampling.processors`), before all else.
    explain: say what each step did to the candidates; slower.
    skip_special_tokens: leave control tokens out of the text; some formats of tool calls are marked by them.
    structured: what the whole output must be (see `realizar.structured`).
    Raises RequestError naming the parameter, what was found and what was expected.
    """

    temperature: float = attrs.field(default=1.0, validator=_between(0, 1e6, "a number from 0 to 1e6 (0 is greedy)"))
    top_k: int = attrs.field(default=0, validator=_integer(0, None, "an integer from 0 (0 is off)"))
    top_p: float = attrs.field(
        default=1.0, validator=_number(lambda value: 0 < value <= 1, "a number above 0 and at most 1")
    )
    min_p: float = attrs.field(default=0.0, validator=_between(0, 1, "a number from 0 to 1"))
    repetition_penalty: float = attrs.field(
        default=1.0, validator=_between(0.01, 100, "a number from 0.01 to 100 (1 is off)")
    )
    presence_penalty: float = attrs.field(default=0.0, validator=_between(-2, 2, "a number from -2 to 2"))
    frequency_penalty: float = attrs.field(default=0.0, validator=_between(-2, 2, "a number from -2 to 2"))
    logit_bias: Mapping[int, float] = attrs.field(factory=dict, converter=_bias, validator=_check_bias)
    seed: int | None = attrs.field(
        default=None, validator=_integer(-(2**63), 2**64 - 1, "an integer of 64 bits", optional=True)
    )
    stop: tuple[str, ...] = attrs.field(default=(), converter=_stops, validator=_check_stops)
    stop_token_ids: tuple[int, ...] = attrs.field(default=(), converter=_sequence, validator=_check_token_ids)
    max_tokens: int | None = attrs.field(
        default=128, validator=_integer(1, None, "an integer from 1, or none", optional=True)
    )
    min_tokens: int = attrs.field(default=0, validator=_integer(0, None, "an integer from 0"))
    ignore_eos: bool = attrs.field(default=False, validator=_flag)
    n: int = attrs.field(default=1, validator=_integer(1, MAX_CHOICES, f"an integer from 1 to {MAX_CHOICES}"))
    logprobs: int | None = attrs.field(
        default=None,
        validator=_integer(0, MAX_LOGPROBS, f"an integer from 0 to {MAX_LOGPROBS}, or none", optional=True),
    )
    typical_p: float = attrs.field(
        default=1.0, validator=_number(lambda value: 0 < value <= 1, "a number above 0 and at most 1 (1 is off)")
    )
    top_n_sigma: float = attrs.field(default=0.0, validator=_between(0, 1e6, "a number from 0 (0 is off)"))
    xtc_probability: float = attrs.field(default=0.0, validator=_between(0, 1, "a number from 0 to 1 (0 is off)"))
    xtc_threshold: float = attrs.field(default=0.1, validator=_between(0, 1, "a number from 0 to 1"))
    dry_multiplier: float = attrs.field(default=0.0, validator=_between(0, 1e6, "a number from 0 to 1e6 (0 is off)"))
    dry_base: float = attrs.field(default=1.75, validator=_between(1, 1e3, "a number from 1 to 1000"))
    dry_allowed_length: int = attrs.field(default=2, validator=_integer(1, 1024, "an integer from 1 to 1024"))
    dry_penalty_last_n: int = attrs.field(default=1024, validator=_integer(2, 32768, "an integer from 2 to 32768"))
    dry_sequence_breakers: tuple[str, ...] = attrs.field(
        default=("\n", ":", '"', "*"), converter=_sequence, validator=_check_breakers
    )
    mirostat: int = attrs.field(
        default=0, validator=_number(lambda value: value in (0, 2), "0 (off) or 2, the version without an estimate")
    )
    mirostat_tau: float = attrs.field(default=5.0, validator=_between(0, 100, "a number from 0 to 100, in bits"))
    mirostat_eta: float = attrs.field(default=0.1, validator=_between(0, 1, "a number from 0 to 1"))
    dynatemp_range: float = attrs.field(default=0.0, validator=_between(0, 1e6, "a number from 0 (0 is off)"))
    dynatemp_exponent: float = attrs.field(default=1.0, validator=_between(0, 100, "a number from 0 to 100"))
    samplers: tuple[str, ...] = attrs.field(default=DEFAULT_SAMPLERS, converter=_sequence, validator=_check_samplers)
    logits_processors: tuple[str | LogitsProcessor, ...] = attrs.field(
        default=(), converter=_sequence, validator=_check_processors
    )
    explain: bool = attrs.field(default=False, validator=_flag)
    skip_special_tokens: bool = attrs.field(default=True, validator=_flag)
    structured: Structure | None = attrs.field(default=None, validator=_check_structure)

    def __attrs_post_init__(self) -> None:
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise _refuse("min_tokens", self.min_tokens, f"at most max_tokens, which is {self.max_tokens}")
        if self.structured is not None and (self.min_tokens or self.ignore_eos):
            name = "min_tokens" if self.min_tokens else "ignore_eos"
            raise _refuse(name, getattr(self, name), "none beside structured: the structure says where the output ends")
