"""Tensors made of other tensors when they are read: parts of fused ones, stacks of experts, another order.

Formats use them to give every model the same names and shapes; an architecture then knows one way only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
import numpy as np

from realizar.dtypes import DTYPES
from realizar.errors import ModelError
from realizar.model import ModelConfig
from realizar.tensors import Array, LazyTensor

FUSED_QKV, FUSED_GATE_UP = "self_attn.qkv_proj", "mlp.gate_up_proj"
"""Names of parts that hold several projections one above the other."""


def split_fused(config: ModelConfig, tensors: Mapping[str, LazyTensor], groups: int = 1) -> dict[str, LazyTensor]:
    """The tensors with fused projections cut apart; the rows of q, k and v come in `groups` equal groups.

    Raises ModelError naming a tensor whose rows are not those of the configuration.
    """
    query, key = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    ffn = config.intermediate_size
    parts = {
        FUSED_QKV: {"self_attn.q_proj": query, "self_attn.k_proj": key, "self_attn.v_proj": key},
        FUSED_GATE_UP: {"mlp.gate_proj": ffn, "mlp.up_proj": ffn},
    }
    split: dict[str, LazyTensor] = {}
    for name, tensor in tensors.items():
        fused = next((part for part in parts if f".{part}." in name), None)
        if fused is None:
            split[name] = tensor
            continue
        count = groups if fused == FUSED_QKV else 1
        names = {name.replace(fused, part): rows for part, rows in parts[fused].items()}
        split |= {part.name: part for part in _cut(tensor, names, count)}
    return split


def _cut(tensor: LazyTensor, parts: Mapping[str, int], groups: int) -> list[LazyTensor]:
    """Parts of so many rows each, of which every group has an equal share."""
    total = sum(parts.values())
    if _is_run_of_blocks(tensor):
        raise ModelError(f"{tensor.source}: a vector of {tensor.dtype.name} blocks cannot be cut into projections")
    if tensor.shape[:1] != (total,) or any(rows % groups for rows in parts.values()):
        raise ModelError(f"{tensor.source}: shape {tensor.shape}, but the configuration says {total} fused rows")
    found, start = [], 0
    for name, rows in parts.items():
        share = rows // groups
        found.append(_rows_of_groups(tensor, name, groups, start, start + share))
        start += share
    return found


def _is_run_of_blocks(tensor: LazyTensor) -> bool:
    """Whether a block holds what else would be several rows."""
    return len(tensor.shape) == 1 and tensor.dtype.is_quantized


def _rows_of_groups(tensor: LazyTensor, name: str, groups: int, start: int, stop: int) -> LazyTensor:
    def take(stored: Array) -> Array:
        grouped = stored.reshape(groups, len(stored) // groups, *stored.shape[1:])
        return grouped[:, start:stop].reshape(groups * (stop - start), *stored.shape[1:])

    return _derived(tensor, take, name=name, shape=(groups * (stop - start), *tensor.shape[1:]))


def half_split(tensor: LazyTensor, num_heads: int) -> LazyTensor:
    """Rows of q or k whose rotary pairs lie side by side, [heads, d/2, 2], as halves, [heads, 2, d/2].

    Raises ModelError if there are no whole rows, an even number for each head.
    """
    if not tensor.shape or tensor.shape[0] % (2 * num_heads) or _is_run_of_blocks(tensor):
        raise ModelError(
            f"{tensor.source}: {tensor.dtype.name} of shape {tensor.shape} has no whole rows, an even number for each "
            f"of {num_heads} heads"
        )

    def reorder(stored: Array) -> Array:
        pairs = stored.reshape(num_heads, len(stored) // (2 * num_heads), 2, *stored.shape[1:])
        return pairs.swapaxes(1, 2).reshape(stored.shape)

    return _derived(tensor, reorder)


def pair_joined(tensor: LazyTensor, num_heads: int) -> LazyTensor:
    """The inverse of `half_split`: rotary pairs side by side."""

    def reorder(stored: Array) -> Array:
        halves = stored.reshape(num_heads, 2, -1, *stored.shape[1:])
        return halves.swapaxes(1, 2).reshape(stored.shape)

    return _derived(tensor, reorder)


def head_by_head(tensor: LazyTensor, num_heads: int, reorder: Callable[[LazyTensor, int], LazyTensor]) -> LazyTensor:
    """A norm's factors [heads, d] as `reorder`, which is `half_split` or `pair_joined`, orders rows of q or k."""
    if tensor.dtype.is_quantized or tensor.shape[:-1] != (num_heads,):
        raise ModelError(
            f"{tensor.source}: {tensor.dtype.name} of shape {tensor.shape} has no row for each of {num_heads} heads"
        )
    return _reshaped(reorder(_reshaped(tensor, (num_heads * tensor.shape[1],)), num_heads), tensor.shape)


def _reshaped(tensor: LazyTensor, shape: tuple[int, ...]) -> LazyTensor:
    return _derived(tensor, lambda stored: stored.reshape(shape), shape=shape)


def fused(name: str, tensors: Sequence[LazyTensor], groups: int = 1) -> LazyTensor:
    """The inverse of `split_fused`: projections one above the other, in `groups` equal groups.

    Raises ModelError for parts of several types.
    """
    first = tensors[0]
    for tensor in tensors:
        if (tensor.dtype, tensor.shape[1:]) != (first.dtype, first.shape[1:]) or tensor.shape[0] % groups:
            raise ModelError(
                f"{tensor.source}: {tensor.dtype.name} {tensor.shape} cannot stand below {first.dtype.name} "
                f"{first.shape} in {name}; the parts of a fused projection must be alike"
            )

    def read() -> Array:
        stored = [tensor.read() for tensor in tensors]
        parts = [part.reshape(groups, -1, *part.shape[1:]) for part in stored]
        return _frozen(np.concatenate(parts, axis=1).reshape(-1, *stored[0].shape[1:]))

    shape = (sum(tensor.shape[0] for tensor in tensors), *first.shape[1:])
    return LazyTensor(name, shape, first.dtype, f"{first.source} and its like", read, _all_released(tensors))


def transposed(tensor: LazyTensor) -> LazyTensor:
    """A plain matrix stored as [in, out]."""
    if tensor.dtype.is_quantized or len(tensor.shape) != 2:
        raise ModelError(f"{tensor.source}: a {tensor.dtype.name} tensor of shape {tensor.shape} cannot be transposed")
    return _derived(tensor, lambda stored: np.ascontiguousarray(stored.T), shape=tensor.shape[::-1])


def last_rows(tensor: LazyTensor, count: int) -> LazyTensor:
    """The last `count` rows of a table; raises ModelError if it has fewer."""
    if len(tensor.shape) != 2 or not 0 < count <= tensor.shape[0]:
        raise ModelError(f"{tensor.source}: shape {tensor.shape}, but the configuration says {count} rows or more")
    return _derived(tensor, lambda stored: stored[-count:], shape=(count, tensor.shape[1]))


def as_row(tensor: LazyTensor) -> LazyTensor:
    """A vector as a matrix of one row."""
    return _derived(tensor, lambda stored: stored[np.newaxis], shape=(1, *tensor.shape))


def plus_one(tensor: LazyTensor) -> LazyTensor:
    """A norm's factors, stored less one; float32, so that none of them is rounded anew."""
    return _derived(tensor, lambda _: tensor.to_float32() + np.float32(1), dtype=DTYPES["F32"])


def minus_one(tensor: LazyTensor) -> LazyTensor:
    """The inverse of `plus_one`, float32 as well."""
    return _derived(tensor, lambda _: tensor.to_float32() - np.float32(1), dtype=DTYPES["F32"])


def as_vector(tensor: LazyTensor) -> LazyTensor:
    """A matrix of one row as a vector."""
    return _derived(tensor, lambda stored: stored.reshape(-1), shape=(tensor.shape[-1],))


def unstacked(tensor: LazyTensor, names: Sequence[str]) -> list[LazyTensor]:
    """The inverse of `stacked`: one tensor for each name."""

    def part(index: int) -> Callable[[Array], Array]:
        return lambda stored: stored[index]

    return [_derived(tensor, part(i), name=name, shape=tensor.shape[1:]) for i, name in enumerate(names)]


def stacked(name: str, tensors: Sequence[LazyTensor]) -> LazyTensor:
    """Tensors of one shape and type along a new first axis."""
    first = tensors[0]
    for tensor in tensors:
        if (tensor.shape, tensor.dtype) != (first.shape, first.dtype):
            raise ModelError(
                f"{tensor.source}: {tensor.dtype.name} {tensor.shape}, but {first.source} is {first.dtype.name} "
                f"{first.shape}; the parts of a stack must be alike"
            )

    def read() -> Array:
        return _frozen(np.stack([tensor.read() for tensor in tensors]))

    shape = (len(tensors), *first.shape)
    return LazyTensor(name, shape, first.dtype, f"{first.source} and its like", read, _all_released(tensors))


def _all_released(tensors: Sequence[LazyTensor]) -> Callable[[], None]:
    def release() -> None:
        for tensor in tensors:
            tensor.release()

    return release


def _derived(tensor: LazyTensor, change: Callable[[Array], Array], **fields: object) -> LazyTensor:
    return attrs.evolve(tensor, read=lambda: _frozen(change(tensor.read())), **fields)  # type: ignore[arg-type]


def _frozen(array: Array) -> Array:
    """Read-only, as a mapped file's arrays are; a view is frozen without its owner."""
    array = np.asarray(array)  # NumPy computes scalars where an array of no dimensions was meant
    array.flags.writeable = False
    return array
