"""Room runs out: who gives way, who goes first, and that everybody ends with all that is theirs."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from realizar.backend import Bucket
from realizar.engine.block_manager import BlockManager
from realizar.engine.scheduler import Scheduler
from realizar.engine.sequence import PRIORITY_S, Sequence
from realizar.engine.speculation import Proposer

WIDE = Bucket(max_tokens=100, max_seqs=8, max_rows=8)

texts = itertools.count(1000)
arrivals = itertools.count()


def request(prompt: int, output: int = 4, *, every_position: bool = False, ids=None, **options) -> Sequence:
    """A sequence whose text begins like no other, that came a moment after the one before."""
    ids = [next(texts), *range(prompt - 1)] if ids is None else list(ids)
    total = len(ids) + (0 if every_position else output)
    arrival_s = options.pop("arrival_s", next(arrivals) / 1e6)
    return Sequence(
        ids, total, lambda rows: None, lambda error: None, every_position=every_position, arrival_s=arrival_s, **options
    )


def step(plan: Scheduler, rows: dict[Sequence, int] | None = None) -> list[Sequence]:
    """Schedule, compute, give each completed sequence its next token or finish it; `rows` are counted."""
    chunks = plan.schedule()
    for chunk in chunks:
        chunk.sequence.num_computed += chunk.count
    plan.computed(chunks)
    for chunk in chunks:
        sequence = chunk.sequence
        if rows is not None:
            rows[sequence] = rows.get(sequence, 0) + chunk.num_rows
        if chunk.num_rows:
            sequence.num_given = sequence.num_computed
        if chunk.completes:
            if sequence.every_position or len(sequence.token_ids) + 1 >= sequence.max_total_tokens:
                plan.finish(sequence)
            else:
                sequence.token_ids.append(len(sequence.token_ids))
    return [chunk.sequence for chunk in chunks]


def scheduler(num_blocks: int, limit: Bucket = WIDE, **options) -> Scheduler:
    return Scheduler(limit, BlockManager(num_blocks, 4), **options)


def started(plan: Scheduler, *sequences: Sequence) -> None:
    for sequence in sequences:
        plan.add(sequence)
    assert step(plan) == list(sequences)


def test_blocks_are_taken_as_a_sequence_grows():
    plan, sequence = scheduler(10), request(3, 9)
    plan.add(sequence)
    held = []
    while plan.has_work:
        step(plan)
        held.append(len(sequence.block_table))
    assert held == [1, 1, 2, 2, 2, 2, 3, 3, 0]


def test_the_last_to_come_gives_way():
    plan = scheduler(4)
    first, second = request(4, 12), request(4, 12)
    started(plan, first, second)
    assert step(plan) == [first, second]
    for _ in range(4):
        step(plan)
    assert (plan.running, plan.waiting) == ([first], [second])
    assert (second.block_table, second.num_computed, second.num_preemptions) == ([], 0, 1)
    assert plan.counters.preemptions == 1


def test_one_may_give_way_to_those_before_it():
    """The one that needs a block is the last itself."""
    plan = scheduler(3)
    first, second = request(2, 12), request(4, 12)
    started(plan, first)
    plan.add(second)
    assert step(plan) == [first, second]
    plan.blocks.grow([], 4)
    assert step(plan) == [first]
    assert plan.waiting == [second]


def test_what_was_preempted_goes_on_where_it_was():
    plan = scheduler(4)
    first, second = request(4, 9), request(4, 9)
    started(plan, first, second)
    while not plan.waiting:
        step(plan)
    generated = list(second.token_ids)
    while first in plan.running:
        step(plan)
    assert step(plan) == [second]
    assert second.num_computed == len(generated)
    assert second.prefix.cached_tokens == 0  # the report is of its first admission
    while plan.has_work:
        step(plan)
    assert second.token_ids == [*second.token_ids[:4], *range(4, 12)]


def test_what_was_preempted_finds_its_own_blocks():
    plan = scheduler(6)
    first, second = request(4, 12), request(12, 6)
    started(plan, first, second)
    while not plan.waiting:
        step(plan)
    plan.finish(first)
    chunks = plan.schedule()
    assert [(c.sequence, second.num_computed, c.count) for c in chunks] == [(second, 12, len(second.token_ids) - 12)]


def test_logits_are_given_once_although_computed_twice():
    plan, rows = scheduler(6, Bucket(4, 4, 4)), {}
    first, scored = request(2, 20), request(12, every_position=True)
    plan.add(first)
    step(plan)
    plan.add(scored)
    while not scored.num_preemptions:
        if scored in plan.running and scored.num_given > 4:
            plan.blocks.grow([], 4 * plan.blocks.num_free)  # somebody takes all that is left
        step(plan, rows)
        assert plan.running
    given = scored.num_given
    assert 0 < given < 12
    plan.finish(first)
    while plan.has_work:
        step(plan, rows)
        if plan.blocks.num_free < 3:
            plan.blocks.release([b for b in range(6) if plan.blocks._holders[b] and b not in scored.block_table])
    assert rows[scored] == 12


def test_priority_goes_before_arrival():
    plan = scheduler(20, Bucket(100, 1, 1))
    low, first, urgent = request(2, priority=-1), request(2), request(2, priority=3)
    for sequence in (low, first, urgent):
        plan.add(sequence)
    assert plan.waiting == [urgent, first, low]
    assert step(plan) == [urgent]


def test_nobody_waits_for_ever():
    """Who has waited longer than a priority is worth goes before it."""
    plan = scheduler(20)
    old, late = request(2, arrival_s=0.0), request(2, priority=2, arrival_s=2 * PRIORITY_S + 1)
    soon = request(2, priority=2, arrival_s=2 * PRIORITY_S - 1)
    for sequence in (late, old, soon):
        plan.add(sequence)
    assert plan.waiting == [soon, old, late]


@pytest.mark.parametrize("scarce", ["seats", "blocks"])
def test_lower_priority_makes_way(scarce):
    plan = scheduler(20, Bucket(100, 2, 2)) if scarce == "seats" else scheduler(4)
    first, second, urgent = request(4, 8), request(4, 8), request(4, 8, priority=1)
    started(plan, first, second)
    plan.add(urgent)
    assert urgent in step(plan)
    assert (first.num_preemptions, second.num_preemptions) == (0, 1) if scarce == "seats" else (1, 1)


def test_equal_priority_makes_no_way():
    plan = scheduler(20, Bucket(100, 1, 1))
    first, second = request(4, 8, priority=1), request(4, 8, priority=1)
    started(plan, first)
    plan.add(second)
    assert step(plan) == [first]


def test_higher_priority_that_came_too_late_makes_no_way():
    plan = scheduler(20, Bucket(100, 1, 1))
    first, late = request(4, 8, arrival_s=0.0), request(4, 8, priority=1, arrival_s=2 * PRIORITY_S)
    started(plan, first)
    plan.add(late)
    assert step(plan) == [first]


def test_admission_leaves_a_block_for_each_that_runs():
    plan = scheduler(4)
    first, second = request(4, 8), request(12, 3)
    started(plan, first)
    plan.add(second)
    assert step(plan) == [first]
    assert plan.waiting == [second]


def test_reset_leaves_nothing():
    plan = scheduler(4)
    started(plan, request(4))
    plan.add(request(4))
    plan.reset()
    assert (plan.has_work, plan.blocks.num_free, plan.blocks.num_cached) == (False, 4, 0)


class HalfRight(Proposer):
    """Guesses what `Crowd` generates, up to a token that depends on where it is."""

    def propose(self, sequences, count):
        return [[(len(s.token_ids) + i) % (3 - (i == len(s.token_ids) % 4)) for i in range(count)] for s in sequences]


class Crowd(RuleBasedStateMachine):
    """Requests come, are cancelled, fail and compete for a cache that holds few of them."""

    @initialize(
        blocks=st.integers(4, 9), tokens=st.integers(1, 9), seqs=st.integers(1, 4), rows=st.integers(0, 3),
        beside=st.integers(1, 9), prefix_cache=st.booleans(), drafts=st.integers(0, 4),
    )  # fmt: skip
    def open(self, blocks, tokens, seqs, rows, beside, prefix_cache, drafts):
        self.limit = Bucket(tokens, seqs, seqs + rows)
        self.plan = scheduler(
            blocks, self.limit, beside_decode=beside, prefix_cache=prefix_cache, proposer=HalfRight(), num_drafts=drafts
        )
        self.all: list[Sequence] = []
        self.arrivals = itertools.count()
        self.rows: dict[Sequence, int] = {}

    @rule(
        length=st.integers(1, 12), fork=st.integers(0, 2), output=st.integers(1, 4), priority=st.integers(-1, 1),
        scored=st.booleans(), late_s=st.sampled_from([0.0, 5.0, 25.0]),
    )  # fmt: skip
    def arrive(self, length, fork, output, priority, scored, late_s):
        ids = [fork * (i > 4) for i in range(length)]
        sequence = request(
            0, output, ids=ids, priority=priority, every_position=scored, arrival_s=late_s + next(self.arrivals) / 1e6
        )
        self.all.append(sequence)
        self.plan.add(sequence)

    @precondition(lambda self: self.plan.has_work)
    @rule(forget=st.booleans(), choice=st.integers(0, 99))
    def end(self, forget, choice):
        alive = [*self.plan.running, *self.plan.waiting]
        sequence = alive[choice % len(alive)]
        self.plan.finish(sequence, forget=forget)
        self.all.remove(sequence)

    @precondition(lambda self: self.plan.has_work)
    @rule(times=st.integers(1, 6))
    def steps(self, times):
        for _ in range(times):
            self.step()

    def step(self):
        plan = self.plan
        before = {id(s): (s.num_computed, s.num_preemptions) for s in self.all}
        first = min([*plan.running, *plan.waiting], key=lambda s: s.rank, default=None)
        chunks = plan.schedule()
        assert sum(c.count for c in chunks) <= self.limit.max_tokens
        assert len(chunks) <= self.limit.max_seqs
        assert sum(c.num_rows for c in chunks) <= self.limit.max_rows
        assert len({id(c.sequence) for c in chunks}) == len(chunks)
        assert chunks or first is None, "there is work and nothing is computed"
        for chunk in chunks:
            sequence = chunk.sequence
            assert chunk.count >= 1
            assert sequence.num_computed + chunk.count <= len(sequence.block_table) * 4
            start, preemptions = before[id(sequence)]
            kept = sequence.num_computed == start or start == 0 or sequence.num_preemptions > preemptions
            assert kept, "computed again without having been preempted"
        if first is not None:
            assert first.num_preemptions == before[id(first)][1], "the first in rank is never preempted"
        held = {id(s): list(s.block_table) for s in plan.running}
        for chunk in chunks:
            chunk.sequence.num_computed += chunk.count - chunk.num_drafts
        plan.computed(chunks)
        self.nobody_writes_what_others_read(chunks, held)
        for chunk in chunks:
            self.deliver(chunk)

    def nobody_writes_what_others_read(self, chunks, held):
        """A block that a step wrote into is in no other table, unless all who hold it have it computed and full."""
        for chunk in chunks:
            sequence = chunk.sequence
            end = sequence.num_computed + chunk.num_drafts
            for block in held[id(sequence)][(end - chunk.count) // 4 : (end - 1) // 4 + 1]:
                assert sum(block in table for table in held.values()) == 1

    def deliver(self, chunk):
        sequence = chunk.sequence
        if chunk.num_drafts:
            for guess in [*sequence.drafts, None]:
                self.rows[sequence] += 1
                if not self.choose(sequence) or sequence.token_ids[-1] != guess:
                    break
            sequence.num_computed = min(len(sequence.token_ids) - 1, sequence.num_computed + chunk.num_drafts)
            return
        self.rows[sequence] = self.rows.get(sequence, 0) + chunk.num_rows
        if chunk.num_rows:
            sequence.num_given = sequence.num_computed
        if chunk.completes:
            self.choose(sequence)

    def choose(self, sequence):
        """The next token, or the end."""
        if sequence.every_position or len(sequence.token_ids) + 1 >= sequence.max_total_tokens:
            self.plan.finish(sequence)
            expected = sequence.num_prompt_tokens
            if not sequence.every_position:
                expected = sequence.max_total_tokens - sequence.num_prompt_tokens
            assert self.rows.pop(sequence) == expected, "each wanted row once"
            self.all.remove(sequence)
            return False
        sequence.token_ids.append(len(sequence.token_ids) % 3)
        return True

    @invariant()
    def every_block_is_accounted_for(self):
        if not hasattr(self, "plan"):
            return
        blocks = self.plan.blocks
        holders = [0] * blocks.num_blocks
        for sequence in self.plan.running:
            assert len(set(sequence.block_table)) == len(sequence.block_table)
            for block in sequence.block_table:
                holders[block] += 1
        assert blocks._holders == holders
        free = [*blocks._empty, *blocks._cached]
        assert sorted(free) == [block for block, count in enumerate(holders) if not count]
        assert all(block in blocks.prefixes for block in blocks._cached)
        assert not any(block in blocks.prefixes for block in blocks._empty)
        assert all(not s.block_table and not s.num_computed for s in self.plan.waiting)

    @invariant()
    def queues_are_in_order(self):
        if not hasattr(self, "plan"):
            return
        for queue in (self.plan.running, self.plan.waiting):
            assert [s.rank for s in queue] == sorted(s.rank for s in queue)
        assert len(self.plan.running) <= self.limit.max_seqs
        assert {id(s) for s in (*self.plan.running, *self.plan.waiting)} == {id(s) for s in self.all}

    def teardown(self):
        """Left alone, everything comes to its end."""
        if not hasattr(self, "plan"):
            return
        for _ in range(3000):
            if not self.plan.has_work:
                break
            self.step()
        assert not self.plan.has_work, "the scheduler does not come to an end"
        assert self.plan.blocks.num_free == self.plan.blocks.num_blocks


Crowd.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestCrowd = Crowd.TestCase
