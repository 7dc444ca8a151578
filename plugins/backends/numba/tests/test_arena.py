"""Memory of the weights: pieces of one mapping."""

from __future__ import annotations

import mmap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realizar.errors import ModelError
from realizar_numba.arena import HUGE_PAGE_NBYTES, Arena, rounded
from realizar_numba.memory import LINE_NBYTES, address, sparse_zeros

SIZES = st.lists(st.integers(1, 10_000), min_size=1, max_size=20)


@given(SIZES)
def test_reserved_pieces_lie_side_by_side(sizes: list[int]) -> None:
    arena = Arena()
    arena.reserve(sum(map(rounded, sizes)))
    pieces = [arena.take(size) for size in sizes]
    starts = np.cumsum([0, *map(rounded, sizes)])[:-1] + address(pieces[0])
    assert [address(piece) for piece in pieces] == starts.tolist()
    assert [piece.nbytes for piece in pieces] == sizes
    assert address(pieces[0]) % HUGE_PAGE_NBYTES == 0


@given(SIZES)
def test_pieces_without_a_reservation(sizes: list[int]) -> None:
    """Zeroed, at cache lines, and nobody writes into another's."""
    arena = Arena()
    arena.reserve(3000)
    pieces = [arena.take(size) for size in sizes]
    for number, piece in enumerate(pieces, start=1):
        assert not piece.any() and address(piece) % LINE_NBYTES == 0
        piece[:] = number
    assert all((piece == number).all() for number, piece in enumerate(pieces, start=1))


def test_a_reservation_takes_no_memory_by_itself() -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    arena = Arena()
    arena.reserve(1 << 30)
    arena.take(1 << 29)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 18  # kilobytes, or bytes on macOS


@pytest.mark.parametrize("nbytes", [1 << 60, 1 << 70])
def test_what_the_system_refuses(nbytes: int) -> None:
    with pytest.raises(ModelError, match=r"the system refuses \d+\.\d GB of memory"):
        Arena().reserve(nbytes)


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="memory goes with its last array here")
def test_release_gives_the_memory_back_while_arrays_live() -> None:
    arena = Arena()
    piece = arena.take(100_000)
    piece[:] = 1
    arena.release()
    assert not piece.any()
    later = arena.take(100_000)
    later[:] = 2
    assert not piece.any()


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="there are no huge pages to be without")
def test_a_kernel_without_huge_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmap, "MADV_HUGEPAGE", 12345)
    assert not Arena().take(1000).any()


@pytest.mark.skipif(not hasattr(mmap, "MADV_NOHUGEPAGE"), reason="the system chooses pages by itself here")
def test_sparse_memory_takes_small_pages_only() -> None:
    """One byte in each of 64 stretches of 4 MB: with huge pages that would be 128 MB."""
    resource = pytest.importorskip("resource")
    data = sparse_zeros(256 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data[:: 4 << 20] = 1
    assert data.nbytes == 256 << 20 and address(data) % LINE_NBYTES == 0 and not data[1 : 4 << 20].any()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 15  # kilobytes


def test_sparse_memory_may_be_empty() -> None:
    assert sparse_zeros(0).nbytes == 0
