"""What encoder-only families share: layers as decoders have them, but no logits at the end."""

from __future__ import annotations

from realizar.architectures.decoder import Decoder
from realizar.architectures.decoder_builder import DecoderBuilder


class Encoder(Decoder):
    """A family whose output is the hidden states themselves; is_causal of its configuration is false."""

    norm_op = "layer_norm"

    def embed(self, b: DecoderBuilder) -> None:
        """x from input_ids, token_type_ids and perhaps positions, under a norm."""
        super().embed(b)
        if b.config.type_vocab_size is not None:
            b.embedding("token_type_ids", "embed_token_types", b.config.type_vocab_size, "token_type")
            b.add("add", ("x", "token_type"), "x")
        self.add_positions(b)
        b.norm("x", "embed_layernorm", "x")

    def add_positions(self, b: DecoderBuilder) -> None:
        """x with learned positions, in a family that has them."""

    def head(self, b: DecoderBuilder) -> None:
        """Hidden states of the wanted rows."""
        b.add("gather_rows", ("x", "logits_rows"), b.value("last", b.config.hidden_size))
