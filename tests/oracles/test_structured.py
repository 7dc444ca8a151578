"""Texts drawn under random JSON schemas, judged by `jsonschema`; and texts it accepts, which must be possible."""

from __future__ import annotations

import json
import random
import runpy
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from realizar.structured import JsonSchema
from realizar.structured.matcher import start
from realizar.testing.vocabulary import tiny_tokenizer
from realizar_bpe.tokenizer import BpeTokenizer

SHARE = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "structured_share.py"))
TOKENIZER = BpeTokenizer(tiny_tokenizer())
EOS = 2


def drawn(schema, seed: int) -> str | None:
    """A text of tokens drawn uniformly among the allowed ones; None if it does not end."""
    rng, matcher, data = np.random.default_rng(seed), start(JsonSchema(schema), TOKENIZER), bytearray()
    for _ in range(3000):
        if matcher.ended:
            return data.decode()
        ids = np.flatnonzero(matcher.allowed()[: len(TOKENIZER.spec.tokens)])
        if EOS in ids:
            return data.decode()
        token_id = int(rng.choice(ids))
        matcher.accept(token_id)
        data += TOKENIZER.token_bytes(token_id)
    return None


@pytest.mark.parametrize("part", range(4))
def test_what_is_drawn_validates(part):
    rng = random.Random(part)
    finished = 0
    for seed in range(50):
        schema = SHARE["random_schema"](rng)
        text = drawn(schema, seed)
        if text is not None:
            finished += 1
            assert SHARE["_problem"](schema, text) is None, (schema, text)
    assert finished >= 45


def test_what_validates_can_be_written():
    """Values that the judge accepts, in the schema's own order of keys, are admitted to the last byte."""
    rng = random.Random(9)
    for seed in range(100):
        schema = SHARE["random_schema"](rng)
        text = drawn(schema, seed)
        if text is None:
            continue
        compact = json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)
        jsonschema.Draft202012Validator(schema).validate(json.loads(compact))
        matcher = start(JsonSchema(schema), TOKENIZER)
        for byte in compact.encode():
            assert matcher.allowed()[3 + byte], (schema, compact)
            matcher.accept(3 + byte)
