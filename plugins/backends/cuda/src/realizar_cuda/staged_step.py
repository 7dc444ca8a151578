"""A step whose arrays lie in one piece of pinned host memory, and their copy on the device."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.backend import Plan, Step
from realizar_cuda.device import Device

ARRAYS = (
    "input_ids", "token_type_ids", "positions", "slot_mapping", "query_start_loc", "context_lens", "block_tables",
    "logits_rows",
)  # fmt: skip
ALIGNMENT = 64
"""Elements between the starts of arrays: whole lines of the cache."""


QUERIES = 64
"""Tokens of a sequence that prompt_attention.cu takes at once."""


@attrs.define(slots=False)
class StagedStep(Step):
    """sequences: which sequence each token is of, below 0 for none. tiles: first token and number of tokens, of up to
    QUERIES of one sequence. host, device: all arrays in one.
    """

    sequences: NDArray[np.int32] = attrs.field(factory=lambda: np.zeros(0, np.int32))
    tiles: NDArray[np.int32] = attrs.field(factory=lambda: np.zeros((0, 2), np.int32))
    num_tiles: int = 0
    _counting: NDArray[np.int32] = attrs.field(factory=lambda: np.zeros(0, np.int32))
    host: Any = None
    device: Any = None
    arrays: dict[str, Any] = attrs.field(factory=dict)

    @property
    def max_blocks(self) -> int:
        """Columns of block_tables."""
        return int(self.block_tables.shape[1])

    def address(self, name: str) -> int:
        """Where an array is on the device."""
        return int(self.arrays[name].data.ptr)

    def finish(self) -> None:
        """Fill what the engine does not: each token's sequence, and marks on what is beyond the counts."""
        n = self.num_tokens
        if n == self.num_seqs:
            self.sequences[:n] = self._counting[:n]
        else:
            counts = np.diff(self.query_start_loc[: self.num_seqs + 1])
            self.sequences[:n] = np.repeat(self._counting[: self.num_seqs], counts)
        if n < len(self.input_ids):
            self.sequences[n:], self.slot_mapping[n:] = -1, -1
            self.input_ids[n:], self.token_type_ids[n:] = 0, 0
        self.logits_rows[self.num_rows :] = 0
        if len(self.input_ids) > QUERIES:
            self._cut_into_tiles()

    def _cut_into_tiles(self) -> None:
        bounds = self.query_start_loc[: self.num_seqs + 1].tolist()
        tiles = [
            (start, min(QUERIES, end - start))
            for begin, end in pairwise(bounds)
            for start in range(begin, end, QUERIES)
        ]
        self.num_tiles = len(tiles)
        self.tiles[: len(tiles)] = np.reshape(tiles, (-1, 2))


def stage(step: Step, device: Device) -> StagedStep:
    """A step of the same sizes with zeroed arrays of its own."""
    shapes = {name: getattr(step, name).shape for name in ARRAYS}
    shapes["sequences"] = step.input_ids.shape
    shapes["tiles"] = (len(step.input_ids) // QUERIES + len(step.context_lens), 2)
    sizes = {name: -(-int(np.prod(shape)) // ALIGNMENT) * ALIGNMENT for name, shape in shapes.items()}
    pinned = device.pinned(sum(sizes.values()), np.int32)
    copy = device.zeros((len(pinned),), np.int32)
    staged = StagedStep(**{name: getattr(step, name) for name in ARRAYS}, host=pinned, device=copy)
    staged._counting = np.arange(len(step.context_lens), dtype=np.int32)
    at = 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        setattr(staged, name, pinned[at : at + size].reshape(shape))
        staged.arrays[name] = copy[at : at + size].reshape(shape)
        at += sizes[name]
    return staged


def staged(plan: Plan) -> StagedStep:
    """The step of a plan of this backend's making."""
    if not isinstance(plan.step, StagedStep):
        raise TypeError("the plan was not made by this backend")
    return plan.step
