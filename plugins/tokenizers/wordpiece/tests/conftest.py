"""A small vocabulary in both spellings."""

from __future__ import annotations

import string

import attrs
import pytest
from hypothesis import settings

from realizar.model import CONTROL, NORMAL, UNKNOWN, USER_DEFINED, TokenizerSpec

settings.register_profile("realizar", deadline=None)  # a busy machine is no failure
settings.load_profile("realizar")

ADDED = {"[PAD]": CONTROL, "[UNK]": UNKNOWN, "[CLS]": CONTROL, "[SEP]": CONTROL, "<tool>": USER_DEFINED}
SIGNS = "[]<>().,!?'-#/"
WORDS = ("un", "aff", "the", "run", "cafe", "漢", "字", "##aff", "##able", "##ning", "hello", "world")


@pytest.fixture(scope="session")
def small() -> TokenizerSpec:
    """Five added tokens, signs, small letters alone and within words, some longer pieces; adds [CLS] and [SEP]."""
    letters = [*string.ascii_lowercase, *string.digits]
    tokens = [*ADDED, *SIGNS, *letters, *(f"##{letter}" for letter in letters), *WORDS]
    return TokenizerSpec(
        model="wordpiece", tokens=tokens, source="vocab.txt",
        token_types=[*ADDED.values(), *[NORMAL] * (len(tokens) - len(ADDED))],
        bos_token_id=tokens.index("[CLS]"), eos_token_ids=(tokens.index("[SEP]"),),
        unk_token_id=tokens.index("[UNK]"), pad_token_id=0, add_bos_token=True, add_eos_token=True,
    )  # fmt: skip


@pytest.fixture(scope="session")
def small_gguf(small: TokenizerSpec) -> TokenizerSpec:
    """The same with the spelling of GGUF files."""

    def spelled(token: str) -> str:
        if token in ADDED:
            return token
        return token[2:] if token.startswith("##") else f"\u2581{token}"

    return attrs.evolve(small, tokens=[spelled(token) for token in small.tokens], source="small.gguf")
