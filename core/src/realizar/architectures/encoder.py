"""What encoder-only families share: layers as decoders have them, but no logits at the end."""

from __future__ import annotations

from realizar.architectures.decoder import Decoder
from realizar.architectures.decoder_builder import DecoderBuilder


class Encoder(Decoder):
    """A family whose output is the hidden states themselves; is_causal of its configuration is false."""

    norm_op = "layer_norm"

    def head(self, b: DecoderBuilder) -> None:
        """Hidden states of the wanted rows."""
        b.add("gather_rows", ("x", "logits_rows"), b.value("last", b.config.hidden_size))
