"""What decoder-only families share: embedding, layers and head. A family's file is the order of its layers' pieces."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from realizar.architectures.architecture import Architecture
from realizar.architectures.decoder_builder import DecoderBuilder
from realizar.architectures.rope import Rotation, rotation
from realizar.errors import ModelError
from realizar.graph import Graph
from realizar.model import FULL, SLIDING, ModelConfig
from realizar.tensors import LazyTensor


class Decoder(Architecture):
    """A decoder-only family. norm_op: "rms_norm" or "layer_norm", throughout the model."""

    norm_op: ClassVar[str] = "rms_norm"

    def build(self, config: ModelConfig, tensors: Mapping[str, LazyTensor]) -> Graph:
        _prove_layers(config)
        values: dict[str, int] = {}

        def builder(name: str, prefix: str, layer_id: int | None = None) -> DecoderBuilder:
            return DecoderBuilder(name, prefix, self.norm_op, config, tensors, values, layer_id)

        embed = builder("embed", "model.")
        self.embed(embed)
        rotations = {kind: rotation(config, tensors, kind) for kind in (FULL, SLIDING)}
        layers = []
        for i in range(config.num_hidden_layers):
            layers.append(builder(f"layer {i}", f"model.layers.{i}.", i))
            self.layer(layers[-1], rotations[config.kind_of_layer(i)])
        head = builder("head", "")
        self.head(head)
        output = "logits" if "logits" in values else "last"
        graph = Graph(tuple(b.build() for b in (embed, *layers, head)), values, output=output)
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
        """logits of the wanted rows, through the embedding where it is tied or the file has no output layer.

        A model that gives embeddings ends with the last norm.
        """
        config = b.config
        b.add("gather_rows", ("x", "logits_rows"), b.value("last", config.hidden_size))
        b.norm("last", "model.norm", "last")
        if config.pooling_type is not None:
            return
        tied = config.tie_word_embeddings
        if tied is None:
            tied = "lm_head.weight" not in b.tensors
        table = "model.embed_tokens" if tied else "lm_head"
        b.linear("last", table, (config.vocab_size, config.hidden_size), "logits")
        b.scale("logits", config.logit_scale)
        if config.final_logit_softcapping:
            b.add("softcap", ("logits",), "logits", cap=config.final_logit_softcapping)


def _prove_layers(config: ModelConfig) -> None:
    """Raise ModelError unless what is said of each layer is said of as many as there are."""
    for name in ("layer_types", "no_rope_layers", "sparse_layers"):
        listed = getattr(config, name)
        if listed is not None and len(listed) != config.num_hidden_layers:
            raise ModelError(
                f"{name} has {len(listed)} entries; expected {config.num_hidden_layers}, one for each layer"
            )
    strange = sorted({*(config.layer_types or ())} - {FULL, SLIDING})
    if strange:
        raise ModelError(f"layer_types has {strange[0]!r}; known: {FULL}, {SLIDING}")


_UNREAD = re.compile(r"(attn|attention|self_attn|self_attention)\.(bias|masked_bias|rotary_emb\.inv_freq)$")
"""What old checkpoints keep beside their weights: masks, and frequencies that follow from the configuration."""


def _refuse_unread(family: str, tensors: Mapping[str, LazyTensor], graph: Graph) -> None:
    """Raise ModelError if embedding or layers have tensors without a use: the model is of another kind then."""
    read = graph.tensor_ops
    unread = [
        tensor.source
        for name, tensor in tensors.items()
        if name.startswith(("model.layers.", "model.embed_", "blk.")) and name not in read and not _UNREAD.search(name)
    ]
    if unread:
        more = f" and {len(unread) - 1} more" if len(unread) > 1 else ""
        raise ModelError(f"architecture {family!r} has no use for {unread[0]}{more}; is this another kind of model?")
