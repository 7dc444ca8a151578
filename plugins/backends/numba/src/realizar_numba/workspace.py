"""What a plan's compiled blocks share: counts, views of the values, room for quantized activations, rotary tables."""

from __future__ import annotations

import numpy as np

from realizar.backend import Plan
from realizar_numba.activations import Activations, FloatTiles
from realizar_numba.kernels.attention import StepArrays
from realizar_numba.kernels.heads import RopeTable
from realizar_numba.memory import Matrix, address, matrix
from realizar_numba.program import Scratch

_NUM_TOKENS, _NUM_SEQS, _NUM_ROWS = 0, 8, 16


class Workspace:
    """One plan's memory. Kernels read the counts of the step from `counts`, which `update` writes."""

    def __init__(self, plan: Plan, num_threads: int) -> None:
        self.plan, self.num_threads = plan, num_threads
        self.counts = np.zeros(3, np.int64)
        self.num_tokens = address(self.counts) + _NUM_TOKENS
        self.scratch = Scratch()
        self._activations: dict[tuple[str, int], Activations] = {}
        self._float_tiles: dict[str, FloatTiles] = {}
        self._tables: dict[tuple[tuple[float, ...], float], RopeTable] = {}

    def update(self) -> None:
        """Copy the counts of the step."""
        step = self.plan.step
        self.counts[0], self.counts[1], self.counts[2] = step.num_tokens, step.num_seqs, step.num_rows

    def matrix(self, name: str) -> Matrix:
        """A value's rows."""
        rows = _NUM_ROWS if name in self.plan.graph.row_values else _NUM_TOKENS
        return matrix(self.plan.values[name], address(self.counts) + rows)

    def activations(self, name: str, lanes_per_row: int) -> Activations:
        """Room for a quantized form of a value."""
        key = (name, lanes_per_row)
        if key not in self._activations:
            rows, width = self.plan.values[name].shape
            self._activations[key] = Activations(rows, width, self.num_threads, lanes_per_row)
        return self._activations[key]

    def float_tiles(self, name: str) -> FloatTiles:
        """Room for the interleaved form of a value."""
        if name not in self._float_tiles:
            self._float_tiles[name] = FloatTiles(*self.plan.values[name].shape)
        return self._float_tiles[name]

    def rope_table(self, inv_freq: tuple[float, ...], scale: float) -> tuple[RopeTable, bool]:
        """The table of these frequencies, and whether it is new: then its phase must be appended."""
        key = (inv_freq, scale)
        new = key not in self._tables
        if new:
            self._tables[key] = RopeTable(len(self.plan.step.input_ids), inv_freq, scale)
        return self._tables[key], new

    def step_arrays(self) -> StepArrays:
        """What attention reads of the step."""
        step = self.plan.step
        return StepArrays(
            num_seqs=address(self.counts) + _NUM_SEQS,
            query_start_loc=address(step.query_start_loc),
            context_lens=address(step.context_lens),
            block_tables=address(step.block_tables),
            max_blocks=step.block_tables.shape[1],
        )
