"""What each op is tried on: a short fixed list of shapes and attributes, so that little has to be compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from realizar.dtypes import DTYPES, DType
from realizar.graph import Block, Graph, Node, WeightSpec
from realizar.ops import ACTIVATIONS
from realizar.tensors import LazyTensor
from realizar.testing.models import memory_tensor, random_weights

NUM_ROWS = 32
"""Rows of the tables that inputs are looked up in, and of embeddings."""


@attrs.frozen
class OpVariant:
    """One op with fixed sizes.

    values: the op's value inputs and their widths; each comes from an F32 table through `embedding`, which is exact.
    weights: local name -> (shape, type name). step_inputs: arrays of `Step` that the node takes.
    width: of the output. in_place: the output is the first input.
    """

    label: str
    op: str
    width: int
    values: Mapping[str, int] = attrs.field(factory=dict)
    weights: Mapping[str, tuple[tuple[int, ...], str]] = attrs.field(factory=dict)
    attributes: Mapping[str, Any] = attrs.field(factory=dict)
    step_inputs: tuple[str, ...] = ()
    in_place: bool = False

    def graph(self) -> Graph:
        """A block that looks the values up, then a block of the one node."""
        output = next(iter(self.values)) if self.in_place else "result"
        node = Node(self.op, (*self.values, *self.step_inputs, *self.weights), output, self.attributes)
        weights = {name: WeightSpec(name, shape, kind) for name, (shape, kind) in self.weights.items()}
        lookups = tuple(Node("embedding", ("input_ids", f"{v}.table"), v, {"scale": 1.0}) for v in self.values)
        tables = {f"{v}.table": WeightSpec(f"{v}.table", (NUM_ROWS, width), "F32") for v, width in self.values.items()}
        inputs = (Block("inputs", lookups, tables),) if lookups else ()
        row_values = frozenset([output]) if self.op == "gather_rows" else frozenset[str]()
        return Graph(
            (*inputs, Block("op", (node,), weights, 0)), {**self.values, output: self.width}, row_values, output
        )

    def tensors(self, seed: int, scale: float = 1.0) -> dict[str, LazyTensor]:
        """Random weights, and tables of standard deviation `scale` whose first row is zero."""
        rng = np.random.default_rng(seed)
        tensors = {
            name: memory_tensor(name, random_weights(shape, DTYPES[kind], rng), DTYPES[kind])
            for name, (shape, kind) in self.weights.items()
        }
        for name, width in self.values.items():
            table = (scale * rng.standard_normal((NUM_ROWS, width))).astype(np.float32)
            table[0] = 0
            tensors[f"{name}.table"] = memory_tensor(f"{name}.table", table, DTYPES["F32"])
        return tensors


def linear_variant(inputs: int, outputs: int, kind: DType, bias: bool = False) -> OpVariant:
    """`linear` with a weight of any type and perhaps a float32 bias."""
    weights: dict[str, tuple[tuple[int, ...], str]] = {"weight": ((outputs, inputs), kind.name)}
    if bias:
        weights["bias"] = ((outputs,), "F32")
    label = f"linear-{kind.name}-{inputs}-to-{outputs}{'-bias' * bias}"
    return OpVariant(label, "linear", outputs, {"x": inputs}, weights)


def embedding_variant(width: int, kind: DType, scale: float = 1.0) -> OpVariant:
    """`embedding` with a table of any type."""
    weights: dict[str, tuple[tuple[int, ...], str]] = {"weight": ((NUM_ROWS, width), kind.name)}
    label = f"embedding-{kind.name}-{width}-times-{scale:g}"
    return OpVariant(label, "embedding", width, {}, weights, {"scale": scale}, ("input_ids",))


def attention_variant(
    heads: int,
    kv_heads: int,
    head_dim: int,
    *,
    sliding_window: int = 0,
    softcap: float = 0.0,
    scale: float | None = None,
    alibi_slopes: tuple[float, ...] = (),
    causal: bool = True,
) -> OpVariant:
    """`attention`; scale is head_dim^-0.5 unless given."""
    attributes = {
        "num_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head_dim,
        "scale": head_dim**-0.5 if scale is None else scale, "sliding_window": sliding_window, "softcap": softcap,
        "alibi_slopes": alibi_slopes, "causal": causal,
    }  # fmt: skip
    label = f"attention-{heads}-{kv_heads}-{head_dim}-window-{sliding_window}-softcap-{softcap:g}"
    label += "-alibi" * bool(alibi_slopes) + "-all" * (not causal)
    values = {"q": heads * head_dim, "k": kv_heads * head_dim, "v": kv_heads * head_dim}
    return OpVariant(label, "attention", heads * head_dim, values, {}, attributes)


def _rms_norm(width: int, group: int, eps: float, in_place: bool) -> OpVariant:
    return OpVariant(
        f"rms_norm-{width}-by-{group}", "rms_norm", width, {"x": width}, {"weight": ((group,), "F32")}, {"eps": eps},
        in_place=in_place,
    )  # fmt: skip


def _layer_norm(width: int, bias: bool, in_place: bool, shape: tuple[int, ...] | None = None) -> OpVariant:
    weights: dict[str, tuple[tuple[int, ...], str]] = {"weight": (shape or (width,), "F32")}
    if bias:
        weights["bias"] = weights["weight"]
    by = f"-by-{'-'.join(map(str, shape))}" if shape else ""
    label = f"layer_norm-{width}{by}{'-bias' * bias}"
    return OpVariant(label, "layer_norm", width, {"x": width}, weights, {"eps": 1e-5}, in_place=in_place)


def _rope(heads: int, head_dim: int, rotary_dim: int, scale: float, in_place: bool) -> OpVariant:
    inv_freq = tuple(float(f) for f in 10000.0 ** -(np.arange(0, rotary_dim, 2) / rotary_dim))
    attributes = {"head_dim": head_dim, "inv_freq": inv_freq, "scale": scale}
    width = heads * head_dim
    return OpVariant(
        f"rope-{heads}-{head_dim}-{rotary_dim}-times-{scale:g}", "rope", width, {"x": width}, {}, attributes,
        ("positions",), in_place,
    )  # fmt: skip


def _moe_ffn(experts: int, chosen: int, hidden: int, ffn: int, kind: str, norm: bool) -> OpVariant:
    weights: dict[str, tuple[tuple[int, ...], str]] = {
        "router": ((experts, hidden), "F32"),
        "gate": ((experts, ffn, hidden), "F32"),
        "up": ((experts, ffn, hidden), "F32"),
        "down": ((experts, hidden, ffn), "F32"),
    }
    attributes = {"num_experts_per_tok": chosen, "kind": kind, "norm_topk_prob": norm}
    return OpVariant(
        f"moe_ffn-{chosen}-of-{experts}{'-norm' * norm}", "moe_ffn", hidden, {"x": hidden}, weights, attributes
    )


_F32 = DTYPES["F32"]

OP_VARIANTS: tuple[OpVariant, ...] = (
    embedding_variant(64, _F32), embedding_variant(33, _F32, 8.0),
    _rms_norm(64, 64, 1e-5, False), _rms_norm(35, 35, 1e-6, True), _rms_norm(96, 32, 1e-6, True),
    _layer_norm(64, True, False), _layer_norm(35, False, True),
    _layer_norm(96, True, True, (32,)), _layer_norm(60, False, True, (3, 20)), _layer_norm(96, True, False, (6, 16)),
    linear_variant(64, 48, _F32), linear_variant(33, 7, _F32, True), linear_variant(128, 129, _F32, True),
    _rope(4, 16, 16, 1.0, True), _rope(3, 64, 64, 1.0, False), _rope(2, 80, 32, 0.75, True), _rope(1, 6, 4, 1.0, True),
    attention_variant(4, 4, 32), attention_variant(9, 3, 64), attention_variant(6, 1, 48), attention_variant(2, 2, 80),
    attention_variant(4, 2, 16, sliding_window=3), attention_variant(4, 2, 64, sliding_window=7, softcap=5.0),
    attention_variant(8, 2, 128, scale=0.25), attention_variant(5, 5, 8, softcap=20.0),
    attention_variant(4, 2, 32, alibi_slopes=(0.25, 0.0625, 0.5, 2.0)),
    attention_variant(4, 4, 32, causal=False), attention_variant(6, 2, 40, softcap=5.0, causal=False),
    OpVariant("mul-65", "mul", 65, {"x": 65, "y": 65}), OpVariant("mul-64-by-1", "mul", 64, {"x": 64, "y": 1}),
    OpVariant("scale-65", "scale", 65, {"x": 65}, {}, {"factor": 0.22}, in_place=True),
    OpVariant("add-65", "add", 65, {"x": 65, "y": 65}),
    OpVariant("add-64-in-place", "add", 64, {"x": 64, "y": 64}, in_place=True),
    *(OpVariant(f"act-{k}", "act", 37, {"x": 37}, {}, {"kind": k}, in_place=i % 2 == 0)
      for i, k in enumerate(ACTIVATIONS)),
    *(OpVariant(f"act_mul-{k}", "act_mul", 37, {"gate": 37, "up": 37}, {}, {"kind": k}, in_place=i % 2 == 1)
      for i, k in enumerate(ACTIVATIONS)),
    OpVariant("softcap-30", "softcap", 61, {"x": 61}, {}, {"cap": 30.0}, in_place=True),
    OpVariant("gather_rows-40", "gather_rows", 40, {"x": 40}, {}, {}, ("logits_rows",)),
    _moe_ffn(4, 2, 32, 48, "silu", True), _moe_ffn(7, 3, 40, 24, "gelu_tanh", False),
    _moe_ffn(5, 1, 32, 33, "silu", False),
)  # fmt: skip
"""Every op at least once; every activation, grouped and single heads, windows and caps, widths that no vector fills."""


def weight_variants(op: str, kind: DType) -> tuple[OpVariant, ...]:
    """`linear` or `embedding` at two sizes with a weight of that type."""
    if op == "embedding":
        widths = (kind.block_size, 3 * kind.block_size) if kind.is_quantized else (64, 33)
        return tuple(embedding_variant(width, kind) for width in widths)
    sizes = ((kind.block_size, 7), (3 * kind.block_size, 33)) if kind.is_quantized else ((64, 7), (65, 33))
    return tuple(linear_variant(inputs, outputs, kind) for inputs, outputs in sizes)
