"""A small vocabulary of scored pieces with all that a file may have beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import settings

from realizar.model import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, TokenizerSpec

settings.register_profile("realizar", deadline=None)  # a busy machine is no failure
settings.load_profile("realizar")

SPACE = "\u2581"
ADDED = {"<unk>": UNKNOWN, "<s>": CONTROL, "</s>": CONTROL, "<tool>": USER_DEFINED, "<tool>>": USER_DEFINED}
WORDS = "▁the ▁low er ▁lower the low th he lo ow ▁t ▁l ▁ t h e l o w r a b 日 本 日本 ▁▁ ▁▁▁▁".split()


@pytest.fixture(scope="session")
def small() -> TokenizerSpec:
    """Unknown, BOS, EOS, two user-defined tokens, 256 bytes, some scored pieces; adds BOS and a space."""
    groups: list[tuple[list[str], list[int]]] = [
        (list(ADDED), list(ADDED.values())),
        ([f"<0x{byte:02X}>" for byte in range(256)], [BYTE] * 256),
        (WORDS, [NORMAL] * len(WORDS)),
    ]
    tokens = [piece for pieces, _ in groups for piece in pieces]
    return TokenizerSpec(
        model="spm",
        tokens=tokens,
        source="small.gguf",
        token_types=[kind for _, kinds in groups for kind in kinds],
        scores=[-float(i) for i in range(len(tokens))],
        bos_token_id=1,
        eos_token_ids=(2,),
        unk_token_id=0,
        add_bos_token=True,
        add_space_prefix=True,
    )


@pytest.fixture(scope="session")
def without_bytes(small: TokenizerSpec) -> TokenizerSpec:
    """The same, but its bytes are gone: what it cannot spell is unknown."""
    kept = [i for i, kind in enumerate(small.token_types or ()) if kind != BYTE]
    scores, types = small.scores, small.token_types
    assert scores is not None and types is not None
    return attrs.evolve(
        small,
        tokens=[small.tokens[i] for i in kept],
        token_types=[types[i] for i in kept],
        scores=[scores[i] for i in kept],
    )


@pytest.fixture(scope="session")
def spelled() -> Callable[[Any, list[int]], list[str]]:
    """The pieces of ids."""
    return lambda tokenizer, ids: [tokenizer.spec.tokens[i] for i in ids]
