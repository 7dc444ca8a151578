"""Guesses: where they come from, how many a step computes, what becomes of them."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realizar.backend import Bucket, CacheSpec
from realizar.engine.block_manager import BlockManager
from realizar.engine.draft_model import DraftModel
from realizar.engine.engine import Engine
from realizar.engine.runner import ModelRunner
from realizar.engine.scheduler import Scheduler
from realizar.engine.sequence import Chunk, Sequence
from realizar.engine.speculation import LONGEST, SHORTEST, PromptLookup, Proposer
from realizar.errors import ModelError
from realizar.reference import NumpyBackend
from realizar.selection import build_graph
from realizar.testing.models import tiny_model


def sequence(ids, total: int = 1000) -> Sequence:
    return Sequence(list(ids), total, lambda rows: None, lambda error: None)


class TestPromptLookup:
    """What followed before follows again."""

    @pytest.mark.parametrize(
        ("ids", "guess"),
        [
            ([1, 2, 3, 4, 9, 1, 2], [3, 4, 9]),
            ([1, 2, 3, 1, 2, 7, 1, 2], [7, 1, 2]),  # the last time counts
            ([5, 1, 2, 3, 6, 1, 2, 8, 5, 1, 2], [3, 6, 1]),  # a longer run counts more
            ([1, 1, 1], [1]),
            ([1, 2, 3], []),
            ([1, 2, 9, 2], []),  # one token is no run
            ([1], []),
        ],
    )
    def test_guesses(self, ids, guess):
        assert PromptLookup().propose([sequence(ids)], 3) == [guess]

    @given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.integers(1, 5))
    def test_grown_token_by_token_as_at_once(self, ids, count):
        """Against the definition: the last earlier place of the longest run of the last tokens."""
        lookup, growing = PromptLookup(), sequence(ids[:1])
        for token_id in [*ids[1:], 0]:
            text, wanted = growing.token_ids, []
            for length in range(SHORTEST, LONGEST + 1):
                ends = [e for e in range(length, len(text)) if text[e - length : e] == text[len(text) - length :]]
                wanted = text[ends[-1] : ends[-1] + count] if ends else wanted
            assert lookup.propose([growing], count) == [wanted]
            growing.token_ids.append(token_id)

    def test_sequences_that_are_gone_are_forgotten(self):
        lookup, gone = PromptLookup(), sequence([1, 2, 3])
        lookup.propose([gone], 2)
        del gone
        assert len(lookup._seen) == 0


class Fixed(Proposer):
    """The same guesses for everybody; remembers what it was asked."""

    def __init__(self, guesses: list[int]) -> None:
        self.guesses, self.asked = guesses, []

    def propose(self, sequences, count):
        self.asked.append((len(sequences), count))
        return [self.guesses[:count] for _ in sequences]


class TestBudget:
    """Guesses take what nobody else needs."""

    def plan(self, limit: Bucket, decodes: int, guesses: int, num_blocks: int = 100, total: int = 1000):
        proposer = Fixed(list(range(guesses)))
        plan = Scheduler(limit, BlockManager(num_blocks, 4), proposer=proposer, num_drafts=8)
        for i in range(decodes):
            running = sequence([i, 1, 2], total)
            plan.add(running)
        for chunk in plan.schedule():
            chunk.sequence.num_computed += chunk.count
            chunk.sequence.token_ids.append(7)
        return plan, proposer

    @pytest.mark.parametrize(
        ("decodes", "tokens", "rows", "share"),
        [(1, 50, 50, 8), (2, 50, 50, 4), (3, 50, 50, 2), (8, 50, 50, 1), (1, 50, 4, 3), (2, 12, 6, 2), (1, 6, 50, 5)],
    )
    def test_a_share_for_everybody(self, decodes, tokens, rows, share):
        plan, proposer = self.plan(Bucket(tokens, 8, rows), decodes, 20)
        chunks = plan.schedule()
        assert proposer.asked == [(decodes, share)]
        assert [(c.count, c.num_rows, c.num_drafts) for c in chunks] == [(1 + share, 1 + share, share)] * decodes
        assert plan.counters.drafted_tokens == share * decodes

    @pytest.mark.parametrize(("decodes", "rows"), [(9, 50), (4, 4)])
    def test_none_where_shares_are_nothing(self, decodes, rows):
        plan, proposer = self.plan(Bucket(50, 10, rows), decodes, 20)
        assert [c.count for c in plan.schedule()] == [1] * decodes
        assert proposer.asked == []

    def test_not_beyond_what_may_be_generated(self):
        plan, _ = self.plan(Bucket(50, 8, 50), 1, 20, total=7)
        assert [c.num_drafts for c in plan.schedule()] == [2]  # tokens 4 and 5 are computed, 6 only chosen

    def test_nobody_gives_way_for_a_guess(self):
        plan, _ = self.plan(Bucket(50, 8, 50), 2, 20, num_blocks=3)
        assert [c.num_drafts for c in plan.schedule()] == [4, 0]
        assert plan.counters.preemptions == 0
        assert [len(s.block_table) for s in plan.running] == [2, 1]

    def test_guesses_are_gone_with_the_next_step(self):
        plan, proposer = self.plan(Bucket(50, 8, 50), 1, 20)
        plan.schedule()
        proposer.guesses = []
        assert [c.num_drafts for c in plan.schedule()] == [0]

    def test_a_proposer_that_fails_is_done_without(self, caplog):
        plan, proposer = self.plan(Bucket(50, 8, 50), 1, 20)
        proposer.guesses = None
        for _ in range(2):
            assert [(c.count, c.num_drafts) for c in plan.schedule()] == [(1, 0)]
        assert len(proposer.asked) == 1
        assert "guessing tokens failed" in caplog.text


class Counting:
    """A runner whose row for a token is [that token]; notes what it computes."""

    def __init__(self) -> None:
        self.steps: list[list[int]] = []

    def run(self, chunks: list[Chunk]) -> list[np.ndarray]:
        self.steps += [chunk.token_ids for chunk in chunks]
        rows = [np.array(c.token_ids[c.count - c.num_rows :], np.float32)[:, None] for c in chunks]
        for chunk in chunks:
            chunk.sequence.num_computed += chunk.count - chunk.num_drafts
        return rows


class TestAcceptance:
    """An engine that counts up, with guesses that are right, wrong, or too many."""

    def answer(self, guesses: list[int], *, output: int = 6) -> tuple[list[int], list[list[int]], Engine]:
        done, chosen, runner = threading.Event(), [], Counting()

        class Next(Proposer):
            def propose(self, sequences, count):
                return [[s.token_ids[-1] + g for g in guesses] for s in sequences]

        def on_logits(rows: np.ndarray) -> int | None:
            assert rows.shape == (1, 1)
            chosen.append(int(rows[0, 0]) + 1)
            if len(chosen) == output:
                done.set()
                return None
            return chosen[-1]

        plan = Scheduler(Bucket(50, 4, 50), BlockManager(20, 4), proposer=Next(), num_drafts=3)
        engine = Engine(runner, plan)
        engine.submit(Sequence([10], 1 + output, on_logits, lambda error: done.set()))
        assert done.wait(20)
        engine.close()
        return chosen, runner.steps, engine

    def test_right_guesses_save_steps(self):
        chosen, steps, engine = self.answer([1, 2, 3])
        assert chosen == [11, 12, 13, 14, 15, 16]
        assert steps == [[10], [11, 12, 13, 14], [15]]
        assert (engine.stats.drafted_tokens, engine.stats.accepted_tokens) == (3, 3)
        assert (engine.stats.generated_tokens, engine.stats.finished) == (6, 1)

    def test_after_a_wrong_guess_nothing_counts(self):
        chosen, steps, engine = self.answer([1, 9, 3])
        assert chosen == [11, 12, 13, 14, 15, 16]
        assert steps == [[10], [11, 12, 20, 14], [13, 14, 22], [15]]
        assert (engine.stats.drafted_tokens, engine.stats.accepted_tokens) == (5, 2)

    def test_the_end_may_come_among_guesses(self):
        chosen, steps, engine = self.answer([1, 2, 3], output=3)
        assert chosen == [11, 12, 13]
        assert steps == [[10], [11, 12]]
        assert engine.stats.blocks_free == 20

    def test_wrong_guesses_are_not_published(self):
        """Ids 10 to 13 fill a block; of what a wrong guess left there nobody may find anything."""
        _, _, engine = self.answer([8, 8, 8], output=4)
        (entry,) = engine._scheduler.blocks.prefixes._entries.values()
        assert entry.token_ids == (10, 11, 12, 13)


class TestDraftModel:
    """Against the same model run by itself."""

    MODEL = tiny_model(seed=3)

    def draft(self, num_blocks: int = 40, limit: Bucket = Bucket(8, 3, 3), length: int = 64) -> DraftModel:  # noqa: B008
        backend = NumpyBackend()
        graph = build_graph(self.MODEL.config, self.MODEL.tensors)
        weights = {name: backend.load(self.MODEL.tensors[name], ops) for name, ops in graph.tensor_ops.items()}
        spec = CacheSpec(graph.attention_layers, num_blocks, 4, "F32")
        runner = ModelRunner(backend, graph, weights, spec, limit, length)
        return DraftModel(runner, limit, BlockManager(num_blocks, 4), length)

    def greedy(self, ids: list[int], count: int) -> list[int]:
        """The likeliest continuation, each token from a run over the whole text."""
        ids = list(ids)
        for _ in range(count):
            draft = self.draft(limit=Bucket(64, 1, 1))
            running = sequence(ids, 64)
            draft._blocks.grow(running.block_table, len(ids))
            (rows,) = draft._runner.run([Chunk.next(running, len(ids))])
            ids.append(int(rows[-1].argmax()))
        return ids[-count:]

    def test_guesses_are_greedy(self):
        draft, texts = self.draft(), [sequence([5, 6, 7]), sequence([9, 9])]
        assert draft.propose(texts, 3) == [self.greedy([5, 6, 7], 3), self.greedy([9, 9], 3)]

    def test_it_follows_what_was_chosen_instead(self):
        draft, text = self.draft(), sequence([5, 6, 7])
        (guesses,) = draft.propose([text], 3)
        text.token_ids += [guesses[0], (guesses[1] + 1) % 300]
        assert draft.propose([text], 2) == [self.greedy(text.token_ids, 2)]
        text.token_ids += draft.propose([text], 1)[0]
        assert draft.propose([text], 2) == [self.greedy(text.token_ids, 2)]

    def test_a_long_text_is_caught_up_with(self):
        draft, text = self.draft(), sequence(range(5, 25))
        assert draft.propose([text], 3) == [[]]
        assert draft.propose([text], 3) == [[]]
        assert draft.propose([text], 2) == [self.greedy(text.token_ids, 2)]

    def test_who_is_gone_leaves_room(self):
        draft, first, second = self.draft(num_blocks=2), sequence([5, 6, 7, 8, 9, 1, 2]), sequence([8, 8, 8])
        assert len(draft.propose([first], 2)[0]) == 2
        assert draft.propose([first, second], 2)[1] == []
        assert draft.propose([second], 2) == [self.greedy([8, 8, 8], 2)]

    def test_not_beyond_its_context(self):
        draft, text = self.draft(length=6), sequence([5, 6, 7])
        assert draft.propose([text], 6) == [self.greedy([5, 6, 7], 3)]

    def test_more_than_it_has_seats_for(self):
        draft, texts = self.draft(), [sequence([i, 6]) for i in range(4)]
        assert [len(guesses) for guesses in draft.propose(texts, 2)] == [2, 2, 2, 0]


@pytest.mark.parametrize(
    ("options", "what"), [({"vocab_size": 301}, "vocabularies differ"), ({"encoder": True}, "must")]
)
def test_models_that_cannot_be_drafts(open_llm, write_model, options, what):
    with pytest.raises(ModelError, match=f"cannot be a draft.*{what}"):
        open_llm(draft=write_model(**options))
