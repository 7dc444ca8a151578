"""The ops: the whole vocabulary in which an architecture is written and a backend is implemented.

Shape letters: T tokens of a step, S sequences, R rows whose output is wanted, D hidden size, H heads,
K key/value heads, V vocabulary. Every value is a float32 matrix [T, width] (or [R, width] after
`gather_rows`); heads lie side by side in a row. A node may write over its first input where the table
says "in place". Weights are named inputs too; `step.*` inputs are the int32 arrays of `Step`.
A norm is over groups of as many columns as its weight, a vector, is long: all, or those of a head (QK-norm). Where each
group has its own factors, the weight is a matrix [groups, columns]; a bias has the shape of the weight.

The reference maths of each op is its kernel in `realizar.reference`.
"""

from __future__ import annotations

import attrs

from realizar.errors import ModelError

ACTIVATIONS = ("relu", "relu2", "sigmoid", "gelu", "gelu_tanh", "silu", "mish", "selu", "hardswish")
"""Names of elementwise activations; `gelu` is the exact (erf) form, `relu2` is relu squared."""


@attrs.frozen
class Op:
    """What an op takes and gives.

    inputs: values first, then weights, in the order of a kernel's positional arguments; a trailing "?" is optional.
    attributes: keyword arguments of the kernel. in_place: the output may be the first input.
    uses_cache: the kernel also gets `cache` (the layer's `LayerCache`) and `step` (the `Step`).
    """

    name: str
    inputs: tuple[str, ...]
    attributes: tuple[str, ...]
    summary: str
    in_place: bool = False
    uses_cache: bool = False

    @property
    def min_inputs(self) -> int:
        """How many inputs are not optional."""
        return sum(not name.endswith("?") for name in self.inputs)


_OPS = (
    Op("embedding", ("input_ids", "weight"), ("scale",), "Row input_ids[t] of weight [V, D], times scale."),
    Op("rms_norm", ("x", "weight"), ("eps",),
       "x / sqrt(mean(x^2) + eps) * weight, over groups of columns.", in_place=True),
    Op("layer_norm", ("x", "weight", "bias?"), ("eps",),
       "(x - mean) / sqrt(var + eps) * weight + bias, over groups of columns.", in_place=True),
    Op("linear", ("x", "weight", "bias?"), (), "x @ weight.T + bias; weight is [out, in], of any type."),
    Op("rope", ("x", "positions"), ("head_dim", "inv_freq", "scale"),
       "Rotate the first 2*len(inv_freq) columns of each head by position * inv_freq, halves paired (i, i + n/2); "
       "cosines and sines times scale.", in_place=True),
    Op("attention", ("q", "k", "v"),
       ("num_heads", "num_key_value_heads", "head_dim", "scale", "sliding_window", "softcap",
        "alibi_slopes", "causal"),
       "Write k and v to the cache at slot_mapping, then softmax(scale * q.k) v over the sequence's blocks: causal, "
       "or over all of its context_lens tokens; "
       "head h adds alibi_slopes[h] * (j - p) to the score of position j at p, unless there are no slopes.",
       uses_cache=True),
    Op("add", ("x", "y"), (), "x + y.", in_place=True),
    Op("mul", ("x", "y"), (), "x * y, where y may have a single column.", in_place=True),
    Op("scale", ("x",), ("factor",), "x * factor.", in_place=True),
    Op("act", ("x",), ("kind",), "An activation of ACTIVATIONS, elementwise.", in_place=True),
    Op("act_mul", ("gate", "up"), ("kind",), "activation(gate) * up.", in_place=True),
    Op("softcap", ("x",), ("cap",), "cap * tanh(x / cap).", in_place=True),
    Op("gather_rows", ("x", "logits_rows"), (), "Rows logits_rows of x: [T, width] -> [R, width]."),
    Op("moe_ffn", ("x", "router", "gate", "up", "down"), ("num_experts_per_tok", "kind", "norm_topk_prob"),
       "Each row through its best experts' gated feed-forward, weighted by the router's softmax; experts lie along "
       "axis 0 of gate, up [E, F, D] and down [E, D, F]."),
)  # fmt: skip

OPS: dict[str, Op] = {op.name: op for op in _OPS}
"""Every op by name."""

STEP_INPUTS = {"input_ids": "T", "token_type_ids": "T", "positions": "T", "logits_rows": "R"}
"""Names of `Step` arrays that a node may take as inputs, and what they count."""


def op(name: str) -> Op:
    """The op of that name; raises ModelError naming the known ones."""
    if name not in OPS:
        raise ModelError(f"unknown op {name!r}; known: {', '.join(OPS)}")
    return OPS[name]
