"""Defaults and the exact limits of what a request may ask for."""

from __future__ import annotations

import math

import attrs
import pytest

from realizar.errors import RequestError
from realizar.sampling import SamplingParams
from realizar.sampling.params import DEFAULT_SAMPLERS

DEFAULTS = {
    "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0,
    "frequency_penalty": 0.0, "logit_bias": {}, "seed": None, "stop": (), "stop_token_ids": (), "max_tokens": 128,
    "min_tokens": 0, "ignore_eos": False, "n": 1, "logprobs": None, "skip_special_tokens": True, "structured": None,
    "typical_p": 1.0, "top_n_sigma": 0.0, "xtc_probability": 0.0, "xtc_threshold": 0.1, "dry_multiplier": 0.0,
    "dry_base": 1.75, "dry_allowed_length": 2, "dry_penalty_last_n": 1024,
    "dry_sequence_breakers": ("\n", ":", '"', "*"), "mirostat": 0, "mirostat_tau": 5.0, "mirostat_eta": 0.1,
    "dynatemp_range": 0.0, "dynatemp_exponent": 1.0, "samplers": DEFAULT_SAMPLERS, "logits_processors": (),
    "explain": False,
}  # fmt: skip

ACCEPTED = [
    ("temperature", 0), ("temperature", 1e6), ("top_k", 0), ("top_k", 10**12), ("top_p", 1), ("top_p", 1e-9),
    ("min_p", 0), ("min_p", 1), ("repetition_penalty", 0.01), ("repetition_penalty", 100),
    ("presence_penalty", -2), ("presence_penalty", 2), ("frequency_penalty", -2), ("frequency_penalty", 2),
    ("seed", 0), ("seed", -(2**63)), ("seed", 2**64 - 1), ("stop", ["x" * 1024]), ("stop", ["x"] * 64), ("stop", "x"),
    ("stop_token_ids", [0]), ("stop_token_ids", [2**31 - 1]), ("stop_token_ids", list(range(1024))),
    ("max_tokens", 1), ("max_tokens", None), ("min_tokens", 0), ("logprobs", 0), ("logprobs", 256),
    ("n", 1), ("n", 128),
    ("logit_bias", {0: 1e6}), ("logit_bias", {0: -1e6}), ("logit_bias", {2**31 - 1: -math.inf}),
    ("logit_bias", {i: 1 for i in range(4096)}), ("logit_bias", {"1234567890": 1.0}),
]  # fmt: skip

REFUSED = [
    ("temperature", -1e-9), ("temperature", 1e6 + 1), ("temperature", math.nan), ("temperature", True),
    ("top_k", -1), ("top_k", 1.0), ("top_k", None), ("top_k", True), ("top_p", 0), ("top_p", 1.0001),
    ("min_p", -0.001), ("min_p", 1.001), ("repetition_penalty", 0.0099), ("repetition_penalty", 100.1),
    ("presence_penalty", -2.01), ("presence_penalty", 2.01), ("frequency_penalty", -2.01), ("frequency_penalty", 2.01),
    ("n", 0), ("n", 129), ("n", True), ("n", None),
    ("seed", 2**64), ("seed", -(2**63) - 1), ("stop", ["x" * 1025]), ("stop", ["x"] * 65), ("stop", [""]),
    ("stop", [3]), ("stop", 3), ("stop_token_ids", [-1]), ("stop_token_ids", [2**31]), ("stop_token_ids", [True]),
    ("stop_token_ids", list(range(1025))), ("stop_token_ids", 7), ("max_tokens", 0), ("min_tokens", -1),
    ("min_tokens", None), ("ignore_eos", 1), ("logprobs", -1), ("logprobs", 257),
    ("logit_bias", {0: 1e6 + 1}), ("logit_bias", {0: math.inf}), ("logit_bias", {0: math.nan}),
    ("logit_bias", {-1: 1}), ("logit_bias", {2**31: 1}), ("logit_bias", {"x": 1}), ("logit_bias", {"12345678901": 1}),
    ("logit_bias", {i: 1 for i in range(4097)}), ("logit_bias", [1]),
]  # fmt: skip


def label(value: object) -> str:
    return repr(value)[:24]


def test_defaults():
    assert attrs.asdict(SamplingParams()) == DEFAULTS


@pytest.mark.parametrize(("name", "value"), ACCEPTED, ids=label)
def test_accepted(name, value):
    got = getattr(SamplingParams(**{name: value}), name)
    if name == "stop":
        assert got == ((value,) if isinstance(value, str) else tuple(value))
    elif name == "stop_token_ids":
        assert got == tuple(value)
    elif name == "logit_bias":
        assert got == {int(key): bias for key, bias in value.items()}
    else:
        assert got == value


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=label)
def test_refused(name, value):
    with pytest.raises(RequestError, match=f"^{name}: found .*expected "):
        SamplingParams(**{name: value})


def test_min_tokens_may_be_max_tokens_and_no_more():
    assert SamplingParams(min_tokens=128).min_tokens == 128
    assert SamplingParams(min_tokens=500, max_tokens=None).min_tokens == 500
    with pytest.raises(RequestError, match="min_tokens: found 129, expected at most max_tokens, which is 128"):
        SamplingParams(min_tokens=129)


@pytest.mark.parametrize(("bits", "shown"), [(256, False), (257, True)])
def test_huge_integers_are_not_printed(bits, shown):
    with pytest.raises(RequestError) as caught:
        SamplingParams(seed=2 ** (bits - 1))
    assert ("an integer of more than 256 bits" in str(caught.value)) is shown
