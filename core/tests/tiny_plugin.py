"""A plugin for core's own tests: a format, a tokenizer, a backend without any slack and two that misbehave.

A model file is JSON: the arguments of `tiny_model`, or of `tiny_encoder` beside "encoder": true, and "without":
"config" or "tokenizer" to leave that out.
"""

from __future__ import annotations

import codecs
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np

from realizar import hookimpl
from realizar.backend import Plan, Step, kernel
from realizar.errors import FormatError, TokenizerError
from realizar.formats import Format
from realizar.model import ModelFile, TokenizerSpec
from realizar.reference import NumpyBackend
from realizar.testing.models import tiny_encoder, tiny_model
from realizar.testing.vocabulary import BYTE_PIECES, CONTROL_PIECES
from realizar.tokenizers import StreamDecoder, Tokenizer, TokenizerFactory

REALIZAR_API = (1, 0)

FIRST_BYTE = len(CONTROL_PIECES)

NAN_ID, FAIL_ID = 298, 299
"""Prompt tokens at which the faulty backend gives NaN for that row, and fails the step."""


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
        missing = options.pop("without", "")
        make = tiny_encoder if options.pop("encoder", False) else tiny_model
        return attrs.evolve(make(**options).open(), path=path, format="tiny", **({missing: None} if missing else {}))


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
        if token_id < FIRST_BYTE or token_id == FAIL_ID:
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


class Slow(NumpyBackend):
    """Takes at least 20 ms a step."""

    name = "slow"
    priority = -1

    def logits(self, plan: Plan) -> np.ndarray:
        time.sleep(0.02)
        return super().logits(plan)


class Exact(NumpyBackend):
    """Computes every token by itself, so that nothing beside it and no chunk changes a bit of it."""

    name = "exact"
    priority = -1

    @kernel("linear")
    def linear(self, x: np.ndarray, *parameters: np.ndarray, out: np.ndarray) -> None:
        for t in range(len(x)):
            super().linear(x[t : t + 1], *parameters, out=out[t : t + 1])

    @kernel("attention")
    def attention(self, q, k, v, *, step: Step, out: np.ndarray, **attributes) -> None:
        for s in range(step.num_seqs):
            for t in range(step.query_start_loc[s], step.query_start_loc[s + 1]):
                token = slice(t, t + 1)
                alone = attrs.evolve(
                    step, positions=step.positions[token], slot_mapping=step.slot_mapping[token], num_seqs=1,
                    query_start_loc=np.array([0, 1], np.int32), context_lens=step.positions[token] + 1,
                    block_tables=step.block_tables[s : s + 1],
                )  # fmt: skip
                super().attention(q[token], k[token], v[token], step=alone, out=out[token], **attributes)


class Faulty(NumpyBackend):
    """NaN logits for a row that ends in NAN_ID; an exception for a step that has FAIL_ID."""

    name = "faulty"
    priority = -1

    def logits(self, plan: Plan) -> np.ndarray:
        step = plan.step
        ids = step.input_ids[: step.num_tokens]
        if FAIL_ID in ids:
            raise RuntimeError("device lost")
        logits = super().logits(plan).copy()
        logits[ids[step.logits_rows[: step.num_rows]] == NAN_ID] = np.nan
        return logits


@hookimpl
def realizar_formats() -> list[Format]:
    return [TinyFormat()]


@hookimpl
def realizar_tokenizers() -> list[TokenizerFactory]:
    return [ByteTokenizers()]


@hookimpl
def realizar_backends() -> list[type[NumpyBackend]]:
    return [Slow, Exact, Faulty]
