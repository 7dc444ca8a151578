from __future__ import annotations

from typing import Any

import attrs
import pytest

from realizar.errors import TokenizerError
from realizar.model import CONTROL, NORMAL, UNKNOWN, UNUSED, TokenizerSpec
from realizar_wordpiece.vocabulary import Vocabulary

TINY = TokenizerSpec(model="wordpiece", tokens=["a", "##a", "[CLS]", "[UNK]"], source="x.txt")


def tiny(**changes: Any) -> Vocabulary:
    return Vocabulary(attrs.evolve(TINY, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": ["a", "##b", "a", "##a"]}, "tokens 0 and 2 are both 'a'; pieces must differ"),
        ({"tokens": ["##a", "b", "c", "##a"]}, "tokens 0 and 3 are both 'a'"),
        ({"token_types": [NORMAL]}, "1 token types for 4 tokens"),
        ({"bos_token_id": 4}, "first token id 4 is outside the vocabulary of 4"),
        ({"eos_token_ids": (2, -1)}, "last token id -1 is outside"),
        ({"unk_token_id": 9}, "unknown token id 9 is outside"),
        ({"add_bos_token": True}, r"asks for a first \(\[CLS\]\) token around every text but names none"),
        ({"add_eos_token": True}, r"asks for a last \(\[SEP\]\) token"),
    ],
)
def test_broken_tables_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TokenizerError, match=r"x\.txt: .*" + message):
        tiny(**changes)


def test_named_tokens_are_special_without_types() -> None:
    vocabulary = tiny(bos_token_id=2, unk_token_id=3)
    assert vocabulary.types == [NORMAL, NORMAL, CONTROL, UNKNOWN]
    assert vocabulary.special == {"[CLS]": 2, "[UNK]": 3}
    assert (vocabulary.beginnings, vocabulary.continuations) == ({"a": 0}, {"a": 1})


def test_what_is_around_a_text() -> None:
    assert (tiny().bos_ids, tiny(bos_token_id=2).bos_ids) == ((), ())
    around = tiny(bos_token_id=0, add_bos_token=True, eos_token_ids=(2, 3), add_eos_token=True)
    assert (around.bos_ids, around.eos_ids) == ((0,), (2,))


def test_unused_fillers_may_repeat() -> None:
    assert tiny(token_types=[NORMAL, NORMAL, UNUSED, UNUSED], tokens=["a", "##a", "", ""]).longest == 1


def test_the_spelling_is_that_of_most_pieces() -> None:
    bert = tiny(tokens=["\u2581", "##\u2581", "b", "##b"])
    assert (bert.beginnings, bert.continuations) == ({"\u2581": 0, "b": 2}, {"\u2581": 1, "b": 3})
    bare = tiny(tokens=["a", "b"])
    assert (bare.beginnings, bare.continuations) == ({"a": 0, "b": 1}, {})
    gguf = tiny(tokens=["\u2581##", "\u2581b", "b", "##"])
    assert (gguf.beginnings, gguf.continuations) == ({"##": 0, "b": 1}, {"b": 2, "##": 3})
