"""A small vocabulary, learnt from a few lines by the textbook algorithm."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings

from realizar.model import CONTROL, NORMAL, UNUSED, USER_DEFINED, TokenizerSpec
from realizar.pipeline.byte_alphabet import BYTE_TO_CHAR, spell

settings.register_profile("realizar", deadline=None)  # a busy machine is no failure
settings.load_profile("realizar")

CORPUS = "the theme of the lower tower: the newest and widest low tower 日本 日本語 " * 3
MERGES = 60


def _merged(symbols: list[str], left: str, right: str) -> list[str]:
    result: list[str] = []
    for symbol in symbols:
        if result and (result[-1], symbol) == (left, right):
            result[-1] = left + right
        else:
            result.append(symbol)
    return result


def _learn() -> list[str]:
    words = [list(spell(word.encode())) for word in CORPUS.replace(" ", "| ").split("|")]
    merges: list[str] = []
    while len(merges) < MERGES:
        counts = Counter(pair for word in words for pair in pairwise(word))
        if not counts:
            break
        left, right = max(counts, key=lambda pair: (counts[pair], pair))
        merges.append(f"{left} {right}")
        words = [_merged(word, left, right) for word in words]
    return merges


ADDED = {"<s>": CONTROL, "</s>": CONTROL, "<tool>": USER_DEFINED, "<tool>>": USER_DEFINED, "[PAD0]": UNUSED}


@pytest.fixture(scope="session")
def small() -> TokenizerSpec:
    """256 bytes, about 60 merges, two control tokens, two user-defined ones, an unused one; adds BOS."""
    merges = _learn()
    pieces = list(dict.fromkeys([*BYTE_TO_CHAR, *(merge.replace(" ", "") for merge in merges)]))
    tokens = [*pieces, *ADDED]
    return TokenizerSpec(
        model="bpe",
        tokens=tokens,
        source="small.gguf",
        pre="gpt-2",
        token_types=[NORMAL] * len(pieces) + list(ADDED.values()),
        merges=merges,
        bos_token_id=tokens.index("<s>"),
        eos_token_ids=(tokens.index("</s>"),),
        add_bos_token=True,
    )


@pytest.fixture(scope="session")
def added_ids(small: TokenizerSpec) -> Any:
    """Ids of the added tokens of `small`."""
    index = small.tokens.index
    return SimpleNamespace(
        bos=index("<s>"), eos=index("</s>"), tool=index("<tool>"), longer_tool=index("<tool>>"), unused=index("[PAD0]")
    )
