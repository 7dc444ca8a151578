"""NumbaBackend: the ops, each on its own and fused by the block. Numba itself is imported with the first instance."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from realizar.backend import (
    Availability,
    Backend,
    BackendOptions,
    Buffer,
    CacheSpec,
    Floor,
    Plan,
    Step,
    StepFn,
    kernel,
)
from realizar.errors import BackendUnavailable, RequestError
from realizar.graph import Block, Graph
from realizar.progress import Progress, silent
from realizar.tensors import LazyTensor
from realizar_numba import isa
from realizar_numba.cores import available_threads

if TYPE_CHECKING:
    from realizar.kernel_report import KernelReport
    from realizar_numba.kvcache import LayerCache
    from realizar_numba.weights.packed import PackedWeight

Rows = NDArray[np.float32]


class NumbaBackend(Backend):
    """Explicit SIMD on the CPU; 8-bit activations for quantized weights, the same bits at any batch size."""

    name = "numba"
    kv_types = ("F16", "F32", "BF16", "Q8_0")
    batch_invariant = True
    prepacked_layout = "numba-1"
    """The same for all instruction sets; another number for other bytes."""

    def __init__(self, options: BackendOptions | None = None, progress: Progress = silent) -> None:
        super().__init__(options, progress)
        from realizar_numba.runtime import Runtime

        threads = available_threads() if self.options.threads is None else self.options.threads
        if threads < 1:
            raise RequestError(f"threads is {threads}; expected a positive number")
        self.runtime = Runtime(isa.choose(), threads, progress)

    @classmethod
    def probe(cls) -> Availability:
        if importlib.util.find_spec("numba") is None:
            return Availability(0, "the package numba is not installed")
        try:
            path = isa.choose()
        except BackendUnavailable as error:
            return Availability(0, str(error))
        threads = available_threads()
        return Availability(50, f"{threads} thread{'s' * (threads != 1)}, {path}")

    @classmethod
    def weights_nbytes(cls, tensors: Sequence[LazyTensor]) -> int:
        from realizar_numba.weights.loader import arena_nbytes

        return arena_nbytes(tensors)

    def reserve(self, tensors: Sequence[LazyTensor], prepacked: frozenset[str] = frozenset()) -> None:
        self.runtime.loader.reserve(tensors, prepacked)

    def load(self, tensor: LazyTensor, ops: frozenset[str]) -> Buffer:
        """Vectors, and weights of norms, as float32 arrays, matrices as PackedWeight, experts as lists of them."""
        return self.runtime.loader.load(tensor, is_plain=_is_of_norm(ops))

    def prepacked_nbytes(self, tensor: LazyTensor) -> int:
        from realizar_numba.weights.loader import arena_nbytes

        return arena_nbytes([tensor])

    def prepack(self, tensor: LazyTensor, ops: frozenset[str]) -> NDArray[np.uint8]:
        return self.runtime.loader.prepack(tensor)

    def load_prepacked(self, tensor: LazyTensor, ops: frozenset[str], data: NDArray[np.uint8]) -> Buffer:
        return self.load(tensor, ops) if _is_of_norm(ops) else self.runtime.loader.load_prepacked(tensor, data)

    def make_cache(self, spec: CacheSpec) -> Sequence[LayerCache]:
        from realizar_numba.kvcache import make_layers

        return make_layers(spec)

    def read_blocks(self, cache: Sequence[LayerCache], blocks: Sequence[int]) -> NDArray[np.uint8]:
        from realizar_numba.kvcache import read_blocks

        return read_blocks(cache, blocks)

    def write_blocks(self, cache: Sequence[LayerCache], blocks: Sequence[int], content: NDArray[np.uint8]) -> None:
        from realizar_numba.kvcache import write_blocks

        write_blocks(cache, blocks, content)

    def make_plan(self, graph: Graph, weights: Mapping[str, Buffer], cache: Sequence[Any], step: Step) -> Plan:
        return self.runtime.make_plan(graph, weights, cache, step)

    def compile_block(self, block: Block, plan: Plan) -> StepFn | None:
        return self.runtime.compile_block(block, plan)

    def compile(self, plan: Plan) -> StepFn:
        """As inherited, but neighbouring fused blocks become one program: a step is one call, however many layers."""
        self.runtime.compile_ahead(plan)
        parts = [(block.name, self._compile_or_walk(block, plan)) for block in plan.graph.blocks]
        merged = self.runtime.merge([part for _, part in parts], plan)

        def run() -> None:
            if self.tracer is None:
                for part in merged:
                    part()
            else:
                for name, part in parts:
                    with self.tracer.span(name):
                        part()

        return self.capture(run, plan)

    def notes(self) -> Sequence[str]:
        return self.runtime.notes()

    def floor(self) -> Floor:
        from realizar_numba.floor import measure_floor

        return measure_floor(self.runtime.kernels, self.runtime.pool)

    @classmethod
    def explainable(cls) -> Sequence[str]:
        from realizar_numba.explain import catalogue

        return list(catalogue())

    @classmethod
    def explain(cls, kernel: str, target: str | None = None) -> KernelReport:
        from realizar_numba.explain import explain

        return explain(kernel, isa.choose(target))

    def close(self) -> None:
        self.runtime.close()

    @kernel("embedding")
    def embedding(self, input_ids: NDArray[np.int32], weight: PackedWeight, *, scale: float, out: Rows) -> None:
        """out[t] = weight[input_ids[t]] * scale."""
        self.runtime.ops.embedding(input_ids, weight, scale, out)

    @kernel("rms_norm")
    def rms_norm(self, x: Rows, weight: Rows, *, eps: float, out: Rows) -> None:
        """Root mean square norm over groups of columns."""
        self.runtime.ops.norm("rms_norm", x, weight, None, eps, out)

    @kernel("layer_norm")
    def layer_norm(self, x: Rows, weight: Rows, bias: Rows | None = None, *, eps: float, out: Rows) -> None:
        """Layer norm over groups of columns."""
        self.runtime.ops.norm("layer_norm", x, weight, bias, eps, out)

    @kernel("linear")
    def linear(self, x: Rows, weight: PackedWeight, bias: Rows | None = None, *, out: Rows) -> None:
        """out = x @ weight.T + bias, on activations rounded to 8 bits where the weight is quantized."""
        self.runtime.ops.linear(x, weight, bias, out)

    @kernel("rope")
    def rope(
        self,
        x: Rows,
        positions: NDArray[np.int32],
        *,
        head_dim: int,
        inv_freq: Sequence[float],
        scale: float,
        out: Rows,
    ) -> None:
        """Rotate pairs (i, i + n/2) of the first n = 2 len(inv_freq) columns of each head."""
        self.runtime.ops.rope(x, positions, head_dim, tuple(inv_freq), scale, out)

    @kernel("attention")
    def attention(
        self, q: Rows, k: Rows, v: Rows, *, num_heads: int, num_key_value_heads: int, head_dim: int, scale: float,
        sliding_window: int, softcap: float, alibi_slopes: Sequence[float], causal: bool, cache: LayerCache, step: Step,
        out: Rows,
    ) -> None:  # fmt: skip
        """Cache k and v, then softmax(scale * q k) v over each sequence's own past, or over all of it."""
        self.runtime.ops.attention(
            q,
            k,
            v,
            cache,
            step,
            out,
            num_heads=num_heads,
            scale=scale,
            sliding_window=sliding_window,
            softcap=softcap,
            alibi_slopes=alibi_slopes,
            causal=causal,
        )

    @kernel("add")
    def add(self, x: Rows, y: Rows, *, out: Rows) -> None:
        """out = x + y."""
        self.runtime.ops.elementwise("add", x, y, out)

    @kernel("mul")
    def mul(self, x: Rows, y: Rows, *, out: Rows) -> None:
        """out = x * y, a single column of y for all of x's."""
        np.multiply(x, y, out=out)

    @kernel("scale")
    def scale(self, x: Rows, *, factor: float, out: Rows) -> None:
        """out = x * factor."""
        self.runtime.ops.elementwise("scale", x, None, out, constant=factor)

    @kernel("act")
    def act(self, x: Rows, *, kind: str, out: Rows) -> None:
        """out = activation(x)."""
        self.runtime.ops.elementwise("act", x, None, out, kind=kind)

    @kernel("act_mul")
    def act_mul(self, gate: Rows, up: Rows, *, kind: str, out: Rows) -> None:
        """out = activation(gate) * up."""
        self.runtime.ops.elementwise("act_mul", gate, up, out, kind=kind)

    @kernel("softcap")
    def softcap(self, x: Rows, *, cap: float, out: Rows) -> None:
        """out = cap * tanh(x / cap)."""
        self.runtime.ops.elementwise("softcap", x, None, out, constant=cap)

    @kernel("gather_rows")
    def gather_rows(self, x: Rows, logits_rows: NDArray[np.int32], *, out: Rows) -> None:
        """out[r] = x[logits_rows[r]]."""
        self.runtime.ops.gather_rows(x, logits_rows, out)

    @kernel("moe_ffn")
    def moe_ffn(
        self, x: Rows, router: PackedWeight, gate: Sequence[PackedWeight], up: Sequence[PackedWeight],
        down: Sequence[PackedWeight], *, num_experts_per_tok: int, kind: str, norm_topk_prob: bool, out: Rows,
    ) -> None:  # fmt: skip
        """Each row through its likeliest experts."""
        self.runtime.ops.moe_ffn(x, router, gate, up, down, num_experts_per_tok, kind, norm_topk_prob, out)


def _is_of_norm(ops: frozenset[str]) -> bool:
    """Whether a tensor is a norm's weight, which may be a matrix and is never packed."""
    return not ops.isdisjoint(("rms_norm", "layer_norm"))
