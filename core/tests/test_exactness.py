"""The same tokens, to the bit: whatever is cached, whoever else is there, however little room there is."""

from __future__ import annotations

import asyncio
import random
import time

import numpy as np
import pytest

from realizar.backend import Bucket
from realizar.engine import LLM, EngineStats
from realizar.errors import DeadlineExceeded, RequestError
from realizar.sampling import SamplingParams

SYSTEM = "You are a helpful assistant. Be brief, be kind. "
PROMPTS = [SYSTEM + tail for tail in ("a", "ab", "abc", "What is the sky?", "x" * 30)] + [
    "Hi",
    "Once upon a time",
    "é…",
]


def params(i: int, **changes) -> SamplingParams:
    """Parameters that differ from request to request, with log probabilities to compare bits."""
    kinds = [{"temperature": 0}, {"seed": i, "top_p": 0.9}, {"seed": 7, "top_k": 20, "repetition_penalty": 1.2}]
    return SamplingParams(**{"max_tokens": 10 + i, "ignore_eos": True, "logprobs": 3, **kinds[i % 3], **changes})


def bits(completion) -> tuple:
    """All that must be equal."""
    return completion.token_ids, completion.text, completion.finish_reason, completion.logprobs


def settled(llm: LLM) -> EngineStats:
    """The numbers once nothing is left to do; the last block comes back a moment after the last piece."""
    deadline = time.monotonic() + 20
    while llm.stats.running or llm.stats.waiting:
        assert time.monotonic() < deadline, "the engine still works"
        time.sleep(0.002)
    assert llm.stats.blocks_used == 0
    return llm.stats


@pytest.fixture
def wanted(open_llm):
    """Each prompt answered alone by an engine that has seen nothing else."""
    answers = []
    for i, prompt in enumerate(PROMPTS):
        llm = open_llm(backend="exact", prefix_cache=False)
        answers.append(bits(llm.generate(prompt, params(i))))
        llm.close()
    return answers


def crowd(llm: LLM, times: int = 1) -> list[list[tuple]]:
    """All prompts at once, `times` over; the answers of each prompt."""
    streams = [(i, llm.stream(prompt, params(i))) for _ in range(times) for i, prompt in enumerate(PROMPTS)]
    answers: list[list[tuple]] = [[] for _ in PROMPTS]
    for i, stream in streams:
        answers[i].append(bits(stream.completion()))
    return answers


@pytest.mark.parametrize("prefix_cache", [True, False], ids=["cache", "no cache"])
@pytest.mark.parametrize("limit", [None, Bucket(7, 3, 5)], ids=["wide", "narrow"])
def test_in_a_crowd(open_llm, monkeypatch, wanted, prefix_cache, limit):
    if limit is not None:
        monkeypatch.setattr("realizar.engine.sizes.LIMIT", limit)
    llm = open_llm(backend="exact", prefix_cache=prefix_cache)
    assert crowd(llm, 2) == [[answer] * 2 for answer in wanted]
    assert (llm.stats.prefix_hits > 0) == prefix_cache
    again = [llm.generate(prompt, params(i)) for i, prompt in enumerate(PROMPTS)]
    assert [bits(answer) for answer in again] == wanted
    assert [answer.cached_tokens > 0 for answer in again] == [prefix_cache and len(p) >= 16 for p in PROMPTS]
    settled(llm)


@pytest.mark.parametrize("prefix_cache", [True, False], ids=["cache", "no cache"])
def test_with_hardly_any_room(open_llm, monkeypatch, wanted, prefix_cache):
    monkeypatch.setattr("realizar.engine.sizes.CACHE_NBYTES", 1)
    monkeypatch.setattr("realizar.engine.sizes.BLOCK_SIZE", 4)
    llm = open_llm(backend="exact", prefix_cache=prefix_cache, max_model_len=112)
    assert llm.stats.blocks_total == 28
    assert crowd(llm, 3) == [[answer] * 3 for answer in wanted]
    assert settled(llm).preemptions > 0


def test_whatever_is_cancelled_beside_it(open_llm, monkeypatch, wanted):
    """A storm of requests that are dropped at any moment leaves no trace."""
    monkeypatch.setattr("realizar.engine.sizes.CACHE_NBYTES", 1 << 17)
    llm, rng = open_llm(backend="exact"), random.Random(0)
    for _ in range(6):
        doomed = [llm.stream(rng.choice(PROMPTS), params(rng.randrange(9), max_tokens=40)) for _ in range(12)]
        kept = [(i, llm.stream(prompt, params(i), priority=rng.randrange(3))) for i, prompt in enumerate(PROMPTS)]
        for stream in doomed:
            for _ in range(rng.randrange(3)):
                next(stream)
            stream.close()
        assert [bits(stream.completion()) for _, stream in kept] == wanted
    assert settled(llm).cancelled > 30


def test_scores_are_the_same_bits_beside_cached_text(open_llm):
    llm, fresh = open_llm(backend="exact"), open_llm(backend="exact", prefix_cache=False)
    llm.generate(PROMPTS[4], params(0))
    ids = llm.tokenizer.encode(PROMPTS[4])
    assert np.array_equal(llm.logits(ids), fresh.logits(ids))


@pytest.mark.parametrize(
    ("draft", "room"),
    [
        ("prompt-lookup", "wide"), ("prompt-lookup", "narrow"), ("prompt-lookup", "scarce"), ("same model", "narrow"),
        ("other model", "scarce"),
    ],
)  # fmt: skip
def test_with_guesses(open_llm, write_model, monkeypatch, wanted, draft, room):
    if room == "narrow":
        monkeypatch.setattr("realizar.engine.sizes.LIMIT", Bucket(7, 3, 5))
    if room == "scarce":
        monkeypatch.setattr("realizar.engine.sizes.CACHE_NBYTES", 1)
        monkeypatch.setattr("realizar.engine.sizes.BLOCK_SIZE", 4)
    models = {"same model": write_model(), "other model": write_model(seed=5)}
    llm = open_llm(backend="exact", draft=models.get(draft, draft), num_drafts=6, max_model_len=112)
    assert [bits(llm.generate(prompt, params(i))) for i, prompt in enumerate(PROMPTS)] == wanted
    assert crowd(llm, 2) == [[answer] * 2 for answer in wanted]
    stats = settled(llm)
    assert stats.drafted_tokens >= stats.accepted_tokens
    assert stats.drafted_tokens > 0
    assert (stats.preemptions > 0) == (room == "scarce")


def test_a_draft_that_is_the_model_itself_is_right_when_greedy(open_llm, write_model):
    llm = open_llm(backend="exact", draft=write_model(), num_drafts=4)
    llm.generate("The sky", params(0, max_tokens=31))
    stats = settled(llm)
    assert (stats.drafted_tokens, stats.accepted_tokens) == (24, 24)
    assert stats.steps == 1 + 6


class TestChoices:
    """Several completions of one prompt."""

    def test_each_is_reproducible_and_the_first_is_that_of_one(self, open_llm):
        llm = open_llm(backend="exact")
        several = llm.choices(PROMPTS[3], params(1, n=5))
        assert [choice.index for choice in several] == list(range(5))
        assert len({choice.token_ids for choice in several}) == 5
        assert bits(several[0]) == bits(llm.generate(PROMPTS[3], params(1)))
        other = open_llm(backend="exact", prefix_cache=False)
        assert [bits(c) for c in other.choices(PROMPTS[3], params(1, n=5))] == [bits(c) for c in several]
        assert [bits(c) for c in other.choices(PROMPTS[3], params(1, n=2))] == [bits(c) for c in several[:2]]

    @pytest.mark.parametrize("prefix_cache", [True, False], ids=["cache", "no cache"])
    def test_the_prompt_is_computed_once(self, open_llm, prefix_cache):
        llm = open_llm(backend="exact", prefix_cache=prefix_cache)
        several = llm.choices(PROMPTS[4], params(1, n=4, max_tokens=1))
        prompt = len(several[0].prompt_token_ids)
        shared = (prompt - 1) // 16 * 16
        assert [choice.cached_tokens for choice in several] == [0, *[shared] * 3]
        assert settled(llm).computed_tokens == prompt + 3 * (prompt - shared)

    def test_greedy_choices_are_equal(self, open_llm):
        several = open_llm(backend="exact").choices("Hi", params(0, n=3))
        assert len({bits(choice) for choice in several}) == 1

    def test_without_a_seed_they_differ(self, open_llm):
        several = open_llm().choices("Hi", params(1, n=3, seed=None))
        assert len({choice.token_ids for choice in several}) == 3

    def test_pieces_say_whose_they_are(self, open_llm):
        llm = open_llm(backend="exact")
        texts, done = {}, {}
        for piece in llm.stream("Hi", params(1, n=3)):
            texts[piece.index] = texts.get(piece.index, "") + piece.text
            if piece.completion is not None:
                done[piece.index] = piece.completion
        assert sorted(done) == [0, 1, 2]
        assert texts == {i: completion.text for i, completion in done.items()}
        assert all(completion.index == i for i, completion in done.items())

    def test_asyncio(self, open_llm):
        llm = open_llm(backend="exact")
        got = [bits(c) for c in asyncio.run(llm.achoices("Hi", params(1, n=3)))]
        assert got == [bits(c) for c in llm.choices("Hi", params(1, n=3))]

    def test_one_completion_cannot_be_several(self, open_llm):
        llm = open_llm()
        for ask in (llm.generate, llm.chat, lambda *args: asyncio.run(llm.agenerate(*args))):
            with pytest.raises(RequestError, match=r"n: found 2, expected 1 .* use choices"):
                ask("Hi", params(0, n=2))
        with pytest.raises(RequestError, match="n: found 2"):
            asyncio.run(llm.achat([{"role": "user", "content": "Hi"}], params(0, n=2)))

    def test_closing_the_stream_cancels_all(self, open_llm):
        llm = open_llm(backend="slow")
        stream = llm.stream("Hi", params(1, n=3, max_tokens=200))
        next(stream)
        stream.close()
        assert settled(llm).cancelled == 3

    def test_an_error_of_one_ends_all(self, open_llm):
        llm = open_llm(backend="faulty")
        stream = llm.stream([5, 298], params(1, n=3))
        with pytest.raises(Exception, match="nan"):
            list(stream)
        assert list(stream) == []


class TestService:
    """Priorities and deadlines, as callers give them."""

    def test_a_deadline_ends_a_request_with_what_it_had(self, open_llm):
        llm = open_llm(backend="slow")
        seen = []
        with pytest.raises(DeadlineExceeded, match=r"within its deadline of 0\.2 s, with \d+ tokens") as caught:
            seen += llm.stream("a", params(0, max_tokens=200), deadline_s=0.2)
        assert caught.value.allowed_s == pytest.approx(0.2)
        assert 0 < caught.value.num_generated < 20
        with pytest.raises(DeadlineExceeded):
            asyncio.run(llm.agenerate("a", params(0, max_tokens=200), deadline_s=0.1))
        assert settled(llm).failed == 2

    def test_in_time(self, open_llm):
        assert len(open_llm().generate("a", params(0), deadline_s=60).token_ids) == 10

    @pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf"), True, "1"], ids=str)
    def test_deadlines_that_are_none(self, open_llm, bad):
        with pytest.raises(RequestError, match="deadline_s: found .* expected seconds"):
            open_llm().generate("a", deadline_s=bad)

    @pytest.mark.parametrize("bad", [1001, -1001, 0.5, True, None], ids=str)
    def test_priorities_that_are_none(self, open_llm, bad):
        with pytest.raises(RequestError, match="priority: found .* expected an integer from -1000 to 1000"):
            open_llm().generate("a", priority=bad)

    def test_the_urgent_one_is_done_first(self, open_llm, monkeypatch):
        monkeypatch.setattr("realizar.engine.sizes.LIMIT", Bucket(64, 1, 8))
        llm = open_llm(backend="slow")
        first, other, urgent = (llm.stream("a", params(0, max_tokens=8), priority=priority) for priority in (0, 0, 5))
        urgent.completion()
        assert llm.stats.finished <= 1
        assert [len(s.completion().token_ids) for s in (first, other)] == [8, 8]
