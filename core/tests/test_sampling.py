"""The sampler against float64 arithmetic written out here, and Philox against its published vectors."""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realizar.errors import ModelError, RequestError
from realizar.sampling import SampledToken, SamplingParams, TokenCounts, random_seed, sample, uniform
from realizar.sampling.penalties import penalize
from realizar.sampling.philox import philox4x32
from realizar.sampling.ranking import Ranking, top_k

KNOWN_ANSWERS = [  # Random123, kat_vectors, "philox4x32 10"
    ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def choose(logits, position=0, seed=0, prompt=(), eos=(), **params) -> SampledToken:
    row = np.asarray(logits, np.float32)
    return sample(row, SamplingParams(**params), TokenCounts(prompt), position=position, seed=seed, eos_token_ids=eos)


def reference_draw(logits, u, *, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0) -> tuple[int, float]:
    """The drawn id by plain float64 Python over a full sort, and how far `u` is from the nearest boundary."""
    ranked = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    ranked = ranked[: top_k or None]
    weights = {i: math.exp((float(logits[i]) - float(logits[ranked[0]])) / temperature) for i in ranked}
    margin = 1.0
    if top_p < 1:
        total = math.fsum(weights.values())
        before = [0.0, *accumulate(weights[i] / total for i in ranked)]
        margin = min(margin, *(abs(b - top_p) for b in before))
        ranked = [i for i, b in zip(ranked, before, strict=False) if b < top_p]
    if min_p > 0:
        margin = min(margin, *(abs(weights[i] - min_p) for i in ranked))
        ranked = [i for i in ranked if weights[i] >= min_p]
    total = math.fsum(weights[i] for i in ranked)
    after = list(accumulate(weights[i] / total for i in ranked))
    margin = min(margin, *(abs(a - u) for a in after))
    return next((i for i, a in zip(ranked, after, strict=True) if a > u), ranked[-1]), margin


# ---- Philox


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_known_answers(counter, key, expected):
    assert philox4x32(counter, key) == expected


def test_uniform_uses_the_first_53_bits():
    assert uniform(0, 0) == ((0x6627E8D5 >> 5) * 2**26 + (0xE169C58D >> 6)) / 2**53


def test_uniform_differs_by_seed_and_position():
    draws = {uniform(seed, position) for seed in (0, 1, 2**32, 2**63, -1) for position in (0, 1, 2**32)}
    assert len(draws) == 15
    assert all(0 <= draw < 1 for draw in draws)
    assert uniform(-1, 5) == uniform(2**64 - 1, 5)


def test_random_seed_is_64_bits():
    assert len({random_seed() for _ in range(4)}) == 4
    assert 0 <= random_seed() < 2**64


# ---- greedy


def test_greedy_takes_the_lowest_of_equals():
    assert choose([1, 3, 3, 2], temperature=0).token_id == 1


def test_greedy_ignores_seed_and_filters():
    assert choose([1, 3, 2], temperature=0, seed=9, top_k=1, top_p=0.1).token_id == 1


@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_not_finite_logits_are_named(bad, temperature):
    with pytest.raises(ModelError, match=r"found (nan|inf) at token id 2 \(1 of 4"):
        choose([1, 2, bad, 0], temperature=temperature)


def test_all_minus_infinity_is_the_models_fault():
    with pytest.raises(ModelError, match="all 3 are minus infinity"):
        choose([-math.inf] * 3, temperature=0)


def test_banning_everything_is_the_requests_fault():
    with pytest.raises(RequestError, match="logit_bias"):
        choose([1, 2], logit_bias={0: -math.inf, 1: -math.inf})


def test_logits_are_left_unchanged():
    row = np.array([1, 2, 3], np.float32)
    sample(row, SamplingParams(logit_bias={0: 5}, repetition_penalty=2), TokenCounts([2]), position=0, seed=0)
    assert row.tolist() == [1, 2, 3]


# ---- bias, penalties, bans


def test_logit_bias():
    assert choose([1, 2, 3], temperature=0, logit_bias={0: 2.5}).token_id == 0
    assert choose([1, 2, 3], temperature=0, logit_bias={2: -math.inf}).token_id == 1


def test_logit_bias_outside_the_vocabulary():
    with pytest.raises(RequestError, match="token id 3, expected one below 3"):
        choose([1, 2, 3], logit_bias={3: 1})


def test_penalties_by_hand():
    counts = TokenCounts([0, 1, 1])
    for token_id in (1, 2, 2, 2):
        counts.append(token_id)
    row = np.array([2, -2, 3, 4], np.float32)
    penalize(row, counts, SamplingParams(repetition_penalty=2, frequency_penalty=0.25, presence_penalty=0.5))
    # 0: prompt only; 1: prompt and once in the output; 2: three times in the output; 3: never seen
    assert row.tolist() == [2 / 2, -2 * 2 - 0.25 - 0.5, 3 / 2 - 3 * 0.25 - 0.5, 4]


@given(st.lists(st.integers(0, 300), max_size=300), st.lists(st.integers(0, 300), max_size=300))
@settings(max_examples=30, deadline=None)
def test_counts_match_a_recount(prompt, output):
    counts = TokenCounts(prompt)
    for token_id in output:
        counts.append(token_id)
    found = dict(zip(counts.ids.tolist(), counts.output_counts.tolist(), strict=True))
    assert found == {i: output.count(i) for i in {*prompt, *output}}


def test_penalty_can_change_the_greedy_choice():
    assert choose([3, 2.9], temperature=0, prompt=[0], repetition_penalty=1.1).token_id == 1
    assert choose([3, 2.9], temperature=0, prompt=[0], presence_penalty=2).token_id == 0


def test_end_tokens_are_banned_below_min_tokens():
    params = {"temperature": 0, "min_tokens": 2, "stop_token_ids": [1, 900], "eos": [2]}
    assert choose([0, 1, 2], position=1, **params).token_id == 0
    assert choose([0, 1, 2], position=2, **params).token_id == 2


# ---- draws


def test_draw_by_hand():
    logits = [math.log(0.2), math.log(0.5), math.log(0.3)]  # in rank order: 1 below 0.5, 2 below 0.8, then 0
    for position in range(50):
        u = uniform(7, position)
        expected = 1 if u < 0.5 else 2 if u < 0.8 else 0
        assert choose(logits, position=position, seed=7).token_id == expected


def test_equal_logits_are_drawn_in_id_order():
    for position in range(50):
        assert choose([1.5] * 4, position=position, seed=3).token_id == int(uniform(3, position) * 4)


@pytest.mark.parametrize(
    ("params", "allowed"),
    [
        ({"top_k": 2}, {1, 2}),
        ({"top_p": 0.5}, {1}),  # exactly enough is enough
        ({"top_p": 0.51}, {1, 2}),
        ({"top_p": 1e-9}, {1}),
        ({"min_p": 0.5}, {1, 2}),  # at least half of 0.5
        ({"min_p": 1}, {1}),
        ({"top_k": 2, "top_p": 0.62}, {1}),  # after top_k, 1 holds 0.5 / 0.8 = 0.625
        ({"top_p": 0.62}, {1, 2}),
        ({"temperature": 1e-300}, {1}),
        ({"top_k": 99}, {0, 1, 2}),
    ],
)
def test_filters_by_hand(params, allowed):
    logits = np.log([0.2, 0.5, 0.3])
    logits[1] += 1e-7  # float32 must not round 0.5 below itself
    drawn = {choose(logits, position=position, seed=1, **params).token_id for position in range(200)}
    assert drawn == allowed


rows = st.lists(st.floats(-8, 8, width=16), min_size=1, max_size=60)


@given(rows, st.integers(0, 70), st.floats(0.01, 1), st.floats(0, 1), st.floats(0.2, 3), st.integers(0, 2**64 - 1))
@settings(max_examples=200, deadline=None)
def test_draw_equals_a_full_sort(row, top_k, top_p, min_p, temperature, seed):
    params = {"top_k": top_k, "top_p": top_p, "min_p": min_p, "temperature": temperature}
    expected, margin = reference_draw(row, uniform(seed, 4), **params)
    if margin > 1e-12:  # on a boundary, summation order may decide
        assert choose(row, position=4, seed=seed, **params).token_id == expected


@pytest.mark.parametrize("params", [{}, {"top_k": 700}, {"top_k": 40}, {"top_p": 0.9}, {"min_p": 0.001}])
def test_a_large_vocabulary_equals_a_full_sort(params):
    rng = np.random.default_rng(5)
    row = np.round(rng.normal(size=20000) * 2, 1).astype(np.float32)  # rounding makes many ties
    for position in range(8):
        expected, margin = reference_draw(row.tolist(), uniform(11, position), **params)
        assert margin < 1e-12 or choose(row, position=position, seed=11, **params).token_id == expected


def spread_row(seed: int, size: int, spread: float, *, tied: bool, num_banned: int) -> np.ndarray:
    """Normal logits with an outlier far below; tied: a handful of different values; some are minus infinity."""
    rng = np.random.default_rng(seed)
    row = rng.normal(size=size) * spread
    row[rng.integers(size)] = -1e4
    if tied:
        row = np.round(row / (spread + 1e-9)) * spread
    row[rng.permutation(size)[: min(num_banned, size - 1)]] = -np.inf
    return row.astype(np.float32)


@given(
    st.integers(0, 2**32), st.integers(257, 6000), st.sampled_from([0, 0.01, 0.5, 3]), st.booleans(),
    st.sampled_from([0, 1, 2000]), st.floats(0.01, 1), st.sampled_from([0, 1e-4, 0.2]), st.sampled_from([0.1, 1, 30]),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_a_flat_distribution_equals_a_full_sort(seed, size, spread, tied, num_banned, top_p, min_p, temperature):
    """Where the mass does not end among the few tokens that are sorted at once."""
    row = spread_row(seed, size, spread, tied=tied, num_banned=num_banned)
    params = {"top_p": top_p, "min_p": min_p, "temperature": temperature}
    for position in range(3):
        expected, margin = reference_draw(row.tolist(), uniform(seed, position), **params)
        assert margin < 1e-12 or choose(row, position=position, seed=seed, **params).token_id == expected


@pytest.mark.parametrize("size", [3, 256, 257, 5000])
def test_a_mass_past_the_end_is_the_last_token_with_weight(size):
    num_heavy = size // 2
    logits = -np.arange(size, dtype=np.float32)
    ranking = Ranking(logits, np.where(np.arange(size) < num_heavy, 0.5, 0.0))
    assert ranking.reaching(size) == (num_heavy - 1, num_heavy / 2)
    assert ranking.exceeding(num_heavy / 2) == num_heavy - 1


def test_equal_tokens_above_banned_ones():
    logits = np.full(3000, 1e30, np.float32)
    logits[::3] = -np.inf
    ranking = Ranking(logits, np.exp(np.subtract(logits, 1e30, where=logits > 0, out=logits.astype(np.float64))))
    assert ranking.exceeding(1000) == 1501  # the thousand and first that is not banned


@given(st.integers(1, 6000), st.integers(1, 300), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_top_k_ids_equal_a_full_sort(size, k, seed):
    row = np.random.default_rng(seed).integers(-50, 50, size).astype(np.float32)
    row[seed % size] = -np.inf
    expected = sorted(range(size), key=lambda i: (-row[i], i))[:k]
    assert top_k(row, k).tolist() == expected


def test_minus_infinity_is_never_drawn():
    row = [-math.inf, 0.0, -math.inf, 0.0]
    drawn = {choose(row, position=position, seed=2, top_k=4).token_id for position in range(100)}
    assert drawn == {1, 3}


def test_a_row_of_a_batch_gives_what_it_gives_alone():
    batch = np.random.default_rng(1).normal(size=(8, 500)).astype(np.float32)
    params = SamplingParams(top_p=0.95, repetition_penalty=1.2)
    prompts = [range(row) for row in range(8)]
    strided = np.asfortranarray(batch)
    for row in range(8):
        alone = sample(batch[row].copy(), params, TokenCounts(prompts[row]), position=3, seed=row)
        assert sample(strided[row], params, TokenCounts(prompts[row]), position=3, seed=row) == alone


# ---- log probabilities


def test_logprobs_are_of_the_unmodified_distribution():
    token = choose(np.log([0.2, 0.5, 0.3]), temperature=0, logit_bias={0: 9}, logprobs=2)
    assert token.token_id == 0
    assert token.logprob == pytest.approx(math.log(0.2), abs=1e-7)
    assert [i for i, _ in token.top_logprobs] == [1, 2]
    assert [p for _, p in token.top_logprobs] == pytest.approx([math.log(0.5), math.log(0.3)], abs=1e-7)


def test_logprobs_without_alternatives_and_without_any():
    assert choose([0.0, 0.0], temperature=0, logprobs=0) == SampledToken(0, pytest.approx(-math.log(2)), ())
    assert choose([0.0, 0.0], temperature=0) == SampledToken(0)


def test_logprobs_of_a_row_that_a_bias_rescued():
    with pytest.raises(ModelError, match="nan at token id 0"):
        choose([math.nan, 1], temperature=0, stop_token_ids=[0], min_tokens=1, logprobs=1)


# ---- parameters


def test_lists_and_json_keys_are_accepted():
    params = SamplingParams(stop=["a"], stop_token_ids=[1], logit_bias={"12": 1})
    assert (params.stop, params.stop_token_ids, params.logit_bias) == (("a",), (1,), {12: 1})
    assert SamplingParams(stop="end").stop == ("end",)
    assert SamplingParams(max_tokens=None, min_tokens=10**6).max_tokens is None


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"temperature": "1"},
        {"temperature": True},
        {"temperature": 10**400},
        {"top_k": -1},
        {"top_k": 1.5},
        {"top_p": 0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"min_p": 2},
        {"repetition_penalty": 0},
        {"repetition_penalty": 1e-300},
        {"presence_penalty": 3},
        {"frequency_penalty": None},
        {"logit_bias": [1]},
        {"logit_bias": {"x": 1}},
        {"logit_bias": {"1" * 5000: 1}},
        {"logit_bias": {-1: 1}},
        {"logit_bias": {1: math.inf}},
        {"logit_bias": {1: 1e300}},
        {"logit_bias": dict.fromkeys(range(5000), 1)},
        {"seed": 2**64},
        {"seed": 1.0},
        {"stop": [""]},
        {"stop": ["a"] * 65},
        {"stop": ["a" * 1025]},
        {"stop": [1]},
        {"stop": 1},
        {"stop_token_ids": [-1]},
        {"stop_token_ids": "ab"},
        {"stop_token_ids": list(range(2000))},
        {"max_tokens": 0},
        {"max_tokens": 1.0},
        {"min_tokens": 200},
        {"min_tokens": -1},
        {"ignore_eos": 1},
        {"logprobs": 257},
    ],
    ids=lambda params: f"{params}"[:40],
)
def test_a_bad_parameter_is_named(params):
    (name,) = params
    with pytest.raises(RequestError, match=f"^{name}: found .*, expected ") as error:
        SamplingParams(**params)
    assert len(str(error.value)) < 300
