"""NumpyBackend: one short kernel per op, in float32 (or float64)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from realizar.backend import Availability, Backend, Bucket, Buffer, CacheSpec, Plan, Step, kernel
from realizar.dtypes import dtype
from realizar.errors import ModelError
from realizar.graph import Graph
from realizar.reference.activations import ACTIVATION_FUNCTIONS
from realizar.reference.cache import LayerCache
from realizar.tensors import LazyTensor

Real = NDArray[np.floating[Any]]


class NumpyBackend(Backend):
    """The reference: every op as its definition reads, in float32, weights dequantized at load."""

    name = "numpy"
    kv_types = ("F32", "F16", "BF16", "Q8_0")
    real: ClassVar[type[np.floating[Any]]] = np.float32

    @classmethod
    def probe(cls) -> Availability:
        return Availability(1, f"reference in {np.dtype(cls.real).name}, always present")

    @classmethod
    def weights_nbytes(cls, tensors: Sequence[LazyTensor]) -> int:
        return sum(np.dtype(cls.real).itemsize * math.prod(tensor.shape) for tensor in tensors)

    @classmethod
    def scratch_nbytes(cls, graph: Graph, bucket: Bucket) -> int:
        return super().scratch_nbytes(graph, bucket) * np.dtype(cls.real).itemsize // 4

    def load(self, tensor: LazyTensor, ops: frozenset[str]) -> Buffer:
        return tensor.to_float32().astype(self.real, copy=False)

    def make_cache(self, spec: CacheSpec) -> Sequence[LayerCache]:
        kind = None if spec.dtype == "F32" else dtype(spec.dtype)

        def zeros(heads: int, head_dim: int) -> Any:
            return np.zeros((spec.num_blocks, spec.block_size, heads, head_dim), self.real)

        return [LayerCache(zeros(*layer), zeros(*layer), kind) for layer in spec.layers]

    def read_blocks(self, cache: Sequence[LayerCache], blocks: Sequence[int]) -> NDArray[np.uint8]:
        parts = [part[list(blocks)].reshape(len(blocks), -1).view(np.uint8) for part in _parts(cache)]
        return np.concatenate(parts, axis=1)

    def write_blocks(self, cache: Sequence[LayerCache], blocks: Sequence[int], content: NDArray[np.uint8]) -> None:
        at = 0
        for part in _parts(cache):
            nbytes = part[0].nbytes
            rows = np.ascontiguousarray(content[: len(blocks), at : at + nbytes]).view(part.dtype)
            part[list(blocks)] = rows.reshape(len(blocks), *part.shape[1:])
            at += nbytes

    def make_plan(self, graph: Graph, weights: Mapping[str, Buffer], cache: Sequence[Any], step: Step) -> Plan:
        plan = super().make_plan(graph, weights, cache, step)
        plan.values = {name: array.astype(self.real, copy=False) for name, array in plan.values.items()}
        return plan

    def logits(self, plan: Plan) -> NDArray[np.float32]:
        return super().logits(plan).astype(np.float32, copy=False)

    @kernel("embedding")
    def embedding(self, input_ids: NDArray[np.int32], weight: Real, *, scale: float, out: Real) -> None:
        """out[t] = weight[input_ids[t]] * scale."""
        np.multiply(weight[input_ids], scale, out=out, dtype=self.real)

    @kernel("rms_norm")
    def rms_norm(self, x: Real, weight: Real, *, eps: float, out: Real) -> None:
        """Root mean square norm over groups of len(weight) columns. Source: Zhang & Sennrich 2019, arXiv:1910.07467."""
        groups = _groups(x, weight)
        mean_square = np.mean(np.square(groups), axis=-1, keepdims=True)
        out[:] = (groups / np.sqrt(mean_square + self.real(eps)) * weight).reshape(x.shape)

    @kernel("layer_norm")
    def layer_norm(self, x: Real, weight: Real, bias: Real | None = None, *, eps: float, out: Real) -> None:
        """Layer norm over groups of columns. Source: Ba et al. 2016, arXiv:1607.06450."""
        groups = _groups(x, weight)
        centred = groups - groups.mean(axis=-1, keepdims=True)
        variance = np.mean(np.square(centred), axis=-1, keepdims=True)
        normed = centred / np.sqrt(variance + self.real(eps)) * weight
        out[:] = (normed if bias is None else normed + bias).reshape(x.shape)

    @kernel("linear")
    def linear(self, x: Real, weight: Real, bias: Real | None = None, *, out: Real) -> None:
        """out = x @ weight.T + bias; weight [out, in]."""
        np.matmul(x, weight.T, out=out)
        if bias is not None:
            out += bias

    @kernel("rope")
    def rope(
        self,
        x: Real,
        positions: NDArray[np.int32],
        *,
        head_dim: int,
        inv_freq: Sequence[float],
        scale: float,
        out: Real,
    ) -> None:
        """Rotate pairs (i, i + n/2) of the first n = 2 len(inv_freq) columns of each head.

        Angles are positions * inv_freq, in float64 before the cosine. Source: Su et al. 2021, arXiv:2104.09864.
        """
        half = len(inv_freq)
        angles = positions[:, None].astype(np.float64) * np.asarray(inv_freq)
        cos = (np.cos(angles) * scale).astype(self.real)[:, None]
        sin = (np.sin(angles) * scale).astype(self.real)[:, None]
        heads = x.reshape(len(x), -1, head_dim)
        first, second = heads[..., :half].copy(), heads[..., half : 2 * half].copy()
        rotated = out.reshape(heads.shape)
        rotated[..., 2 * half :] = heads[..., 2 * half :]
        rotated[..., :half] = first * cos - second * sin
        rotated[..., half : 2 * half] = second * cos + first * sin

    @kernel("attention")
    def attention(
        self, q: Real, k: Real, v: Real, *, num_heads: int, num_key_value_heads: int, head_dim: int, scale: float,
        sliding_window: int, softcap: float, alibi_slopes: Sequence[float], causal: bool, cache: LayerCache, step: Step,
        out: Real,
    ) -> None:  # fmt: skip
        """Cache k and v, then softmax(scale * q k) v over each sequence's own past, grouped heads sharing k and v.

        A query at position p sees positions p - sliding_window < j <= p (all j <= p when sliding_window is 0); one
        that is not causal sees all that the cache holds of its sequence after this step.
        Source: Vaswani et al. 2017, arXiv:1706.03762; grouped queries: Ainslie et al. 2023, arXiv:2305.13245;
        linear biases: Press et al. 2021, arXiv:2108.12409.
        """
        shape = (-1, num_key_value_heads, head_dim)
        cache.write(step.slot_mapping[: len(q)], k.reshape(shape), v.reshape(shape))
        group = num_heads // num_key_value_heads
        for s in range(step.num_seqs):
            tokens = slice(step.query_start_loc[s], step.query_start_loc[s + 1])
            length = int(step.context_lens[s])
            keys, values = (a.astype(self.real, copy=False) for a in cache.read(step.block_tables[s], length))
            queries = q[tokens].reshape(-1, num_key_value_heads, group, head_dim)
            scores = np.einsum("tkgd,jkd->kgtj", queries, keys, optimize=True) * self.real(scale)
            if softcap:
                scores = softcap * np.tanh(scores / softcap)
            if alibi_slopes:
                slopes = np.reshape(alibi_slopes, (num_key_value_heads, group, 1, 1)).astype(self.real)
                scores = scores + slopes * -_distance(step.positions[tokens], length)
            if causal:
                scores = np.where(_visible(step.positions[tokens], length, sliding_window), scores, -np.inf)
            weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
            weights /= weights.sum(axis=-1, keepdims=True)
            mixed = np.einsum("kgtj,jkd->tkgd", weights, values, optimize=True)
            out[tokens] = mixed.reshape(-1, num_heads * head_dim)

    @kernel("add")
    def add(self, x: Real, y: Real, *, out: Real) -> None:
        """out = x + y."""
        np.add(x, y, out=out)

    @kernel("mul")
    def mul(self, x: Real, y: Real, *, out: Real) -> None:
        """out = x * y, a single column of y for all of x's."""
        np.multiply(x, y, out=out)

    @kernel("scale")
    def scale(self, x: Real, *, factor: float, out: Real) -> None:
        """out = x * factor."""
        np.multiply(x, self.real(factor), out=out)

    @kernel("act")
    def act(self, x: Real, *, kind: str, out: Real) -> None:
        """out = activation(x)."""
        out[:] = ACTIVATION_FUNCTIONS[kind](x)

    @kernel("act_mul")
    def act_mul(self, gate: Real, up: Real, *, kind: str, out: Real) -> None:
        """out = activation(gate) * up. Source: Shazeer 2020, arXiv:2002.05202."""
        np.multiply(ACTIVATION_FUNCTIONS[kind](gate), up, out=out)

    @kernel("softcap")
    def softcap(self, x: Real, *, cap: float, out: Real) -> None:
        """out = cap * tanh(x / cap)."""
        out[:] = cap * np.tanh(x / cap)

    @kernel("gather_rows")
    def gather_rows(self, x: Real, logits_rows: NDArray[np.int32], *, out: Real) -> None:
        """out[r] = x[logits_rows[r]]."""
        out[:] = x[logits_rows]

    @kernel("moe_ffn")
    def moe_ffn(
        self, x: Real, router: Real, gate: Real, up: Real, down: Real, *, num_experts_per_tok: int, kind: str,
        norm_topk_prob: bool, out: Real,
    ) -> None:  # fmt: skip
        """Each row through its num_experts_per_tok likeliest experts. Source: Shazeer et al. 2017, arXiv:1701.06538."""
        if num_experts_per_tok > len(router):
            raise ModelError(f"num_experts_per_tok is {num_experts_per_tok}, the router has {len(router)} experts")
        scores = x @ router.T
        probabilities = np.exp(scores - scores.max(axis=-1, keepdims=True))
        probabilities /= probabilities.sum(axis=-1, keepdims=True)
        chosen = np.argsort(-probabilities, axis=-1, kind="stable")[:, :num_experts_per_tok]
        shares = np.take_along_axis(probabilities, chosen, axis=-1)
        if norm_topk_prob:
            shares = shares / shares.sum(axis=-1, keepdims=True)
        out[:] = 0
        for expert in np.unique(chosen):
            rows, slots = np.nonzero(chosen == expert)
            hidden = ACTIVATION_FUNCTIONS[kind](x[rows] @ gate[expert].T) * (x[rows] @ up[expert].T)
            out[rows] += shares[rows, slots, None] * (hidden @ down[expert].T)


def _parts(cache: Sequence[LayerCache]) -> list[Real]:
    """Keys and values of all layers, [num_blocks, ...] each."""
    return [part for layer in cache for part in (layer.keys, layer.values)]


class Numpy64Backend(NumpyBackend):
    """The same definitions in float64, for judging others."""

    name = "numpy64"
    priority = -1
    real = np.float64


def _groups(x: Real, weight: Real) -> Real:
    """The columns of x in groups as wide as a row of a norm's weight; a step may want no rows of x at all."""
    width = weight.shape[-1]
    return x.reshape(len(x), x.shape[1] // width, width)


def _distance(positions: NDArray[np.int32], length: int) -> NDArray[np.int32]:
    """[t, j]: how far position j lies before positions[t]."""
    return positions[:, None] - np.arange(length, dtype=np.int32)[None, :]


def _visible(positions: NDArray[np.int32], length: int, sliding_window: int) -> NDArray[np.bool_]:
    """[t, j]: whether the query at positions[t] sees position j."""
    distance = _distance(positions, length)
    visible: NDArray[np.bool_] = distance >= 0
    return visible & (distance < sliding_window) if sliding_window else visible
