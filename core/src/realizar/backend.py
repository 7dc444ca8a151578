"""The compute seam: how a graph meets a machine.

A backend loads weights into its own layout and runs steps. It must write `load` and one `@kernel` per op;
it may claim whole blocks with `compile_block` and wrap whole steps with `capture`. The most derived
definition wins: a block that contains an op overridden below the class that wrote `compile_block` is walked
node by node, so overriding one op of a fused backend is right by default.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.dtypes import dtype
from realizar.errors import UnsupportedOp
from realizar.graph import Block, Graph, Node
from realizar.host_memory import available_memory
from realizar.ops import op
from realizar.progress import Progress, silent
from realizar.tensors import LazyTensor
from realizar.trace import Tracer

if TYPE_CHECKING:
    from realizar.kernel_report import KernelReport

Buffer = Any
"""A loaded weight: whatever the backend's own kernels take."""

StepFn = Callable[[], None]
"""Runs one step (or one block of it) over the arrays of the plan it was compiled for."""

F = TypeVar("F", bound=Callable[..., Any])


@attrs.frozen
class Availability:
    """Whether a backend can run here. score: 0 = it cannot; higher wins. detail: the device, or the reason."""

    score: int
    detail: str


@attrs.frozen
class BackendOptions:
    """What an engine asks of its backend. threads: None = all cores it may use. kv_type: None = `kv_types[0]`.

    deterministic: a row's bits must depend on nothing that is computed beside it.
    """

    threads: int | None = None
    kv_type: str | None = None
    deterministic: bool = False


@attrs.frozen
class Floor:
    """What the machine itself can do, measured, so that a backend's speed can be told as a fraction of it.

    bytes_per_s: reading memory, of each pass over data larger than the caches. int8_ops_per_s: dot products of bytes
    in registers, a multiplication and an addition counted as two, of each pass. Both with the backend's threads.
    """

    bytes_per_s: tuple[float, ...]
    int8_ops_per_s: tuple[float, ...]


@attrs.define
class Step:
    """The fixed int32 arrays that a step reads; counts say how much of them is in use.

    input_ids, positions, slot_mapping: [max_tokens]; slot = block * block_size + offset.
    token_type_ids: [max_tokens]: which text of a pair a token is of; 0 for a text alone.
    query_start_loc: [max_seqs + 1]: tokens of sequence s are query_start_loc[s]:query_start_loc[s + 1].
    context_lens: [max_seqs]: tokens of s in the cache after this step. block_tables: [max_seqs, max_blocks].
    logits_rows: [max_rows]: the tokens whose output is wanted.
    """

    input_ids: NDArray[np.int32]
    token_type_ids: NDArray[np.int32]
    positions: NDArray[np.int32]
    slot_mapping: NDArray[np.int32]
    query_start_loc: NDArray[np.int32]
    context_lens: NDArray[np.int32]
    block_tables: NDArray[np.int32]
    logits_rows: NDArray[np.int32]
    num_tokens: int = 0
    num_seqs: int = 0
    num_rows: int = 0

    @classmethod
    def empty(cls, *, max_tokens: int, max_seqs: int, max_rows: int, max_blocks: int) -> Step:
        """Arrays of these sizes, zeroed."""

        def zeros(*shape: int) -> NDArray[np.int32]:
            return np.zeros(shape, np.int32)

        return cls(
            input_ids=zeros(max_tokens), token_type_ids=zeros(max_tokens), positions=zeros(max_tokens),
            slot_mapping=zeros(max_tokens), query_start_loc=zeros(max_seqs + 1), context_lens=zeros(max_seqs),
            block_tables=zeros(max_seqs, max_blocks), logits_rows=zeros(max_rows),
        )  # fmt: skip


@attrs.frozen
class Bucket:
    """Sizes that one plan is made for; a step runs in the smallest bucket that holds it."""

    max_tokens: int
    max_seqs: int
    max_rows: int

    def holds(self, tokens: int, seqs: int, rows: int) -> bool:
        """Whether a step of these counts fits."""
        return tokens <= self.max_tokens and seqs <= self.max_seqs and rows <= self.max_rows


@attrs.frozen
class CacheSpec:
    """Shape of a paged KV cache: layers of (num_key_value_heads, head_dim), num_blocks of block_size tokens."""

    layers: tuple[tuple[int, int], ...]
    num_blocks: int
    block_size: int
    dtype: str

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values of all layers; each head is whole blocks of a type that has blocks."""
        kind = dtype(self.dtype)
        head_nbytes = sum(
            heads * -(-head_dim // kind.block_size) * kind.block_nbytes for heads, head_dim in self.layers
        )
        return 2 * head_nbytes * self.num_blocks * self.block_size


@attrs.define
class Plan:
    """One bucket: a graph with every buffer it needs, made before the first step so that steps allocate nothing.

    values: name -> float32 [max_tokens, width] (or [max_rows, width]). weights: tensor name -> Buffer.
    cache: one entry per attention layer, in the backend's own form. state: free for the backend.
    """

    graph: Graph
    weights: Mapping[str, Buffer]
    cache: Sequence[Any]
    step: Step
    values: Mapping[str, Any]
    state: dict[str, Any] = attrs.field(factory=dict)


def kernel(name: str) -> Callable[[F], F]:
    """Mark a method as the kernel of the op `name`: `kernel(self, *inputs, **attributes, out)` writes into `out`.

    Inputs come as arrays of the step's rows and as loaded weights; absent optional inputs are not passed.
    An op with `uses_cache` also gets `cache=` (the layer's entry of `Plan.cache`) and `step=`.
    """
    op(name)

    def mark(function: F) -> F:
        function._realizar_op = name  # type: ignore[attr-defined]
        return function

    return mark


class Backend(ABC):
    """Runs graphs on one device. A contribution is the class; each engine makes its own instance."""

    name: ClassVar[str]
    priority: ClassVar[int] = 0
    kv_types: ClassVar[tuple[str, ...]] = ("F32",)
    """KV cache types it can hold, the default first."""
    batch_invariant: ClassVar[bool] = False
    """Whether a row's bits depend on nothing that is computed beside it, always or with `options.deterministic`."""
    proves_parity: ClassVar[bool] = False
    """Whether each loaded model is compared with the reference before it is served (`realizar.parity.gate`)."""

    prepacked_layout: str | None = None
    """Names what `prepack` gives, in a word without dots: the layout, its version, and all that it depends on.

    A model file may hold such copies; None: this backend makes none.
    """

    _kernels: ClassVar[dict[str, tuple[type, str]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._kernels = {}
        for base in reversed(cls.__mro__):
            for attribute, function in vars(base).items():
                name = getattr(function, "_realizar_op", None)
                if name is not None:
                    cls._kernels[name] = (base, attribute)

    def __init__(self, options: BackendOptions | None = None, progress: Progress = silent) -> None:
        self.options = options or BackendOptions()
        self.progress = progress
        self.tracer: Tracer | None = None
        """Where set, `compile`d steps record a span per block, and if it wants `ops`, one per op that is not fused."""

    @classmethod
    @abstractmethod
    def probe(cls) -> Availability:
        """Whether it can run here: cheap, and no exception for a missing device."""

    @classmethod
    def weights_nbytes(cls, tensors: Sequence[LazyTensor]) -> int:
        """Bytes of these tensors once they are loaded, by default as in the file; only their headers are read."""
        return sum(tensor.nbytes for tensor in tensors)

    @classmethod
    def scratch_nbytes(cls, graph: Graph, bucket: Bucket) -> int:
        """Bytes of a plan's values in the largest bucket, and whatever else a step works in."""
        rows = {True: bucket.max_rows, False: bucket.max_tokens}
        return sum(4 * width * rows[name in graph.row_values] for name, width in graph.values.items())

    @classmethod
    def memory_budget(cls) -> int | None:
        """Bytes that the device can give now; None = not known. By default, this machine's memory."""
        return available_memory()

    def reserve(  # noqa: B027 (most backends take memory as it comes)
        self, tensors: Sequence[LazyTensor], prepacked: frozenset[str] = frozenset()
    ) -> None:
        """Make room in one piece for these tensors, which will be loaded next; once a model, nothing is read.

        prepacked: names of those that come as copies, if these fit (`load_prepacked`).
        """

    @abstractmethod
    def load(self, tensor: LazyTensor, ops: frozenset[str]) -> Buffer:
        """The tensor in this backend's layout; `ops` are those that read it."""

    def prepacked_nbytes(self, tensor: LazyTensor) -> int:
        """Bytes of `prepack(tensor)`, by its type and shape; 0: it is not worth a copy."""
        return 0

    def prepack(self, tensor: LazyTensor, ops: frozenset[str]) -> NDArray[np.uint8]:
        """The bytes of `load(tensor)`: the same wherever `prepacked_layout` is the same."""
        raise UnsupportedOp(f"backend {self.name!r} makes no prepacked copies")

    def load_prepacked(self, tensor: LazyTensor, ops: frozenset[str], data: NDArray[np.uint8]) -> Buffer:
        """What `load(tensor)` gives, from `data`: `prepacked_nbytes` bytes of a file, which may be anything.

        They are mapped, and stay so until the model file is closed; their pages may be dropped. `tensor` is not read.
        """
        raise UnsupportedOp(f"backend {self.name!r} loads no prepacked copies")

    @abstractmethod
    def make_cache(self, spec: CacheSpec) -> Sequence[Any]:
        """Zeroed keys and values, one entry per layer."""

    def make_plan(self, graph: Graph, weights: Mapping[str, Buffer], cache: Sequence[Any], step: Step) -> Plan:
        """A plan whose values are float32 NumPy arrays; override to put them on a device."""
        rows = {True: len(step.logits_rows), False: len(step.input_ids)}
        values = {
            name: np.zeros((rows[name in graph.row_values], width), np.float32) for name, width in graph.values.items()
        }
        return Plan(graph, weights, cache, step, values)

    def buckets(self, limit: Bucket) -> Sequence[Bucket]:
        """The sizes to make plans for, smallest first and `limit` last; one is enough where counts are free."""
        return (limit,)

    def compile_block(self, block: Block, plan: Plan) -> StepFn | None:
        """A function that runs the whole block, or None to have its nodes walked."""
        return None

    def capture(self, step: StepFn, plan: Plan) -> StepFn:
        """A cheaper equivalent of `step` (a recorded device graph); by default `step` itself."""
        return step

    def compile(self, plan: Plan) -> StepFn:
        """A function that runs one step of the plan's graph; fills `plan.values[graph.output]`."""
        parts = [(block.name, self._compile_or_walk(block, plan)) for block in plan.graph.blocks]

        def run() -> None:
            if self.tracer is None:
                for _, part in parts:
                    part()
            else:
                for name, part in parts:
                    with self.tracer.span(name):
                        part()

        return self.capture(run, plan)

    def logits(self, plan: Plan) -> NDArray[np.float32]:
        """The wanted rows of the graph's output, float32 [R, width] in host memory; a view, until the next step."""
        logits: NDArray[np.float32] = plan.values[plan.graph.output][: plan.step.num_rows]
        return logits

    def read(self, plan: Plan, name: str) -> NDArray[np.float32]:
        """The rows of a value that the last step wrote, float32 [T or R, width] in host memory; perhaps a view."""
        count = plan.step.num_rows if name in plan.graph.row_values else plan.step.num_tokens
        return np.asarray(plan.values[name][:count], np.float32)

    def write(self, plan: Plan, name: str, rows: NDArray[np.float32]) -> None:
        """Put rows where the next op will read them, for those who look at ops one by one."""
        plan.values[name][: len(rows)] = rows

    def read_blocks(self, cache: Sequence[Any], blocks: Sequence[int]) -> NDArray[np.uint8]:
        """The keys and values of cache blocks, uint8 [len(blocks), nbytes], in this backend's own layout."""
        raise UnsupportedOp(f"backend {self.name!r} cannot save its KV cache")

    def write_blocks(self, cache: Sequence[Any], blocks: Sequence[int], content: NDArray[np.uint8]) -> None:
        """Replace the keys and values of cache blocks with what `read_blocks` gave."""
        raise UnsupportedOp(f"backend {self.name!r} cannot restore its KV cache")

    def notes(self) -> Sequence[str]:
        """What a user should know about how the loaded model runs (a type dequantized at load, a missing cache)."""
        return ()

    def floor(self) -> Floor | None:
        """Measure what this machine can do at best; None where a backend has no kernels for that. Takes a second."""
        return None

    @classmethod
    def explainable(cls) -> Sequence[str]:
        """Names of the kernels that `explain` knows, such as "linear Q4_1 decode"; none by default."""
        return ()

    @classmethod
    def explain(cls, kernel: str, target: str | None = None) -> KernelReport:
        """What the code of a kernel of `explainable` is; nothing of it is run.

        target: the instruction set or device to compile for; None = what would be used here.
        Raises BackendUnavailable if it cannot be compiled for here.
        """
        raise UnsupportedOp(f"backend {cls.name!r} cannot explain its kernels")

    def close(self) -> None:  # noqa: B027 (most backends hold nothing)
        """Release threads and device memory; the instance must not be used afterwards."""

    @classmethod
    def supported_ops(cls) -> frozenset[str]:
        """Names of the ops that have a kernel."""
        return frozenset(cls._kernels)

    def _compile_or_walk(self, block: Block, plan: Plan) -> StepFn:
        if self._may_fuse(block):
            fused = self.compile_block(block, plan)
            if fused is not None:
                return fused
        return self._walk(block, plan)

    def _may_fuse(self, block: Block) -> bool:
        """Whether no op of the block is overridden below the class that wrote `compile_block`."""
        mro = type(self).__mro__
        author = next(i for i, cls in enumerate(mro) if "compile_block" in vars(cls))
        return all(mro.index(self._kernel_of(node)[0]) >= author for node in block.nodes)

    def _kernel_of(self, node: Node) -> tuple[type, str]:
        try:
            return self._kernels[node.op]
        except KeyError:
            raise UnsupportedOp(
                f"backend {self.name!r} has no kernel for op {node.op!r}; it has: {', '.join(sorted(self._kernels))}"
            ) from None

    def _walk(self, block: Block, plan: Plan) -> StepFn:
        calls = [self._bind(node, block, plan) for node in block.nodes]
        named = [(_op_name(node, block), call) for node, call in zip(block.nodes, calls, strict=True)]

        def run() -> None:
            tracer = self.tracer
            if tracer is None or not tracer.ops:
                for call in calls:
                    call()
            else:
                for name, call in named:
                    with tracer.span(name, block=block.name):
                        call()

        return run

    def _bind(self, node: Node, block: Block, plan: Plan) -> StepFn:
        function = getattr(self, self._kernel_of(node)[1])
        inputs = [self._argument(name, block, plan) for name in node.inputs]
        output = self._argument(node.output, block, plan)
        keywords = dict(node.attrs)
        if op(node.op).uses_cache:
            keywords |= {"cache": plan.cache[block.layer_id or 0], "step": plan.step}

        def call() -> None:
            function(*(get() for get in inputs), **keywords, out=output())

        return call

    def _argument(self, name: str, block: Block, plan: Plan) -> Callable[[], Any]:
        """How a node gets an input: a weight as loaded, a value or step array cut to the rows in use."""
        step = plan.step
        if name in block.weights:
            weight = plan.weights[block.weights[name].tensor]
            return lambda: weight
        array = plan.values[name] if name in plan.values else getattr(step, name)
        if name in plan.graph.row_values or name == "logits_rows":
            return lambda: array[: step.num_rows]
        return lambda: array[: step.num_tokens]


def _op_name(node: Node, block: Block) -> str:
    """The op and its weights, by local names: "linear self_attn.q_proj"."""
    weights = [name.removesuffix(".weight") for name in node.inputs if name in block.weights]
    return " ".join([node.op, *weights])
