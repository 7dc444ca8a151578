"""What decoder-only families share: embedding, layers and head, and the pieces that a layer is written with.

A family's file is the order of its pieces; sizes, scales and windows come from `ModelConfig`. Values are `x`, the
residual stream, `normed`, what a sublayer reads, and `mixed`, what it gives.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from realizar.architectures.alibi import alibi_slopes
from realizar.architectures.architecture import Architecture, BlockBuilder
from realizar.architectures.rope import Rotation, rotation
from realizar.errors import ModelError
from realizar.graph import Graph
from realizar.model import FULL, SLIDING, ModelConfig
from realizar.tensors import LazyTensor


class DecoderBuilder(BlockBuilder):
    """A BlockBuilder that knows the configuration, and the pieces that decoders are made of.

    values: name -> width of every value so far, of all blocks.
    """

    def __init__(
        self, name: str, prefix: str, family: type[Decoder], config: ModelConfig, tensors: Mapping[str, LazyTensor],
        values: dict[str, int], layer_id: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, prefix, tensors, layer_id)
        self.family, self.config, self.values = family, config, values

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

    def norm(self, x: str, name: str, output: str = "normed", size: int | None = None) -> str:
        """The family's norm, with a bias if it is a layer norm and the file has one; size: width of a group."""
        size = size or self.config.hidden_size
        inputs: tuple[str, ...] = (x, self.weight(f"{name}.weight", size))
        if self.family.norm_op == "layer_norm" and f"{self.prefix}{name}.bias" in self.tensors:
            inputs += (self.weight(f"{name}.bias", size),)
        eps = {"rms_norm": self.config.rms_norm_eps, "layer_norm": self.config.layer_norm_eps}[self.family.norm_op]
        return self.add(self.family.norm_op, inputs, self.value(output, self.values[x]), eps=eps)

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

    def attention(
        self,
        x: str = "normed",
        output: str = "mixed",
        *,
        rotate: Rotation | None = None,
        qk_norm: tuple[int, int] | None = None,
    ) -> str:
        """Self-attention between its projections. qk_norm: widths of the groups that q and k are normed in."""
        c, layer_id = self.config, self.layer_id or 0
        query, key = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
        self.linear(x, "self_attn.q_proj", (query, c.hidden_size), "q")
        self.linear(x, "self_attn.k_proj", (key, c.hidden_size), "k")
        self.linear(x, "self_attn.v_proj", (key, c.hidden_size), "v")
        for name, size in zip("qk", qk_norm or (), strict=False):
            self.norm(name, f"self_attn.{name}_norm", name, size)
        if rotate is not None and c.rotates(layer_id):
            self.rope("q", rotate)
            self.rope("k", rotate)
        self.add(
            "attention", ("q", "k", "v"), self.value("attended", query),
            num_heads=c.num_attention_heads, num_key_value_heads=c.num_key_value_heads, head_dim=c.head_dim,
            scale=c.attention_scale, sliding_window=c.window(layer_id),
            softcap=c.attn_logit_softcapping or 0.0, alibi_slopes=alibi_slopes(c),
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


class Decoder(Architecture):
    """A decoder-only family. norm_op: "rms_norm" or "layer_norm", throughout the model."""

    norm_op: ClassVar[str] = "rms_norm"

    def build(self, config: ModelConfig, tensors: Mapping[str, LazyTensor]) -> Graph:
        values: dict[str, int] = {}

        def builder(name: str, prefix: str, layer_id: int | None = None) -> DecoderBuilder:
            return DecoderBuilder(name, prefix, type(self), config, tensors, values, layer_id)

        embed = builder("embed", "model.")
        self.embed(embed)
        rotations = {kind: rotation(config, tensors, kind) for kind in (FULL, SLIDING)}
        layers = []
        for i in range(config.num_hidden_layers):
            layers.append(builder(f"layer {i}", f"model.layers.{i}.", i))
            self.layer(layers[-1], rotations[config.kind_of_layer(i)])
        head = builder("head", "")
        self.head(head)
        graph = Graph(tuple(b.build() for b in (embed, *layers, head)), values)
        _refuse_unread(type(self).name, tensors, graph)
        return graph

    def embed(self, b: DecoderBuilder) -> None:
        """x from input_ids."""
        config = b.config
        b.embedding("input_ids", "embed_tokens", config.vocab_size, "x", scale=config.embedding_multiplier)

    @abstractmethod
    def layer(self, b: DecoderBuilder, rotate: Rotation) -> None:
        """x after one layer; rotate: the rotary positions of this kind of layer."""

    def head(self, b: DecoderBuilder) -> None:
        """logits of the wanted rows, through the embedding where it is tied or the file has no output layer."""
        config = b.config
        b.add("gather_rows", ("x", "logits_rows"), b.value("last", config.hidden_size))
        b.norm("last", "model.norm", "last")
        tied = config.tie_word_embeddings
        if tied is None:
            tied = "lm_head.weight" not in b.tensors
        table = "model.embed_tokens" if tied else "lm_head"
        b.linear("last", table, (config.vocab_size, config.hidden_size), "logits")
        b.scale("logits", config.logit_scale)
        if config.final_logit_softcapping:
            b.add("softcap", ("logits",), "logits", cap=config.final_logit_softcapping)


_UNREAD = re.compile(r"(attn|attention|self_attn|self_attention)\.(bias|masked_bias|rotary_emb\.inv_freq)$")
"""What old checkpoints keep beside their weights: masks, and frequencies that follow from the configuration."""


def _refuse_unread(family: str, tensors: Mapping[str, LazyTensor], graph: Graph) -> None:
    """Raise ModelError if a layer has tensors that the family has no use for: the model is another one then."""
    read = graph.tensor_ops
    unread = [
        tensor.source
        for name, tensor in tensors.items()
        if name.startswith(("model.layers.", "blk.")) and name not in read and not _UNREAD.search(name)
    ]
    if unread:
        more = f" and {len(unread) - 1} more" if len(unread) > 1 else ""
        raise ModelError(f"architecture {family!r} has no use for {unread[0]}{more}; is this another kind of model?")
