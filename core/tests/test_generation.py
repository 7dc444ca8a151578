"""One request, fed logits by hand: text, stops, limits, log probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest

from realizar.engine.generation import Generation
from realizar.engine.result import Piece
from realizar.errors import ModelError
from realizar.sampling import SamplingParams

EOS = 2


def byte_ids(text: str) -> list[int]:
    return [3 + byte for byte in text.encode()]


class Harness:
    """A generation whose logits point at the ids it is given."""

    def __init__(self, tokenizer, *, total: int = 1000, prompt=(5, 6), **params) -> None:
        self.items: list[Piece | BaseException] = []
        params = SamplingParams(**{"temperature": 0, "max_tokens": None, **params})
        self.generation = Generation(prompt, params, tokenizer, total, 1.5, self.items.append)

    def feed(self, *ids: int) -> list[int | None]:
        """What the engine gets back for each."""
        answers = []
        for token_id in ids:
            self.generation.sequence.mark_scheduled()
            logits = np.zeros((3, 300), np.float32)
            logits[-1, token_id] = 5.0
            answers.append(self.generation.sequence.on_logits(logits))
        return answers

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.items)

    @property
    def completion(self):
        *others, last = self.items
        assert all(piece.completion is None for piece in others)
        assert last.completion is not None
        assert last.completion.text == self.text
        assert last.completion.token_ids == tuple(i for piece in self.items for i in piece.token_ids)
        return last.completion


def test_end_token(tokenizer):
    run = Harness(tokenizer)
    hi = byte_ids("hi")
    assert run.feed(*hi, EOS) == [*hi, None]
    done = run.completion
    assert (done.text, done.token_ids, done.finish_reason) == ("hi", (*hi, EOS), "stop")
    assert (done.prompt_token_ids, done.logprobs) == ((5, 6), None)
    assert [piece.text for piece in run.items] == ["h", "i", ""]


def test_ignore_eos(tokenizer):
    run = Harness(tokenizer, ignore_eos=True, total=5)
    assert run.feed(EOS, *byte_ids("hi"))[-1] is None
    assert (run.completion.text, run.completion.finish_reason) == ("hi", "length")


@pytest.mark.parametrize(("skip", "text"), [(True, "hi"), (False, "h<|im_start|>i")])
def test_control_tokens_are_part_of_the_text_if_asked_for(tokenizer, skip, text):
    run = Harness(tokenizer, skip_special_tokens=skip)
    run.feed(*byte_ids("h"), 1, *byte_ids("i"), EOS)
    assert run.completion.text == text


def test_stop_ids_stay_out_of_the_text_and_in_the_ids(tokenizer):
    run = Harness(tokenizer, stop_token_ids=[3 + ord("!")])
    assert run.feed(*byte_ids("ok!"))[-1] is None
    assert (run.completion.text, run.completion.finish_reason) == ("ok", "stop")
    assert run.completion.token_ids[-1] == 3 + ord("!")


def test_stop_ids_hold_although_eos_is_ignored(tokenizer):
    run = Harness(tokenizer, stop_token_ids=[EOS], ignore_eos=True)
    assert run.feed(EOS) == [None]
    assert run.completion.finish_reason == "stop"


@pytest.mark.parametrize(("fed", "text"), [("so END and", "so "), ("ENDs", ""), ("EN END", "EN ")])
def test_stop_strings(tokenizer, fed, text):
    run = Harness(tokenizer, stop=["END"])
    ids = byte_ids(fed[: fed.index("END") + 3])
    assert run.feed(*ids) == [*ids[:-1], None]
    assert (run.completion.text, run.completion.finish_reason) == (text, "stop")


def test_what_may_become_a_stop_string_is_held_back(tokenizer):
    run = Harness(tokenizer, stop=["END"])
    run.feed(*byte_ids("aENb"))
    assert [piece.text for piece in run.items] == ["a", "", "", "ENb"]


@pytest.mark.parametrize("last", [EOS, 3 + ord("N")], ids=["end token", "length"])
def test_what_was_held_back_comes_at_the_end(tokenizer, last):
    run = Harness(tokenizer, stop=["END"], total=5)
    run.feed(*byte_ids("aE"), last)
    assert run.completion.text == ("aE" if last == EOS else "aEN")


def test_a_stop_string_may_end_with_the_last_token(tokenizer):
    run = Harness(tokenizer, stop=["END"], total=5)
    run.feed(*byte_ids("END"))
    assert (run.completion.text, run.completion.finish_reason) == ("", "stop")


@pytest.mark.parametrize("room", [1, 2, 5])
def test_length(tokenizer, room):
    run = Harness(tokenizer, total=2 + room)
    ids = byte_ids("abcdef")[:room]
    assert run.feed(*ids) == [*ids[:-1], None]
    assert (run.completion.text, run.completion.finish_reason) == ("abcdef"[:room], "length")


def test_an_end_token_at_the_limit_is_a_stop(tokenizer):
    run = Harness(tokenizer, total=3)
    run.feed(EOS)
    assert run.completion.finish_reason == "stop"


def test_half_a_character_waits_for_its_other_half(tokenizer):
    run = Harness(tokenizer)
    run.feed(*byte_ids("é…"), EOS)
    assert [piece.text for piece in run.items] == ["", "é", "", "", "…", ""]


def test_half_a_character_at_the_end_is_a_replacement(tokenizer):
    run = Harness(tokenizer, total=3)
    run.feed(byte_ids("é")[0])
    assert run.completion.text == "\ufffd"


def test_a_stop_string_in_the_very_last_text_counts(tokenizer):
    run = Harness(tokenizer, total=3, stop=["\ufffd"])
    run.feed(byte_ids("é")[0])
    assert run.completion.text == ""


def test_min_tokens_bans_the_end(tokenizer):
    run = Harness(tokenizer, min_tokens=2, total=10)
    answers = run.feed(EOS, EOS, EOS)
    assert answers[0] != EOS and answers[1] != EOS
    assert answers[2] is None
    assert len(run.completion.token_ids) == 3


def test_logprobs(tokenizer):
    run = Harness(tokenizer, logprobs=2, total=4)
    run.feed(*byte_ids("ab"))
    norm = math.log(math.exp(5) + 299)
    first, second = run.completion.logprobs
    assert run.items[0].logprobs == (first,)
    assert run.items[1].logprobs == (second,)
    assert (first.token_id, second.token_id) == tuple(byte_ids("ab"))
    assert first.logprob == pytest.approx(5 - norm)
    assert [token_id for token_id, _ in first.top] == [3 + ord("a"), 0]
    assert first.top[1][1] == pytest.approx(-norm)


def test_logprobs_of_the_chosen_token_alone(tokenizer):
    run = Harness(tokenizer, logprobs=0, total=3)
    run.feed(50)
    (only,) = run.completion.logprobs
    assert only.top == ()


def test_penalties_see_the_output(tokenizer):
    run = Harness(tokenizer, presence_penalty=2.0, frequency_penalty=2.0, total=10)
    first, second, third = run.feed(50, 50, 50)
    assert (first, second) == (50, 50)
    assert third != 50  # 5 - 2 - 2 * 2 < 0


def test_penalties_see_the_prompt(tokenizer):
    run = Harness(tokenizer, repetition_penalty=100.0, prompt=(50,), total=10, logit_bias={60: 1.0})
    assert run.feed(50) == [60]


def test_seed_decides(tokenizer):
    def ids(**params) -> tuple[int, ...]:
        run = Harness(tokenizer, temperature=1.0, ignore_eos=True, total=10, **params)
        run.feed(*range(50, 58))
        return run.completion.token_ids

    assert ids(seed=1) == ids(seed=1)
    assert ids(seed=1) != ids(seed=2)
    assert ids() != ids()  # one in 10^19 fails


def test_logits_that_are_no_numbers(tokenizer):
    run = Harness(tokenizer)
    with pytest.raises(ModelError, match="logits"):
        run.generation.sequence.on_logits(np.full((1, 300), np.nan, np.float32))
    assert run.items == []


def test_an_error_of_the_engine_is_passed_on(tokenizer):
    run = Harness(tokenizer)
    error = RuntimeError("device lost")
    run.generation.sequence.on_error(error)
    assert run.items == [error]


def test_timings(tokenizer):
    run = Harness(tokenizer, total=4)
    run.feed(50, 51)
    timings, sequence = run.completion.timings, run.generation.sequence
    assert (timings.load_s, timings.prompt_tokens) == (1.5, 2)
    assert timings.prefill_s >= 0 and timings.decode_s >= 0
    waited = sequence.scheduled_s - sequence.arrival_s
    assert timings.ttft_s == pytest.approx(waited + timings.prefill_s)
