"""CudaBackend: the ops on an NVIDIA GPU. CuPy is imported, and the device touched, with the first instance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from realizar.backend import (
    Availability,
    Backend,
    BackendOptions,
    Bucket,
    Buffer,
    CacheSpec,
    Plan,
    Step,
    StepFn,
    kernel,
)
from realizar.graph import Block, Graph
from realizar.progress import Progress, silent
from realizar.tensors import LazyTensor
from realizar_cuda.attention import Attributes
from realizar_cuda.probe import free_memory, probe

if TYPE_CHECKING:
    from realizar.kernel_report import KernelReport
    from realizar_cuda.kvcache import LayerCache
    from realizar_cuda.staged_step import StagedStep
    from realizar_cuda.weights import Weight

Rows = Any
"""A float32 CuPy array [rows, width]."""


class CudaBackend(Backend):
    """Own kernels in CUDA C++; decode steps are graphs, prompts run on tensor cores."""

    name = "cuda"
    kv_types = ("F16", "F32", "BF16", "Q8_0")

    def __init__(self, options: BackendOptions | None = None, progress: Progress = silent) -> None:
        super().__init__(options, progress)
        from realizar_cuda.runtime import Runtime, open_device

        self.runtime = Runtime(open_device(progress))

    @classmethod
    def probe(cls) -> Availability:
        return probe()

    @classmethod
    def memory_budget(cls) -> int | None:
        """Free memory of the GPU, None where there is none to ask."""
        return free_memory()

    def load(self, tensor: LazyTensor, ops: frozenset[str]) -> Buffer:
        """Matrices as Weight, all else as float32 arrays on the device."""
        return self.runtime.loader.load(tensor, ops)

    def make_cache(self, spec: CacheSpec) -> Sequence[LayerCache]:
        from realizar_cuda.kvcache import make_layers

        return make_layers(self.runtime.device, spec)

    def make_plan(self, graph: Graph, weights: Mapping[str, Buffer], cache: Sequence[Any], step: Step) -> Plan:
        return self.runtime.make_plan(graph, weights, cache, step)

    def buckets(self, limit: Bucket) -> Sequence[Bucket]:
        from realizar_cuda.runtime import buckets

        return buckets(limit)

    def compile_block(self, block: Block, plan: Plan) -> StepFn | None:
        """Few launches for the few tokens of a decode step; larger steps are walked."""
        return self.runtime.compile_block(block, plan, lambda node: self._bind(node, block, plan))

    def compile(self, plan: Plan) -> StepFn:
        """As inherited, after the step's arrays have been brought to the device."""
        return self.runtime.with_upload(super().compile(plan), plan)

    def capture(self, step: StepFn, plan: Plan) -> StepFn:
        return self.runtime.capture(step, plan)

    def logits(self, plan: Plan) -> NDArray[np.float32]:
        return self.runtime.logits(plan)

    def read(self, plan: Plan, name: str) -> NDArray[np.float32]:
        return self.runtime.read(plan, name)

    def write(self, plan: Plan, name: str, rows: NDArray[np.float32]) -> None:
        self.runtime.write(plan, name, rows)

    def notes(self) -> Sequence[str]:
        problem = self.runtime.device.compiler.cache.problem
        return (*self.runtime.loader.notes(), *([problem] if problem else []))

    @classmethod
    def explainable(cls) -> Sequence[str]:
        from realizar_cuda.explain import catalogue

        return list(catalogue())

    @classmethod
    def explain(cls, kernel: str, target: str | None = None) -> KernelReport:
        from realizar_cuda.explain import explain

        return explain(kernel, target)

    def close(self) -> None:
        self.runtime.close()

    @kernel("embedding")
    def embedding(self, input_ids: Any, weight: Weight, *, scale: float, out: Rows) -> None:
        """out[t] = weight[input_ids[t]] * scale."""
        self.runtime.ops.embedding(input_ids, weight, scale, out)

    @kernel("rms_norm")
    def rms_norm(self, x: Rows, weight: Any, *, eps: float, out: Rows) -> None:
        """Root mean square norm over groups of columns."""
        self.runtime.ops.rms_norm(x, weight, eps, out)

    @kernel("layer_norm")
    def layer_norm(self, x: Rows, weight: Any, bias: Any = None, *, eps: float, out: Rows) -> None:
        """Layer norm over groups of columns."""
        self.runtime.ops.layer_norm(x, weight, bias, eps, out)

    @kernel("linear")
    def linear(self, x: Rows, weight: Weight, bias: Any = None, *, out: Rows) -> None:
        """out = x @ weight.T + bias, on activations rounded to 8 bits where the weight is quantized and tokens few."""
        self.runtime.ops.linear(x, weight, bias, out)

    @kernel("rope")
    def rope(
        self, x: Rows, positions: Any, *, head_dim: int, inv_freq: Sequence[float], scale: float, out: Rows
    ) -> None:
        """Rotate pairs (i, i + n/2) of the first n = 2 len(inv_freq) columns of each head."""
        self.runtime.ops.rope(x, positions, head_dim, inv_freq, scale, out)

    @kernel("attention")
    def attention(
        self, q: Rows, k: Rows, v: Rows, *, num_heads: int, num_key_value_heads: int, head_dim: int, scale: float,
        sliding_window: int, softcap: float, alibi_slopes: Sequence[float], causal: bool, cache: LayerCache,
        step: StagedStep, out: Rows,
    ) -> None:  # fmt: skip
        """Cache k and v, then softmax(scale * q k) v over each sequence's own past, or over all of it."""
        attributes = Attributes(num_heads, scale, sliding_window, softcap, alibi_slopes, causal)
        self.runtime.ops.write_and_attend(q, k, v, attributes, cache, step, out)

    @kernel("add")
    def add(self, x: Rows, y: Rows, *, out: Rows) -> None:
        """out = x + y."""
        self.runtime.ops.elementwise("add", x, y, out)

    @kernel("mul")
    def mul(self, x: Rows, y: Rows, *, out: Rows) -> None:
        """out = x * y, a single column of y for all of x's."""
        self.runtime.ops.elementwise("mul", x, y, out)

    @kernel("scale")
    def scale(self, x: Rows, *, factor: float, out: Rows) -> None:
        """out = x * factor."""
        self.runtime.ops.elementwise("scale", x, None, out, factor=factor)

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
        self.runtime.ops.elementwise("softcap", x, None, out, factor=cap)

    @kernel("gather_rows")
    def gather_rows(self, x: Rows, logits_rows: Any, *, out: Rows) -> None:
        """out[r] = x[logits_rows[r]]."""
        self.runtime.ops.gather_rows(x, logits_rows, out)

    @kernel("moe_ffn")
    def moe_ffn(
        self, x: Rows, router: Weight, gate: Weight, up: Weight, down: Weight, *, num_experts_per_tok: int, kind: str,
        norm_topk_prob: bool, out: Rows,
    ) -> None:  # fmt: skip
        """Each row through its likeliest experts."""
        self.runtime.ops.moe_ffn(x, router, gate, up, down, num_experts_per_tok, kind, norm_topk_prob, out)
