"""The number of threads, chosen from made-up measurements of machines that do not exist."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realizar.testing.strategies import reproducible
from realizar_numba.crew import FIRST_REST, LONGEST_REST, TRIAL_STEPS, Crew

Machine = Callable[[int, int], tuple[int, int]]
"""(threads, number of the step) -> time of the step, time waited by all threads."""


def quiet(threads: int, step: int) -> tuple[int, int]:
    """Threads share the work; a tenth of the time goes at barriers."""
    return 6600 // threads, 660 // threads * (threads - 1)


def beside_a_loop(threads: int, step: int) -> tuple[int, int]:
    """Two cores, one of them shared: with both, every second step loses a time slice."""
    time, waited = quiet(threads, step)
    return (time + 8000, waited + 8000) if threads == 2 and step % 2 else (time, waited)


def crowded(threads: int, step: int) -> tuple[int, int]:
    """Two cores, however many threads: they wait for those that are not running."""
    return quiet(threads, step) if threads <= 2 else (20000 * threads, 20000 * threads * (threads - 1))


def uneven(threads: int, step: int) -> tuple[int, int]:
    """Work that cannot be cut evenly: 3 parts for 2 threads, so that one waits half of the time."""
    parts = -(-3 // threads)
    return 1000 * parts, 1000 * (parts * threads - 3)


def _sizes(crew: Crew, machine: Machine, steps: int) -> list[int]:
    """The number of threads of each step."""
    sizes = []
    for step in range(steps):
        sizes.append(crew.size)
        crew.observe(1, *machine(crew.size, step))
    return sizes


@pytest.mark.parametrize("full", [1, 2, 3, 8])
def test_a_quiet_machine_keeps_all_threads(full: int) -> None:
    assert set(_sizes(Crew(full), quiet, 1000)) == {full}


def test_of_many_threads_some_wait_and_all_stay() -> None:
    """A tenth of 64 threads is more than one of them, so one less is tried now and then."""
    sizes = _sizes(Crew(64), quiet, 1000)
    assert set(sizes) == {63, 64} and sizes.count(64) > 950


def test_a_single_long_wait_changes_nothing() -> None:
    def machine(threads: int, step: int) -> tuple[int, int]:
        return (8000, 4800) if step % 50 == 49 else (3300, 330)

    assert set(_sizes(Crew(2), machine, 1000)) == {2}


def test_beside_a_busy_neighbour_one_thread_works() -> None:
    sizes = _sizes(Crew(2), beside_a_loop, 2000)
    assert sizes[0] == 2
    assert set(sizes[FIRST_REST + 1 : FIRST_REST + TRIAL_STEPS]) == {1}
    assert sizes.count(2) < 0.05 * len(sizes)
    assert 2 in sizes[-2 * LONGEST_REST :], "never tries whether the neighbour has left"


def test_all_threads_return_when_the_neighbour_has_left() -> None:
    crew = Crew(2)
    _sizes(crew, beside_a_loop, 2000)
    sizes = _sizes(crew, quiet, 1000)
    assert set(sizes[LONGEST_REST + TRIAL_STEPS :]) == {2}


def test_one_of_many_cores_is_shared() -> None:
    """Dropping one thread is enough; the others stay."""

    def machine(threads: int, step: int) -> tuple[int, int]:
        time, waited = quiet(threads, step)
        return (2 * time, waited + time * 7) if threads == 8 else (time, waited)

    sizes = _sizes(Crew(8), machine, 1000)
    assert min(sizes) == 7 and sizes.count(7) > 900


def test_a_trial_lost_by_bad_luck_is_repeated() -> None:
    def machine(threads: int, step: int) -> tuple[int, int]:
        time, waited = quiet(threads, step)
        return (2 * time, waited + 7 * time) if threads == 8 or step < 10 else (time, waited)

    assert set(_sizes(Crew(8), machine, 100)[60:]) == {7, 8}


@pytest.mark.parametrize("full", [3, 4, 8, 64])
def test_more_threads_than_cores(full: int) -> None:
    sizes = _sizes(Crew(full), crowded, 2000)
    assert sizes[200:].count(2) > 0.9 * len(sizes[200:])


def test_waiting_alone_is_no_reason() -> None:
    """Where fewer threads are slower, trials are lost and get rare."""
    sizes = _sizes(Crew(2), uneven, 2000)
    assert sizes.count(1) < 0.05 * len(sizes)


def test_steps_of_different_lengths_are_compared_by_token() -> None:
    """A trial that happens to meet longer steps is not lost for that."""
    crew = Crew(2)
    for step in range(1000):
        tokens = 16 if crew.size == 2 else 31
        time, waited = beside_a_loop(crew.size, step)
        crew.observe(tokens, tokens * time, tokens * waited)
    assert crew.size == 1


def test_a_machine_without_a_clock_keeps_all_threads() -> None:
    assert set(_sizes(Crew(4), lambda threads, step: (0, 0), 1000)) == {4}


@reproducible(200)
@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(1, 600), st.integers(0, 10**10), st.integers(0, 10**11)), max_size=80),
)
def test_any_measurements_give_a_number_that_exists(full: int, steps: list[tuple[int, int, int]]) -> None:
    crew = Crew(full)
    for tokens, time, waited in steps:
        crew.observe(tokens, time, waited)
        assert 1 <= crew.size <= full
