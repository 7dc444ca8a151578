"""What attention's kernels agree on: the rows of a tile, spans of positions, and a thread's own memory.

A tile is up to 24 rows (tokens of one sequence x query heads that share a key/value head) against that head. A span
is 256 positions from a multiple of 256 on: results of spans are merged in order, so sums never depend on how a
sequence is cut into tiles, steps or threads.
"""

from __future__ import annotations

import attrs

from realizar_numba.kvcache import CHUNK, MAX_HEAD_DIM
from realizar_numba.simd.jit import compiled

TILE_ROWS = 24
SPAN = 256
SPAN_CHUNKS = SPAN // CHUNK

QUERY_NBYTES = 4 * (MAX_HEAD_DIM + 16)
"""From one query to the next; no power of two, which would put all rows into a few sets of the L1 cache."""

SCORES_NBYTES = 4 * CHUNK * TILE_ROWS
"""Scores of a chunk: [row][16 positions]."""

_MAXIMA_NBYTES = 128
_IDS_NBYTES = 8 * SPAN_CHUNKS
_SCALED_NBYTES = 1024


@attrs.frozen
class TileShape:
    """Sizes that fit a machine's registers.

    key_rows, key_chunks: queries and chunks of keys whose products are summed at once; key_sums: how many vectors of
    products keep a core busy when there are fewer rows. value_rows, value_vectors: the same for values, in vectors of
    16 dimensions.
    """

    key_rows: int
    key_chunks: int
    key_sums: int
    value_rows: int
    value_vectors: int


_WIDE, _NARROW = TileShape(6, 4, 12, 6, 4), TileShape(6, 1, 6, 3, 2)

_SHAPES = {"avx512vnni": _WIDE, "avx512": _WIDE}
"""For 32 registers of 512 bits; every other path gets a shape for 16 registers of 256 bits."""


def tile_shape(isa: str) -> TileShape:
    """The shape for a path of `isa.PATHS`."""
    return _SHAPES.get(isa, _NARROW)


def part_nbytes(rows: int, padded_dim: int) -> int:
    """Bytes of a part: maxima of 32 rows in base-2 units, then per row 16 columns of sums and its weighted values."""
    return _MAXIMA_NBYTES + rows * part_row_nbytes(padded_dim)


def part_row_nbytes(padded_dim: int) -> int:
    """From one row's sums to the next row's."""
    return 4 * (CHUNK + padded_dim)


def thread_nbytes(padded_dim: int) -> int:
    """Bytes of one thread's memory."""
    scores = SPAN_CHUNKS * SCORES_NBYTES
    return TILE_ROWS * QUERY_NBYTES + scores + _IDS_NBYTES + _SCALED_NBYTES + 2 * part_nbytes(TILE_ROWS, padded_dim)


@compiled
def scores_area(memory):
    """Scores of a span, chunk by chunk; a thread's memory begins with its queries."""
    return memory + TILE_ROWS * QUERY_NBYTES


@compiled
def ids_area(memory):
    """int64 numbers of a span's chunks in the cache."""
    return scores_area(memory) + SPAN_CHUNKS * SCORES_NBYTES


@compiled
def scaled_area(memory):
    """Weights of a chunk times the scales of its values, for the rows and blocks of one kernel."""
    return ids_area(memory) + _IDS_NBYTES


@compiled
def parts_area(memory):
    """Two parts: of all spans so far, and of one span."""
    return scaled_area(memory) + _SCALED_NBYTES


@compiled
def sums_of(part, row_nbytes, row):
    """A row's 16 columns of sums of weights; its weighted values follow."""
    return part + _MAXIMA_NBYTES + row * row_nbytes
