"""Chunks of a sequence: which rows they want and when they complete it."""

from __future__ import annotations

import pytest

from realizar.engine.sequence import Chunk, Sequence


def sequence(length: int, **options) -> Sequence:
    return Sequence(list(range(length)), length + 5, lambda rows: None, lambda error: None, **options)


def test_counts():
    running = sequence(7)
    assert (running.num_prompt_tokens, running.num_pending) == (7, 7)
    running.num_computed = 7
    assert running.num_pending == 0
    running.token_ids.append(9)
    assert (running.num_prompt_tokens, running.num_pending) == (7, 1)


def test_equal_sequences_are_different_requests():
    assert sequence(2) != sequence(2)


@pytest.mark.parametrize(("count", "rows", "completes"), [(1, 0, False), (6, 0, False), (7, 1, True)])
def test_the_last_row_is_wanted(count, rows, completes):
    chunk = Chunk.next(sequence(7), count)
    assert (chunk.count, chunk.num_rows, chunk.completes) == (count, rows, completes)


@pytest.mark.parametrize("count", [1, 6, 7])
def test_every_row_is_wanted(count):
    chunk = Chunk.next(sequence(7, every_position=True), count)
    assert (chunk.num_rows, chunk.completes) == (count, count == 7)


def test_a_later_chunk_counts_what_is_computed():
    running = sequence(7, num_computed=4)
    assert Chunk.next(running, 2).num_rows == 0
    assert Chunk.next(running, 3).num_rows == 1


def test_the_first_step_is_noted_once():
    running = sequence(1)
    assert running.scheduled_s is None
    running.mark_scheduled()
    first = running.scheduled_s
    assert first is not None and first >= running.arrival_s
    running.mark_scheduled()
    assert running.scheduled_s == first
