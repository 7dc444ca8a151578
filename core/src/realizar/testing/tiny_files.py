"""Tiny models as files, and a tokenizer for them that needs no plugin: what tests of engines and servers run on.

A model file is JSON: the arguments of `tiny_model`, or of `tiny_encoder` beside "encoder": true, "without": "config" or
"tokenizer" to leave that out, and "chat_template" for one of its own. A test's own plugin registers `TinyFormat` and
`ByteTokenizers`.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Sequence
from pathlib import Path

import attrs

from realizar.errors import FormatError, TokenizerError
from realizar.formats import Format
from realizar.model import ModelFile, TokenizerSpec
from realizar.testing.models import tiny_encoder, tiny_model
from realizar.testing.vocabulary import BYTE_PIECES, CONTROL_PIECES
from realizar.tokenizers import StreamDecoder, Tokenizer, TokenizerFactory

FIRST_BYTE = len(CONTROL_PIECES)
"""The id of byte 0."""

USER_ID = 299
"""The id of the vocabulary's user-defined token."""


class TinyFormat(Format):
    """Reads `*.tiny`."""

    name = "tiny"

    def sniff(self, path: Path, head: bytes) -> int:
        return 100 if path.suffix == ".tiny" else 0

    def open(self, path: Path) -> ModelFile:
        try:
            options = json.loads(path.read_text())
        except ValueError as error:
            raise FormatError(f"{path}: not JSON: {error}") from error
        missing, template = options.pop("without", ""), options.pop("chat_template", None)
        make = tiny_encoder if options.pop("encoder", False) else tiny_model
        file = attrs.evolve(make(**options).open(), path=path, format="tiny")
        if template is not None and file.tokenizer is not None:
            file = attrs.evolve(file, tokenizer=attrs.evolve(file.tokenizer, chat_template=template))
        if missing == "config":
            return attrs.evolve(file, config=None)
        return attrs.evolve(file, tokenizer=None) if missing == "tokenizer" else file


class ByteTokenizer(Tokenizer):
    """One token a byte; control tokens by their spelling if asked for."""

    def __init__(self, spec: TokenizerSpec) -> None:
        self.spec = spec
        self._control = {spec.tokens[i]: i for i in range(FIRST_BYTE)}

    def encode(self, text: str, *, add_special_tokens: bool = True, parse_special: bool = False) -> list[int]:
        ids = [0] if add_special_tokens and self.spec.add_bos_token else []
        pattern = f"({'|'.join(map(re.escape, self._control))})" if parse_special else r"(?!)()"
        for part in re.split(pattern, text):
            control = self._control.get(part) if parse_special else None
            ids += [FIRST_BYTE + byte for byte in (part or "").encode()] if control is None else [control]
        return ids

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        stream = self.stream(skip_special_tokens=skip_special_tokens)
        return "".join(stream.push(i) for i in ids) + stream.finish()

    def stream(self, *, skip_special_tokens: bool = True) -> StreamDecoder:
        return ByteStream(self, skip_special_tokens)

    def token_bytes(self, token_id: int) -> bytes:
        if not 0 <= token_id < len(self.spec.tokens):
            raise TokenizerError(f"found token id {token_id}, expected one below {len(self.spec.tokens)}")
        piece = self.spec.tokens[token_id]
        if token_id < FIRST_BYTE or token_id == USER_ID:
            return piece.encode()
        return bytes(BYTE_PIECES.index(char) for char in piece)


class ByteStream(StreamDecoder):
    """UTF-8, incrementally."""

    def __init__(self, tokenizer: ByteTokenizer, skip_special_tokens: bool) -> None:
        self._tokenizer, self._skip = tokenizer, skip_special_tokens
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        return self._decoder.decode(
            b"" if self._skip and token_id < FIRST_BYTE else self._tokenizer.token_bytes(token_id)
        )

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


class ByteTokenizers(TokenizerFactory):
    """Builds the tokenizer of tiny models, before any installed plugin."""

    name = "tiny"

    def supports(self, spec: TokenizerSpec) -> int:
        return 1000 if spec.model == "bpe" else 0

    def build(self, spec: TokenizerSpec) -> Tokenizer:
        return ByteTokenizer(spec)
