"""Every op on its own, on NumPy arrays: the same phases as in fused blocks, as programs of one node."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from realizar.backend import Step
from realizar.errors import ModelError
from realizar_numba.activations import Activations, FloatTiles
from realizar_numba.kernels.attention import StepArrays, append_attention
from realizar_numba.kernels.cache_writes import write_function
from realizar_numba.kernels.compiled import Kernels
from realizar_numba.kernels.elementwise import append_elementwise
from realizar_numba.kernels.gated import append_gated
from realizar_numba.kernels.heads import RopeTable, append_over_heads, rope_function
from realizar_numba.kernels.interleave import append_interleave
from realizar_numba.kernels.linear import Linear, LinearInput, append_linear, float_input, quantized_input
from realizar_numba.kernels.norm import append_norm
from realizar_numba.kernels.quantize import append_quantize
from realizar_numba.kernels.rows import append_embedding, append_gather
from realizar_numba.kvcache import LayerCache
from realizar_numba.memory import Matrix, address, matrix
from realizar_numba.pool import ThreadPool
from realizar_numba.program import Program
from realizar_numba.weights.packed import PackedWeight

Rows = NDArray[np.float32]


class SingleOps:
    """Runs ops one at a time on the threads of a pool."""

    def __init__(self, kernels: Kernels, pool: ThreadPool) -> None:
        self._kernels, self._pool = kernels, pool

    def _run(self, num_rows: int, append: Callable[[Program, Callable[[Rows], Matrix]], None]) -> None:
        """Run what `append` appends to a program; its second argument makes an array a matrix of `num_rows` rows."""
        count = np.array([num_rows], np.int64)
        program = Program(self._kernels, self._pool.num_threads)
        append(program, lambda array: matrix(array, address(count)))
        self._pool.run(program.table(), address(count))

    def embedding(self, input_ids: NDArray[np.int32], weight: PackedWeight, scale: float, out: Rows) -> None:
        """out[t] = weight[input_ids[t]] * scale."""
        ids = np.ascontiguousarray(input_ids)
        self._run(len(out), lambda p, m: append_embedding(p, address(ids), weight, scale, m(out)))

    def norm(self, kind: str, x: Rows, weight: Rows, bias: Rows | None, eps: float, out: Rows) -> None:
        """rms_norm or layer_norm."""
        self._run(len(x), lambda p, m: append_norm(p, kind, m(x), weight, bias, eps, m(out), None))

    def linear(self, x: Rows, weight: PackedWeight, bias: Rows | None, out: Rows) -> None:
        """x @ weight.T + bias."""

        def append(program: Program, view: Callable[[Rows], Matrix]) -> None:
            append_linear(program, _input(program, view(x), len(x), weight), [Linear(weight, bias, view(out))])

        self._run(len(x), append)

    def rope(
        self, x: Rows, positions: NDArray[np.int32], head_dim: int, inv_freq: tuple[float, ...], scale: float, out: Rows
    ) -> None:
        """Rotary positions, x into out."""
        where = np.ascontiguousarray(positions)

        def append(program: Program, view: Callable[[Rows], Matrix]) -> None:
            rotated, table = view(out), RopeTable(len(x), inv_freq, scale)
            if address(out) != address(x):
                append_elementwise(program, "copy", view(x), None, rotated)
            table.append(program, address(where), rotated.num_rows)
            function = rope_function(program, rotated, head_dim, table)
            append_over_heads(program, function, rotated.width // head_dim)

        self._run(len(x), append)

    def attention(
        self, q: Rows, k: Rows, v: Rows, cache: LayerCache, step: Step, out: Rows, *,
        num_heads: int, scale: float, sliding_window: int, softcap: float, alibi_slopes: Sequence[float], causal: bool,
    ) -> None:  # fmt: skip
        """Write k and v to the cache, then attend."""
        num_seqs = np.array([step.num_seqs], np.int64)
        arrays = StepArrays(
            num_seqs=address(num_seqs),
            query_start_loc=address(step.query_start_loc),
            context_lens=address(step.context_lens),
            block_tables=address(step.block_tables),
            max_blocks=step.block_tables.shape[1],
        )

        def append(program: Program, view: Callable[[Rows], Matrix]) -> None:
            for kind, x in (("key", k), ("value", v)):
                function = write_function(program, kind, view(x), address(step.slot_mapping), cache)
                append_over_heads(program, function, cache.num_key_value_heads)
            append_attention(
                program, view(q), cache, arrays, view(out), None,
                num_heads=num_heads, scale=scale, sliding_window=sliding_window, softcap=softcap,
                alibi_slopes=alibi_slopes, causal=causal,
            )  # fmt: skip

        self._run(len(q), append)

    def elementwise(
        self, op: str, x: Rows, y: Rows | None, out: Rows, *, kind: str = "", constant: float = 0.0
    ) -> None:
        """act, act_mul, add, softcap or scale."""

        def append(program: Program, view: Callable[[Rows], Matrix]) -> None:
            other = None if y is None else view(y)
            append_elementwise(program, op, view(x), other, view(out), kind=kind, constant=constant)

        self._run(len(x), append)

    def gather_rows(self, x: Rows, logits_rows: NDArray[np.int32], out: Rows) -> None:
        """out[r] = x[logits_rows[r]]."""
        rows = np.ascontiguousarray(logits_rows)
        self._run(len(out), lambda p, m: append_gather(p, m(x), address(rows), m(out)))

    def moe_ffn(
        self, x: Rows, router: PackedWeight, gate: Sequence[PackedWeight], up: Sequence[PackedWeight],
        down: Sequence[PackedWeight], num_experts_per_tok: int, kind: str, norm_topk_prob: bool, out: Rows,
    ) -> None:  # fmt: skip
        """Each row through its num_experts_per_tok likeliest experts, added in order of likelihood."""
        if num_experts_per_tok > router.rows:
            raise ModelError(f"num_experts_per_tok is {num_experts_per_tok}, the router has {router.rows} experts")
        scores = np.empty((len(x), router.rows), np.float32)
        self.linear(x, router, None, scores)
        chosen, shares = _choose_experts(scores, num_experts_per_tok, norm_topk_prob)
        mixed = np.zeros((num_experts_per_tok, *out.shape), np.float32)
        for expert in np.unique(chosen):
            rows, ranks = np.nonzero(chosen == expert)
            mixed[ranks, rows] = self._expert(x[rows], gate[expert], up[expert], down[expert], kind)
        out[:] = 0
        for rank in range(num_experts_per_tok):
            out += shares[:, rank, None] * mixed[rank]

    def _expert(self, x: Rows, gate: PackedWeight, up: PackedWeight, down: PackedWeight, kind: str) -> Rows:
        hidden, result = np.empty((len(x), gate.rows), np.float32), np.empty((len(x), down.rows), np.float32)

        def append(program: Program, view: Callable[[Rows], Matrix]) -> None:
            append_gated(program, kind, _input(program, view(x), len(x), gate), gate, up, view(hidden), None)
            append_linear(program, _input(program, view(hidden), len(x), down), [Linear(down, None, view(result))])

        self._run(len(x), append)
        return result


def _input(program: Program, x: Matrix, num_rows: int, weight: PackedWeight) -> LinearInput:
    """x in the form that a weight's kernel reads."""
    if not weight.takes_integers:
        tiles = FloatTiles(num_rows, x.width)
        program.keep(tiles.memory)
        append_interleave(program, x, tiles)
        return float_input(x, tiles)
    activations = Activations(num_rows, x.width, program.num_threads, weight.lanes_per_row)
    program.keep(activations.memory)
    append_quantize(program, x, activations)
    return quantized_input(x, activations)


def _choose_experts(scores: Rows, count: int, normalize: bool) -> tuple[NDArray[np.intp], Rows]:
    """Ids and shares [T, count] of the best experts by softmax; ties go to the lower id."""
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    probabilities = weights / weights.sum(axis=-1, keepdims=True)
    chosen = np.argsort(-probabilities, axis=-1, kind="stable")[:, :count]
    shares: Rows = np.take_along_axis(probabilities, chosen, axis=-1)
    return chosen, shares / shares.sum(axis=-1, keepdims=True) if normalize else shares
