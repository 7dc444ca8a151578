"""By rank, within budgets, in chunks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence as Ordered

from realizar.backend import Bucket
from realizar.engine.block_manager import BlockManager
from realizar.engine.scheduler import Scheduler
from realizar.engine.sequence import Chunk, Sequence

WIDE = Bucket(max_tokens=100, max_seqs=10, max_rows=10)

texts = itertools.count()


def request(prompt: int, output: int = 4, *, every_position: bool = False, **options) -> Sequence:
    """A sequence whose prompt begins like no other."""
    total, ids = prompt if every_position else prompt + output, [next(texts), *range(prompt - 1)]
    return Sequence(ids, total, lambda rows: None, lambda error: None, every_position=every_position, **options)


def scheduler(limit: Bucket = WIDE, num_blocks: int = 100, block_size: int = 4) -> Scheduler:
    return Scheduler(limit, BlockManager(num_blocks, block_size))


def step(plan: Scheduler) -> list[Chunk]:
    """Schedule, compute, and give each completed sequence its next token, or finish it."""
    chunks = plan.schedule()
    for chunk in chunks:
        chunk.sequence.num_computed += chunk.count
    plan.computed(chunks)
    for chunk in chunks:
        sequence = chunk.sequence
        sequence.num_given = sequence.num_computed
        if chunk.completes:
            if sequence.every_position or len(sequence.token_ids) + 1 >= sequence.max_total_tokens:
                plan.finish(sequence)
            else:
                sequence.token_ids.append(7)
    return chunks


def counts(chunks: Ordered[Chunk]) -> list[int]:
    return [chunk.count for chunk in chunks]


def test_admits_in_order_of_arrival():
    plan, requests = scheduler(), [request(n) for n in (3, 1, 2)]
    for sequence in requests:
        plan.add(sequence)
    assert [chunk.sequence for chunk in step(plan)] == requests
    assert plan.running == requests
    assert not plan.waiting


def test_a_long_prompt_is_computed_in_chunks():
    plan = scheduler(Bucket(8, 4, 4))
    plan.add(request(20))
    assert [counts(step(plan)) for _ in range(4)] == [[8], [8], [4], [1]]


def test_only_the_last_chunk_of_a_prompt_wants_logits():
    plan = scheduler(Bucket(8, 4, 4))
    plan.add(request(20))
    assert [[chunk.num_rows for chunk in step(plan)] for _ in range(4)] == [[0], [0], [1], [1]]


def test_what_is_computed_in_one_step_waits_for_room():
    plan = scheduler(Bucket(8, 4, 8))
    texts = [request(n, every_position=True, in_one_step=True) for n in (5, 4, 8, 3, 1)]
    for sequence in texts:
        plan.add(sequence)
    steps = [[texts.index(chunk.sequence) for chunk in step(plan)] for _ in range(4)]
    assert steps == [[0, 3], [1, 4], [2], []]
    assert plan.blocks.num_free == plan.blocks.num_blocks


def test_decodes_go_first_and_prefill_fills_up():
    plan = scheduler(Bucket(8, 4, 4))
    early, late = request(2), request(20)
    plan.add(late)
    step(plan)
    plan.add(early)
    assert counts(step(plan)) == [8]
    assert [(c.sequence is late, c.count) for c in step(plan)] == [(True, 4), (False, 2)]
    late.num_computed = 0  # as if it were a long prefill again, ahead of a decoding sequence
    assert [(c.sequence is late, c.count) for c in step(plan)] == [(False, 1), (True, 7)]


def test_prefills_share_what_is_left_in_order():
    plan = scheduler(Bucket(10, 4, 4))
    for length in (4, 8, 8):
        plan.add(request(length))
    assert counts(step(plan)) == [4, 6]
    assert counts(step(plan)) == [1, 2, 7]
    assert counts(step(plan)) == [1, 1, 1]


def test_no_more_sequences_than_allowed():
    plan = scheduler(Bucket(100, 2, 10))
    requests = [request(1, 2) for _ in range(3)]
    for sequence in requests:
        plan.add(sequence)
    assert [c.sequence for c in step(plan)] == requests[:2]
    assert list(plan.waiting) == requests[2:]
    step(plan)
    assert plan.running == []
    assert [c.sequence for c in step(plan)] == requests[2:]


def test_scoring_is_cut_to_the_rows():
    plan = scheduler(Bucket(100, 4, 5))
    plan.add(request(12, every_position=True))
    chunks = [step(plan) for _ in range(3)]
    assert [counts(c) for c in chunks] == [[5], [5], [2]]
    assert [c[0].num_rows for c in chunks] == [5, 5, 2]
    assert not plan.has_work


def test_without_rows_nothing_is_taken():
    plan = scheduler(Bucket(100, 4, 5))
    plan.add(request(5, every_position=True))
    late = request(3)
    plan.add(late)
    assert counts(step(plan)) == [5]
    assert list(plan.waiting) == [late]
    assert counts(step(plan)) == [3]


def test_rows_that_are_left_go_to_the_next():
    plan = scheduler(Bucket(100, 4, 5))
    plan.add(request(4, every_position=True))
    plan.add(request(3))
    plan.add(request(3))
    assert counts(step(plan)) == [4, 3]


def test_a_running_prefill_without_rows_waits():
    plan = scheduler(Bucket(6, 4, 4))
    plan.add(request(8))
    step(plan)
    scoring = request(6, every_position=True)
    plan.add(scoring)
    assert [(c.count, c.num_rows) for c in step(plan)] == [(2, 1), (3, 3)]


def test_rows_that_are_gone_stop_a_prefill_from_completing():
    plan = scheduler(Bucket(8, 4, 4))
    scoring, prefill = request(20, every_position=True), request(2)
    plan.running += [scoring, prefill]
    assert [(c.sequence is scoring, c.count) for c in plan.schedule()] == [(True, 4)]


def test_a_prefill_of_two_tokens_lets_a_decode_go_first():
    plan = scheduler(Bucket(1, 4, 4))
    prefill, decode = request(2), request(1)
    plan.running += [prefill, decode]
    assert [c.sequence for c in plan.schedule()] == [decode]


def test_nobody_overtakes_the_one_that_does_not_fit():
    plan = scheduler(num_blocks=4, block_size=4)
    first, big, small = request(2, 7), request(9), request(1, 2)
    for sequence in (first, big, small):
        plan.add(sequence)
    step(plan)
    assert list(plan.waiting) == [big, small]
    plan.finish(first)
    assert [c.sequence for c in step(plan)] == [big]


def test_finishing_frees_and_forgets():
    plan = scheduler(num_blocks=4, block_size=4)
    first, second = request(2, 7), request(13)
    plan.add(first)
    plan.add(second)
    step(plan)
    plan.finish(second)
    assert (plan.has_work, plan.blocks.num_free) == (True, 3)
    plan.finish(first)
    plan.finish(first)
    assert (plan.has_work, plan.blocks.num_free) == (False, 4)
    assert step(plan) == []


def test_prefill_beside_decodes_is_bounded():
    plan = Scheduler(Bucket(20, 4, 4), BlockManager(100, 4), beside_decode=5)
    first, second = request(2), request(30)
    plan.add(first)
    assert counts(step(plan)) == [2]
    plan.add(second)
    assert [counts(step(plan)) for _ in range(4)] == [[1, 5], [1, 5], [1, 5], [20 - 5]]


def test_has_work_while_any_waits_or_runs():
    plan, sequence = scheduler(), request(1)
    assert not plan.has_work
    plan.add(sequence)
    assert plan.has_work
    plan.schedule()
    assert plan.has_work
