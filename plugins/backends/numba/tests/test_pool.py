"""Threads: every phase on every thread, concurrent callers, fork, close."""

from __future__ import annotations

import gc
import itertools
import os
import platform
import threading
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

import realizar_numba.pool
from realizar.architectures.llama import Llama
from realizar.progress import silent
from realizar.testing import driver
from realizar.testing.models import tiny_model
from realizar_numba.backend import NumbaBackend
from realizar_numba.cache import CodeCache
from realizar_numba.crew import Crew
from realizar_numba.kernels.compiled import Kernels
from realizar_numba.memory import address
from realizar_numba.pool import ALWAYS, IF_SHARED, NEVER, ThreadPool
from realizar_numba.program import Program
from realizar_numba.records import fill, reader, record

CLOCKS = ("x86_64", "AMD64", "aarch64", "arm64")
"""Machines whose cycle counter a program may read."""

COUNTER = record("counts", "sums", "rounds")


def build_count():
    """A phase in which each thread counts itself and adds up what all threads had counted before."""
    from realizar_numba.simd.memory import load_i64, store_i64

    read = reader(COUNTER)

    def count(thread, num_threads, arguments):
        a = read(arguments)
        if thread % 2 == 0:
            for i in range(20000):  # let the others wait
                store_i64(a.sums + 8 * thread, i)
        total = 0
        for t in range(num_threads):
            total += load_i64(a.counts + 8 * ((a.rounds - 1) * num_threads + t)) if a.rounds > 0 else 0
        store_i64(a.counts + 8 * (a.rounds * num_threads + thread), total + 1)

    return count


@pytest.fixture
def kernels() -> Kernels:
    return Kernels("generic", CodeCache(), silent)


@pytest.fixture
def make_pool(kernels: Kernels) -> Iterator[Callable[[int], ThreadPool]]:
    made: list[ThreadPool] = []

    def make(threads: int) -> ThreadPool:
        made.append(ThreadPool(threads, kernels))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


class ChosenCrew(Crew):
    """A crew whose next size the test chooses, and which keeps what it is told."""

    def __init__(self, full: int, sizes: Iterable[int]) -> None:
        super().__init__(full)
        self.told: list[tuple[int, int, int]] = []
        self._sizes = iter(sizes)

    @property
    def size(self) -> int:
        return next(self._sizes)

    def observe(self, tokens: int, time: int, waited: int) -> None:
        self.told.append((tokens, time, waited))


def _run_rounds(
    kernels: Kernels, pool: ThreadPool, rounds: int, barrier: int = ALWAYS, num_tokens: int = 1
) -> list[int]:
    """Each round's counts; with barriers, a round sees all of the round before."""
    program = Program(kernels, pool.num_threads)
    counts, sums = np.zeros((rounds, pool.num_threads), np.int64), np.zeros(pool.num_threads, np.int64)
    for i in range(rounds):
        arguments = fill(COUNTER, counts=address(counts), sums=address(sums), rounds=i)
        program.append(kernels.address("count", build_count), arguments, barrier)
    tokens = np.array([num_tokens])
    pool.run(program.table(), address(tokens))
    return [int(row.max()) if row.min() == row.max() else -1 for row in counts]


def _workers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("realizar-numba-")}


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_phases_meet_at_barriers(kernels: Kernels, make_pool: Callable[[int], ThreadPool], threads: int) -> None:
    pool = make_pool(threads)
    expected = [1]
    for _ in range(5):
        expected.append(expected[-1] * threads + 1)
    for _ in range(20):
        assert _run_rounds(kernels, pool, 6) == expected
    assert _run_rounds(kernels, pool, 6, IF_SHARED, num_tokens=2) == expected


def test_each_step_runs_on_the_threads_of_its_crew(kernels: Kernels, make_pool: Callable[[int], ThreadPool]) -> None:
    pool, sizes = make_pool(4), [4, 2, 1, 3, 4, 1, 1, 4]
    counts, sums, tokens = np.zeros(4, np.int64), np.zeros(4, np.int64), np.array([5])
    program = Program(kernels, 4)
    arguments = fill(COUNTER, counts=address(counts), sums=address(sums), rounds=0)
    program.append(kernels.address("count", build_count), arguments)
    table = program.table()
    table.crews[int(tokens[0]).bit_length()] = crew = ChosenCrew(4, sizes)
    for size in sizes:
        counts[:] = 0
        pool.run(table, address(tokens))
        assert counts.tolist() == [1] * size + [0] * (4 - size)
    assert [told[0] for told in crew.told] == [5] * len(sizes)
    assert all(time > 0 and waited >= 0 for _, time, waited in crew.told) or platform.machine() not in CLOCKS


def test_lone_tokens_and_prompts_have_crews_of_their_own() -> None:
    table = Program(Kernels("generic", CodeCache(), silent), 2).table()
    assert table.crew(2, 1) is table.crew(2, 1)
    assert table.crew(2, 64) is table.crew(2, 127)
    assert len({id(table.crew(2, tokens)) for tokens in (1, 2, 4, 512)}) == 4


@pytest.mark.parametrize("kind", ["Q4_1", "F16"])
def test_a_changing_crew_does_not_change_bits(
    make_backend: Callable[[int], NumbaBackend], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Steps of several tokens and of one, each on another number of threads, against one thread."""
    model, prompts = tiny_model(kind), ((5, 7, 200, 3, 9, 11, 250, 2, 4, 8, 17), (1,), (30, 31, 32))
    graph = Llama().build(model.config, model.tensors)
    whole = driver.Program(graph, model.tensors, prompts, (True,) * len(prompts))

    def logits(backend: NumbaBackend) -> NDArray[np.uint32]:
        steps = driver.Driver(backend, whole).run(driver.chunked(prompts, (1, 1, 2)))
        return np.concatenate(steps).view(np.uint32)

    expected = logits(make_backend(1))
    sizes, used = itertools.cycle([5, 1, 4, 2, 3]), set[int]()

    def counted() -> Iterator[int]:
        for size in sizes:
            used.add(size)
            yield size

    monkeypatch.setattr(realizar_numba.pool, "Crew", lambda full: ChosenCrew(full, counted()))
    np.testing.assert_array_equal(logits(make_backend(5)), expected)
    assert used == {1, 2, 3, 4, 5}


def test_one_thread_needs_no_barrier(kernels: Kernels, make_pool: Callable[[int], ThreadPool]) -> None:
    before = threading.active_count()
    assert _run_rounds(kernels, make_pool(1), 4, NEVER) == [1, 2, 3, 4]
    assert threading.active_count() == before


def test_threads_sleep_and_wake(kernels: Kernels, make_pool: Callable[[int], ThreadPool]) -> None:
    """After a pause long enough for the kernel's sleep, the same threads go on."""
    pool = make_pool(2)
    assert _run_rounds(kernels, pool, 2) == [1, 3]
    before = _workers()
    threading.Event().wait(0.2)
    assert _run_rounds(kernels, pool, 2) == [1, 3]
    assert _workers() == before


def test_concurrent_callers(kernels: Kernels, make_pool: Callable[[int], ThreadPool]) -> None:
    """Callers of one pool take turns; pools do not know each other."""
    pools = [make_pool(2), make_pool(3)]
    wrong: list[list[int]] = []

    def call(pool: ThreadPool) -> None:
        for _ in range(30):
            found = _run_rounds(kernels, pool, 3)
            n = pool.num_threads
            if found != [1, n + 1, (n + 1) * n + 1]:
                wrong.append(found)

    callers = [threading.Thread(target=call, args=(pools[i % 2],)) for i in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_close_joins_and_can_be_repeated(kernels: Kernels, make_pool: Callable[[int], ThreadPool]) -> None:
    pool = make_pool(3)
    _run_rounds(kernels, pool, 1)
    assert len(_workers()) == 2
    pool.close()
    pool.close()
    assert not _workers()
    assert _run_rounds(kernels, pool, 1) == [1]


def test_threads_end_with_their_pool(kernels: Kernels) -> None:
    """A backend that nobody closed leaves no thread behind that reads freed memory."""
    pool = ThreadPool(3, kernels)
    _run_rounds(kernels, pool, 1)
    assert len(_workers()) == 2
    del pool
    gc.collect()
    assert not _workers()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork(kernels: Kernels, make_pool: Callable[[int], ThreadPool]) -> None:
    """A child makes threads of its own, may close them, and the parent goes on with its own."""
    pool = make_pool(2)
    assert _run_rounds(kernels, pool, 2) == [1, 3]
    child = os.fork()
    if child == 0:
        try:
            right = _run_rounds(kernels, pool, 2) == [1, 3]
            pool.close()
            os._exit(0 if right else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert _run_rounds(kernels, pool, 2) == [1, 3]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_only_closes(kernels: Kernels, make_pool: Callable[[int], ThreadPool]) -> None:
    """Threads of the parent are not joined in the child."""
    pool = make_pool(2)
    _run_rounds(kernels, pool, 1)
    child = os.fork()
    if child == 0:
        pool.close()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_backends_share_no_threads(make_backend: Callable[[int], NumbaBackend]) -> None:
    assert make_backend(2).runtime.pool is not make_backend(2).runtime.pool
