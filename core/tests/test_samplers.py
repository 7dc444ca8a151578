"""Each sampler against its paper's definition in plain float64, and the chain against the samplers one by one."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from realizar.errors import PluginError, RequestError
from realizar.plugins import host
from realizar.sampling import (
    LogitsProcessorFactory,
    SamplerState,
    SamplingParams,
    TokenCounts,
    filters,
    sample,
    uniform,
)
from realizar.sampling.candidates import Candidates
from realizar.sampling.dry import History, penalties
from realizar.testing import LogitsProcessorConformance

LOGITS = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=40).map(lambda row: np.array(row, np.float32))
SHARES = st.floats(0.01, 0.99)
NEAR = 1e-9
"""Closer to a boundary than this, two orders of the same sum may fall on different sides of it."""


def ids(candidates: Candidates) -> list[int]:
    return candidates.ids.tolist()


def softmax(logits) -> list[float]:
    highest = max(map(float, logits))
    weights = [math.exp(float(x) - highest) for x in logits]
    total = math.fsum(weights)
    return [w / total for w in weights]


def entropy(probabilities) -> float:
    return -math.fsum(p * math.log(p) for p in probabilities if p > 0)


def shortest(order, probabilities, share) -> tuple[list[int], float]:
    """The first of `order` until the share is held, and how near the boundary is."""
    kept, mass, margin = [], 0.0, 1.0
    for i in order:
        margin = min(margin, abs(mass - share))
        if mass >= share:
            break
        kept.append(i)
        mass += probabilities[i]
    return sorted(kept), min(margin, abs(mass - share))


@given(LOGITS, st.integers(1, 45))
def test_top_k(logits, k):
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    assert ids(filters.top_k(Candidates.of(logits), k)) == sorted(order[:k])


@given(LOGITS, SHARES)
def test_top_p(logits, share):
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    expected, margin = shortest(order, softmax(logits), share)
    assume(margin > NEAR)
    assert ids(filters.top_p(Candidates.of(logits), share)) == expected


@given(LOGITS, SHARES)
def test_min_p(logits, share):
    probabilities = softmax(logits)
    assume(all(abs(p / max(probabilities) - share) > NEAR for p in probabilities))
    expected = [i for i, p in enumerate(probabilities) if p >= share * max(probabilities)]
    assert ids(filters.min_p(Candidates.of(logits), share)) == expected


@given(LOGITS, SHARES)
def test_typical_p_is_meisters_set(logits, share):
    """Meister et al. 2022, section 4: the smallest set of the least |-log p - H| that holds the share."""
    logits = np.unique(logits)
    probabilities = softmax(logits)
    distance = [abs(-math.log(p) - entropy(probabilities)) for p in probabilities]
    order = sorted(range(len(logits)), key=lambda i: distance[i])
    ranked = sorted(distance)
    assume(all(b - a > NEAR for a, b in zip(ranked, ranked[1:], strict=False)))
    expected, margin = shortest(order, probabilities, share)
    assume(margin > NEAR)
    assert ids(filters.typical_p(Candidates.of(logits), share)) == expected


def test_typical_p_may_leave_out_the_likeliest():
    """Entropy 3.6: a token of probability 0.3 (surprise 1.2) is farther from it than 70 of 0.01 (4.6)."""
    logits = np.log(np.array([0.3] + [0.01] * 70, np.float32))
    assert 0 not in ids(filters.typical_p(Candidates.of(logits), 0.5))


@given(LOGITS, st.floats(0.1, 4))
def test_top_n_sigma_is_tangs_threshold(logits, n):
    """Tang et al. 2024, section 3: keep logits of at least M - n sigma."""
    row = [float(x) for x in logits]
    mean = math.fsum(row) / len(row)
    sigma = math.sqrt(math.fsum((x - mean) ** 2 for x in row) / len(row))
    assume(all(abs(x - (max(row) - n * sigma)) > NEAR for x in row))
    expected = [i for i, x in enumerate(row) if x >= max(row) - n * sigma]
    assert ids(filters.top_n_sigma(Candidates.of(logits), n)) == expected


@given(LOGITS, st.floats(0.1, 4), st.floats(0.1, 10))
def test_top_n_sigma_does_not_depend_on_the_temperature(logits, n, degrees):
    plain, heated = Candidates.of(logits), filters.temperature(Candidates.of(logits), degrees)
    sigma, distances = plain.logits.std(), -plain.log_weights
    assume(np.all(np.abs(distances - n * sigma) > 1e-6 * (1 + sigma)))
    assert ids(filters.top_n_sigma(plain, n)) == ids(filters.top_n_sigma(heated, n))


@given(LOGITS, st.floats(0.01, 0.5), SHARES, st.floats(0, 1, exclude_max=True))
def test_xtc_leaves_the_last_of_the_top_choices(logits, threshold, probability, u):
    probabilities = softmax(logits)
    assume(all(abs(p - threshold) > NEAR for p in probabilities))
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    choices = [i for i in order if probabilities[i] >= threshold]
    excluded = choices[:-1] if u < probability else []
    expected = [i for i in range(len(logits)) if i not in excluded]
    assert ids(filters.xtc(Candidates.of(logits), threshold, probability, u)) == expected


@given(LOGITS, st.floats(0, 12))
def test_mirostat_cuts_what_surprises_more(logits, limit):
    """Basu et al. 2021, algorithm 1 without the estimate: surprise is -log2 p."""
    surprises = [-math.log2(p) if p else math.inf for p in softmax(logits)]
    assume(all(abs(s - limit) > NEAR for s in surprises))
    best = min(range(len(logits)), key=lambda i: (-logits[i], i))
    expected = [i for i, s in enumerate(surprises) if s <= limit or i == best]
    assert ids(filters.mirostat(Candidates.of(logits), limit)) == expected


@given(LOGITS, st.floats(0, 1), st.floats(0.1, 2), st.floats(0.1, 3))
def test_dynamic_temperature_follows_the_entropy(logits, low, width, exponent):
    probabilities = softmax(logits)
    share = entropy(probabilities) / math.log(len(logits)) if len(logits) > 1 else None
    degrees = 1.0 if share is None else max(low + width * max(0.0, min(1.0, share)) ** exponent, 1e-6)
    found = filters.dynamic_temperature(Candidates.of(logits), low, low + width, exponent)
    expected = softmax([(float(x) - float(max(logits))) / degrees for x in logits])
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-6, atol=1e-12)


# ---- DRY


def longest_repeat(history: list[int], token_id: int, breakers: set[int]) -> int:
    """By the definition: over all earlier occurrences, how long what stands before equals what stands last."""
    best = 0
    for i in range(1, len(history)):
        if history[i] != token_id:
            continue
        length = 0
        while length < i and history[i - 1 - length] == history[-1 - length] not in breakers:
            length += 1
        best = max(best, length)
    return best


@given(st.lists(st.integers(0, 3), max_size=40), st.sets(st.integers(0, 3), max_size=1), st.integers(2, 30))
def test_dry_finds_the_longest_repeat_of_each_token(history, breakers, last_n):
    found = History(history, last_n, breakers.__contains__).repeats()
    window = history[-last_n:]
    expected = {i: longest_repeat(window, i, breakers) for i in range(4)} if window else {}
    assert found == {i: length for i, length in expected.items() if length}


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(2, 10))
def test_a_history_that_grows_is_the_last_of_it(history, last_n):
    grown = History([], last_n, lambda _: False)
    for token_id in history:
        grown.append(token_id)
    assert grown.repeats() == History(history, last_n, lambda _: False).repeats()


def test_dry_penalty_by_hand():
    taken_from, taken = penalties({7: 1, 3: 2, 5: 4}, 0.8, 1.75, 2)
    assert taken_from.tolist() == [3, 5]
    np.testing.assert_allclose(taken, [0.8, 0.8 * 1.75**2])
    assert np.isfinite(penalties({1: 256}, 1e6, 1e3, 1)[1]).all()


# ---- the chain


def start(params: SamplingParams, prompt=(), tokenizer=None) -> SamplerState:
    return SamplerState.start(params, prompt, tokenizer)


def choose(logits, position=0, seed=0, state=None, **options):
    params = SamplingParams(**options)
    row = np.asarray(logits, np.float32)
    return sample(row, params, TokenCounts(), position=position, seed=seed, state=state or start(params))


FAST_OPTIONS = {
    "temperature": st.sampled_from([0, 0.5, 1, 2]), "top_k": st.integers(1, 20), "top_p": SHARES, "min_p": SHARES,
}  # fmt: skip


@given(LOGITS, st.integers(0, 2**32), st.fixed_dictionaries({}, optional=FAST_OPTIONS))
def test_the_long_way_chooses_what_the_short_way_does(logits, seed, options):
    """Drawn a few times, so that a boundary as near as sums are exact cannot decide."""
    agree = [
        choose(logits, position=p, seed=seed, **options).token_id
        == choose(logits, position=p, seed=seed, explain=True, **options).token_id
        for p in range(3)
    ]
    assert sum(agree) >= 2


@given(st.integers(0, 2**32), st.sets(st.integers(0, 299), min_size=1, max_size=60),
       st.fixed_dictionaries({}, optional=FAST_OPTIONS))  # fmt: skip
def test_a_mask_is_as_if_the_others_had_no_weight(seed, allowed, options):
    logits = np.random.default_rng(seed).standard_normal(300).astype(np.float32)
    mask = np.isin(np.arange(304), list(allowed))
    masked = np.where(mask[:300], logits, -np.inf).astype(np.float32)
    params = SamplingParams(**options)
    for position in range(3):
        found = sample(logits, params, TokenCounts(), position=position, seed=seed, allowed=mask)
        assert found == choose(masked, position=position, seed=seed, **options)
        assert found.token_id in allowed


def test_the_draw_inverts_the_cumulative_distribution():
    logits = np.array([0.3, 1.1, -0.2, 0.9])
    drawn = [choose(logits, position=p, seed=5, typical_p=0.999999).token_id for p in range(300)]
    order = sorted(range(4), key=lambda i: -logits[i])
    cumulative = np.cumsum([softmax(logits)[i] for i in order])
    assert drawn == [order[int(np.searchsorted(cumulative, uniform(5, p), "right"))] for p in range(300)]


def test_the_order_matters_and_what_is_not_named_does_not_act():
    logits = [3.0, 2.9, 2.8, -5.0]
    hot_first = choose(logits, explain=True, temperature=50, min_p=0.5, samplers=["temperature", "min_p"])
    cut_first = choose(logits, explain=True, temperature=50, min_p=0.5, samplers=["min_p", "temperature"])
    assert [step.name for step in cut_first.explanation] == ["min_p", "temperature"]
    assert hot_first.explanation[-1].after == 4 and cut_first.explanation[-1].after == 3
    assert choose(logits, explain=True, top_k=1, temperature=0.5, samplers=["temperature"]).explanation[-1].after == 4


def test_an_explanation_says_what_each_step_took():
    logits = np.log([0.5, 0.25, 0.125, 0.125])
    found = choose(logits, explain=True, logit_bias={3: -math.inf}, top_k=2)
    bias, top_k = found.explanation
    assert (bias.name, bias.before, bias.after) == ("logit_bias", 4, 3)
    assert bias.removed == pytest.approx(0.125)
    assert (top_k.name, top_k.before, top_k.after) == ("top_k", 3, 2)
    assert top_k.removed == pytest.approx(0.125 / 0.875)
    assert [i for i, _ in top_k.top] == [0, 1]
    assert [p for _, p in top_k.top] == pytest.approx([2 / 3, 1 / 3])


def test_greedy_heeds_dry_and_no_filter(tokenizer):
    params = SamplingParams(temperature=0, dry_multiplier=5, xtc_probability=1, dry_sequence_breakers=["#"])
    state = start(params, [10, 11, 12, 10, 11], tokenizer)
    logits = np.zeros(300, np.float32)
    logits[12], logits[13] = 2, 1
    assert sample(logits, params, TokenCounts(), position=0, seed=0, state=state).token_id == 13
    state = start(params, [10, 11, 12, 10, 3 + ord("#")], tokenizer)
    assert sample(logits, params, TokenCounts(), position=0, seed=0, state=state).token_id == 12


def test_xtc_draws_apart_from_the_token():
    logits = np.log([0.5, 0.3, 0.2])
    acted = [
        choose(logits, position=p, xtc_probability=0.5, xtc_threshold=0.25, explain=True).explanation[0].after == 2
        for p in range(400)
    ]
    assert acted == [uniform(0, p, 1) < 0.5 for p in range(400)]
    assert 150 < sum(acted) < 250


def test_the_chain_takes_the_temperature_from_the_entropy():
    """Two equal tokens: the entropy is all it can be, so the temperature is the highest."""
    (step,) = choose([1.0, 1.0], temperature=0.7, dynatemp_range=0.5, explain=True).explanation
    assert (step.name, step.after) == ("temperature", 2)
    sure = choose([30.0, 0.0], temperature=0.5, dynatemp_range=0.5, explain=True).explanation[0]
    assert sure.top[0] == (0, pytest.approx(1.0))


def test_mirostat_approaches_its_target():
    rng = np.random.default_rng(0)
    logits = (rng.standard_normal(5000) * 2).astype(np.float32)
    params = SamplingParams(mirostat=2, mirostat_tau=7.0, mirostat_eta=0.1)
    state, surprises = start(params), []
    log2 = np.log2(np.array(softmax(logits)))
    assert state.mirostat_limit == 14
    for position in range(1500):
        token_id = sample(logits, params, TokenCounts(), position=position, seed=1, state=state).token_id
        surprises.append(-log2[token_id])
    assert np.mean(surprises[500:]) == pytest.approx(7.0, abs=0.1)


def test_mirostat_by_hand():
    params = SamplingParams(mirostat=2, mirostat_tau=1.0, mirostat_eta=0.5)
    state = start(params)
    chosen = sample(
        np.log([0.5, 0.25, 0.25]).astype(np.float32), params, TokenCounts(), position=0, seed=0, state=state
    )
    surprise = {0: 1.0, 1: 2.0, 2: 2.0}[chosen.token_id]
    assert state.mirostat_limit == pytest.approx(2.0 - 0.5 * (surprise - 1.0))


@pytest.mark.parametrize(
    "options",
    [
        {"typical_p": 0}, {"top_n_sigma": -1}, {"xtc_probability": 2}, {"xtc_threshold": -1}, {"dry_multiplier": -1},
        {"dry_base": 0.5}, {"dry_allowed_length": 0}, {"dry_penalty_last_n": 1}, {"dry_penalty_last_n": 10**6},
        {"dry_sequence_breakers": [""]}, {"dry_sequence_breakers": ["x"] * 65}, {"dry_sequence_breakers": "x"},
        {"mirostat": 1}, {"mirostat_tau": -1}, {"mirostat_eta": 2}, {"dynatemp_range": -1}, {"dynatemp_exponent": -1},
        {"samplers": ["top_q"]}, {"samplers": ["top_k", "top_k"]}, {"samplers": "top_k"}, {"logits_processors": [5]},
        {"logits_processors": ["x"] * 17}, {"explain": 1}, {"skip_special_tokens": None},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_value_is_refused(options):
    (name,) = options
    with pytest.raises(RequestError, match=name):
        SamplingParams(**options)


def test_the_default_way_sorts_no_vocabulary():
    """262144 tokens at the defaults, beside one stable sort of them: both on this machine, now."""
    logits = np.random.default_rng(0).standard_normal(262_144).astype(np.float32)

    def best_of(call, rounds=5):
        times = []
        for _ in range(rounds):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
        return min(times)

    usual = best_of(lambda: choose(logits, temperature=0.7, top_k=40, top_p=0.95))
    assert usual < best_of(lambda: np.argsort(-logits, kind="stable"))


# ---- processors


def test_a_processor_sees_prompt_and_output_and_changes_logits(llm):
    seen = []

    def only_b(prompt_ids, output_ids, logits):
        seen.append((prompt_ids, output_ids))
        return np.where(np.arange(len(logits)) == 3 + ord("b"), logits, -np.inf)

    done = llm.generate("x", SamplingParams(logits_processors=[only_b], max_tokens=3))
    assert done.text == "bbb"
    assert [output for _, output in seen] == [(), (101,), (101, 101)]
    assert all(prompt == done.prompt_token_ids for prompt, _ in seen)


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        (lambda prompt, output, logits: logits[:-1], "gave shape"),
        (lambda prompt, output, logits: logits * np.nan, "gave NaN"),
        (lambda prompt, output, logits: 1 / 0, "failed: ZeroDivisionError"),
        (lambda prompt, output, logits: None, "gave"),
    ],
)
def test_a_processor_that_breaks_its_contract_ends_its_request_by_name(llm, processor, message):
    with pytest.raises(RequestError, match=f"logits processor '<lambda>' {message}"):
        llm.generate("x", SamplingParams(logits_processors=[processor], max_tokens=3))


PLUGIN = """
import numpy as np
from realizar.sampling import LogitsProcessorFactory

class Upper(LogitsProcessorFactory):
    name = "upper"
    def start(self, prompt_ids, tokenizer):
        keep = np.array([tokenizer.token_bytes(i).isupper() for i in range(len(tokenizer.spec.tokens))])
        return lambda prompt, output, logits: np.where(keep[: len(logits)], logits, -np.inf)

@realizar.hookimpl
def realizar_logits_processors(): return [Upper()]
"""


def test_a_plugins_processor_is_named(site, monkeypatch, tokenizer):
    site.add("upper", body=PLUGIN)
    found = site.host()
    monkeypatch.setattr("realizar.plugins.host", lambda: found)
    params = SamplingParams(logits_processors=["upper"])
    chosen = sample(np.arange(300, dtype=np.float32)[::-1], params, TokenCounts(), position=0, seed=0,
                    state=start(params, (), tokenizer))  # fmt: skip
    assert tokenizer.token_bytes(chosen.token_id).isupper()


def test_a_processor_that_there_is_not_is_an_error_before_anything_is_generated(llm):
    assert host().contributions("logits_processor") == []
    with pytest.raises(PluginError, match="unknown logits_processor 'gone'; installed: none"):
        llm.stream("x", SamplingParams(logits_processors=["gone"]))


def test_a_stream_explains_each_token(llm):
    pieces = list(llm.stream("x", SamplingParams(explain=True, top_k=5, max_tokens=3, seed=1)))
    assert [[step.name for step in piece.explanation] for piece in pieces] == [["top_k"]] * 3


# ---- the kit


def kit(start):
    """The conformance kit, set up for a factory that starts with this function."""

    class Factory(LogitsProcessorFactory):
        name = "made"

        def start(self, prompt_ids, tokenizer):
            return start()

    class Kit(LogitsProcessorConformance):
        def make_factory(self):
            return Factory()

    return Kit()


def counting():
    """A processor that remembers its own sequence."""
    calls = []

    def process(prompt, output, logits):
        calls.append(output)
        return logits / len(calls)

    return process


def shared():
    """Wrong: every sequence adds to one memory."""
    SHARED.append(1)
    return lambda prompt, output, logits: logits * len(SHARED)


SHARED: list[int] = []
TESTS = sorted(name for name in dir(LogitsProcessorConformance) if name.startswith("test_"))


@pytest.mark.parametrize("name", TESTS)
def test_the_kit_passes_a_processor_that_keeps_its_contract(plugins, name):
    getattr(kit(counting), name)()


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("test_a_row_stays_a_row_of_numbers", lambda: lambda prompt, output, logits: np.full_like(logits, -np.inf)),
        ("test_what_is_banned_stays_banned", lambda: lambda prompt, output, logits: np.zeros_like(logits)),
        ("test_the_same_sequence_gives_the_same_logits", shared),
        ("test_sequences_do_not_know_of_each_other", shared),
    ],
)
def test_the_kit_fails_a_processor_that_breaks_it(plugins, name, start):
    with pytest.raises(AssertionError):
        getattr(kit(start), name)()
