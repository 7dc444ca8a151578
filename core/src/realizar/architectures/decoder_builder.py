"""The pieces that layers of decoder-only families are written with.

Values are `x`, the residual stream, `normed`, what a sublayer reads, and `mixed`, what it gives.
"""

from __future__ import annotations

from collections.abc import Mapping

from realizar.architectures.alibi import alibi_slopes
from realizar.architectures.architecture import BlockBuilder
from realizar.architectures.rope import Rotation
from realizar.errors import ModelError
from realizar.model import ModelConfig
from realizar.tensors import LazyTensor

QKNorm = tuple[tuple[int, ...], tuple[int, ...]]
"""Shapes of the weights of norms on queries and keys; see `DecoderBuilder.norm`."""


class DecoderBuilder(BlockBuilder):
    """A BlockBuilder that knows the configuration, and the pieces that decoders are made of.

    values: name -> width of every value so far, of all blocks.
    """

    def __init__(
        self, name: str, prefix: str, norm_op: str, config: ModelConfig, tensors: Mapping[str, LazyTensor],
        values: dict[str, int], layer_id: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, prefix, tensors, layer_id)
        self.norm_op, self.config, self.values = norm_op, config, values

    def value(self, name: str, width: int) -> str:
        """Declare a value; one name has one width in the whole model."""
        if self.values.setdefault(name, width) != width:
            raise ModelError(f"{self.name}: value {name!r} has {self.values[name]} columns elsewhere, {width} here")
        return name

    def linear(self, x: str, name: str, size: tuple[int, int], output: str) -> str:
        """As inherited; declares `output`."""
        return super().linear(x, name, size, self.value(output, size[0]))

    def embedding(self, ids: str, name: str, num_rows: int, output: str, scale: float = 1.0) -> str:
        """Rows `ids` of the table prefix + name + ".weight"."""
        hidden = self.config.hidden_size
        table = self.weight(f"{name}.weight", num_rows, hidden)
        return self.add("embedding", (ids, table), self.value(output, hidden), scale=scale)

    def norm(self, x: str, name: str, output: str = "normed", shape: tuple[int, ...] | None = None) -> str:
        """The family's norm, with a bias if it is a layer norm and the file has one.

        shape: (width of a group,) or, where each group has its own factors, (groups, width); else all columns.
        """
        shape = shape or (self.config.hidden_size,)
        inputs: tuple[str, ...] = (x, self.weight(f"{name}.weight", *shape))
        if self.norm_op == "layer_norm" and f"{self.prefix}{name}.bias" in self.tensors:
            inputs += (self.weight(f"{name}.bias", *shape),)
        eps = {"rms_norm": self.config.rms_norm_eps, "layer_norm": self.config.layer_norm_eps}[self.norm_op]
        return self.add(self.norm_op, inputs, self.value(output, self.values[x]), eps=eps)

    def residual(self, mixed: str = "mixed") -> str:
        """x = x + mixed, perhaps times a factor."""
        self.scale(mixed, self.config.residual_multiplier)
        return self.add("add", ("x", mixed), "x")

    def scale(self, x: str, factor: float) -> str:
        """x = x * factor; no node for a factor of 1."""
        return x if factor == 1 else self.add("scale", (x,), x, factor=factor)

    def rope(self, name: str, rotate: Rotation) -> str:
        """Rotate each head of a value by its position."""
        head_dim = self.config.head_dim
        return self.add(
            "rope", (name, "positions"), name, head_dim=head_dim, inv_freq=rotate.inv_freq, scale=rotate.scale
        )

    def norm_of_heads(self) -> QKNorm:
        """Queries and keys normed head by head, by the same factors."""
        return (self.config.head_dim,), (self.config.head_dim,)

    def norms_of_each_head(self) -> QKNorm:
        """Queries and keys normed head by head, each by its own factors."""
        c = self.config
        return (c.num_attention_heads, c.head_dim), (c.num_key_value_heads, c.head_dim)

    def attention(
        self,
        x: str = "normed",
        output: str = "mixed",
        *,
        rotate: Rotation | None = None,
        qk_norm: QKNorm | None = None,
    ) -> str:
        """Self-attention between its projections. qk_norm: shapes of the weights of norms on q and k."""
        c, layer_id = self.config, self.layer_id or 0
        query, key = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
        self.linear(x, "self_attn.q_proj", (query, c.hidden_size), "q")
        self.linear(x, "self_attn.k_proj", (key, c.hidden_size), "k")
        self.linear(x, "self_attn.v_proj", (key, c.hidden_size), "v")
        for name, shape in zip("qk", qk_norm or (), strict=False):
            self.norm(name, f"self_attn.{name}_norm", name, shape)
        if rotate is not None and c.rotates(layer_id):
            self.rope("q", rotate)
            self.rope("k", rotate)
        self.add(
            "attention", ("q", "k", "v"), self.value("attended", query),
            num_heads=c.num_attention_heads, num_key_value_heads=c.num_key_value_heads, head_dim=c.head_dim,
            scale=c.attention_scale, sliding_window=c.window(layer_id),
            softcap=c.attn_logit_softcapping or 0.0, alibi_slopes=alibi_slopes(c), causal=c.is_causal,
        )  # fmt: skip
        return self.linear("attended", "self_attn.o_proj", (c.hidden_size, query), output)

    def gated_ffn(
        self, x: str = "normed", output: str = "mixed", *, name: str = "mlp", size: int | None = None, prefix: str = ""
    ) -> str:
        """down(activation(gate(x)) * up(x)). size: of the middle; prefix: of the values' names."""
        hidden, ffn = self.config.hidden_size, size or self.config.intermediate_size
        gate = self.linear(x, f"{name}.gate_proj", (ffn, hidden), f"{prefix}gate")
        up = self.linear(x, f"{name}.up_proj", (ffn, hidden), f"{prefix}up")
        self.add("act_mul", (gate, up), gate, kind=self.config.hidden_act)
        return self.linear(gate, f"{name}.down_proj", (hidden, ffn), output)

    def plain_ffn(self, x: str = "normed", output: str = "mixed") -> str:
        """down(activation(up(x)))."""
        hidden, ffn = self.config.hidden_size, self.config.intermediate_size
        self.linear(x, "mlp.up_proj", (ffn, hidden), "up")
        self.add("act", ("up",), "up", kind=self.config.hidden_act)
        return self.linear("up", "mlp.down_proj", (hidden, ffn), output)

    def sparse_ffn(self, x: str = "normed", output: str = "mixed") -> str:
        """Each row through its best experts."""
        c = self.config
        if not (c.num_experts and c.num_experts_per_tok):
            raise ModelError("the configuration has no num_experts or no num_experts_per_tok")
        hidden, ffn, count = c.hidden_size, c.moe_intermediate_size or c.intermediate_size, c.num_experts
        weights = (
            self.weight("mlp.gate.weight", count, hidden),
            self.weight("mlp.experts.gate_proj.weight", count, ffn, hidden),
            self.weight("mlp.experts.up_proj.weight", count, ffn, hidden),
            self.weight("mlp.experts.down_proj.weight", count, hidden, ffn),
        )
        return self.add(
            "moe_ffn", (x, *weights), self.value(output, hidden),
            num_experts_per_tok=c.num_experts_per_tok, kind=c.hidden_act, norm_topk_prob=c.norm_topk_prob,
        )  # fmt: skip

    def shared_ffn(self, x: str = "normed", output: str = "shared") -> str:
        """The expert that every row goes through, times the sigmoid of its own gate."""
        c = self.config
        self.gated_ffn(x, output, name="mlp.shared_expert", size=c.shared_expert_intermediate_size, prefix="shared_")
        share = self.linear(x, "mlp.shared_expert_gate", (1, c.hidden_size), "share")
        self.add("act", (share,), share, kind="sigmoid")
        return self.add("mul", (output, share), output)
