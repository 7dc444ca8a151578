"""Importance matrices: how much the inputs of each weight's columns matter, as llama.cpp measures it.

A format plugin opens the file; its tensors are NAME.in_sum2, the sums of squared inputs, [matrices, columns], and
NAME.counts, over how many rows, [matrices, 1]. Source: llama.cpp `tools/imatrix/README.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs
import numpy as np

from realizar.errors import FormatError
from realizar.quant.layouts import Float32Array
from realizar.selection import open_model
from realizar.tensors import LazyTensor

SUMS, COUNTS = ".in_sum2", ".counts"

_SHARED = {
    "self_attn.q_proj": "self_attn.qkv_proj", "self_attn.k_proj": "self_attn.qkv_proj",
    "self_attn.v_proj": "self_attn.qkv_proj", "mlp.gate_proj": "mlp.up_proj", "lm_head": "model.embed_tokens",
}  # fmt: skip
"""Projections of the same input, of which a file may name only one."""


@attrs.frozen
class Importance:
    """Mean squared inputs by tensor name, [columns] or [experts, columns]."""

    values: Mapping[str, Float32Array]

    def of(self, tensor: LazyTensor) -> Float32Array | None:
        """What is known of a tensor's columns, None for nothing; raises FormatError if it does not fit."""
        shared = next((tensor.name.replace(a, b) for a, b in _SHARED.items() if a in tensor.name), "")
        found = self.values.get(tensor.name, self.values.get(shared))
        if found is None:
            return None
        matrices = tensor.shape[0] if len(tensor.shape) > 2 else 1
        if found.size == matrices * tensor.shape[-1]:
            found = found.reshape(matrices, -1)
        if found.shape not in ((matrices, tensor.shape[-1]), (1, tensor.shape[-1])):
            raise FormatError(
                f"importance of {tensor.name}: found {found.shape}, expected {matrices} x {tensor.shape[-1]} for "
                f"{tensor.source}; the matrix is of another model"
            )
        return found if len(found) > 1 else found[0]


def read_importance(path: Path) -> Importance:
    """The matrix at `path`; raises FormatError if it is none."""
    file = open_model(path)
    try:
        values = {
            name.removesuffix(SUMS): _means(tensor, file.tensors.get(name.removesuffix(SUMS) + COUNTS))
            for name, tensor in file.tensors.items()
            if name.endswith(SUMS)
        }
    finally:
        file.close()
    if not values:
        raise FormatError(f"{path}: found no tensors NAME{SUMS}, expected an importance matrix of llama.cpp")
    return Importance(values)


def _means(sums: LazyTensor, counts: LazyTensor | None) -> Float32Array:
    """Sums over counts, at least a little everywhere; experts that nothing went to count all columns alike."""
    if counts is None:
        raise FormatError(f"{sums.source}: found no {COUNTS} beside it, expected how many rows were summed")
    total = np.atleast_2d(sums.to_float32())
    rows = counts.to_float32().reshape(-1, 1)
    if len(rows) != len(total) or not np.isfinite(total).all() or (total < 0).any():
        raise FormatError(f"{sums.source}: found sums {total.shape} and {len(rows)} counts, or numbers below 0")
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.where(rows > 0, total / rows, 1)
    floor = means.mean(axis=1, keepdims=True) * 1e-6 + np.finfo(np.float32).tiny
    bounded: Float32Array = np.maximum(means, floor).astype(np.float32)
    return bounded
