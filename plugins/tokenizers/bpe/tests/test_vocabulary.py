from __future__ import annotations

from typing import Any

import attrs
import pytest

from realizar.errors import TokenizerError
from realizar.model import CONTROL, NORMAL, UNUSED, TokenizerSpec
from realizar_bpe.vocabulary import Vocabulary

TINY = TokenizerSpec(model="bpe", tokens=["a", "b", "ab", "<s>"], source="x.gguf", merges=["a b"])


def tiny(**changes: Any) -> Vocabulary:
    return Vocabulary(attrs.evolve(TINY, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"merges": None}, r"no merge table \(GGUF key tokenizer\.ggml\.merges\)"),
        ({"merges": ["a b", "b a"]}, r"names 1 pieces that the vocabulary lacks: 'ba'"),
        ({"merges": ["a c"]}, r"names 2 pieces that the vocabulary lacks: 'ac', 'c'"),
        ({"merges": ["a b", "a b"]}, r"1 entries of the merge table are repetitions"),
        ({"merges": ["ab"]}, r"1 merges are not of the form 'left right', first 'ab'"),
        ({"merges": ["a b b"]}, r"not of the form"),
        ({"tokens": ["a", "b", "ab", "a"]}, r"tokens 0 and 3 are both 'a'"),
        ({"token_types": [NORMAL]}, r"1 token types for 4 tokens"),
        ({"bos_token_id": 4}, r"BOS or EOS token id 4 is outside the vocabulary of 4 tokens"),
        ({"eos_token_ids": (-1,)}, r"BOS or EOS token id -1"),
        ({"add_bos_token": True}, r"asks for BOS around every text but names no BOS token"),
        ({"add_eos_token": True}, r"asks for EOS around every text but names no EOS token"),
    ],
)
def test_broken_tables_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TokenizerError, match=r"x\.gguf: .*" + message):
        tiny(**changes)


def test_empty_unused_pieces_may_repeat() -> None:
    assert tiny(tokens=["a", "b", "ab", "", ""], merges=[]).ranks == {}


def test_bos_and_eos_are_control_tokens_without_types() -> None:
    vocabulary = tiny(eos_token_ids=(3,))
    assert vocabulary.types == [NORMAL, NORMAL, NORMAL, CONTROL]
    assert vocabulary.special == {"<s>": 3}
    assert "<s>" not in vocabulary.ids


def test_no_merge_reaches_a_special_token() -> None:
    assert tiny(token_types=[NORMAL, NORMAL, CONTROL, CONTROL]).ranks == {}
    assert tiny(token_types=[NORMAL, NORMAL, UNUSED, CONTROL]).ranks == {}


def test_a_single_byte_is_never_special() -> None:
    vocabulary = tiny(token_types=[CONTROL, NORMAL, NORMAL, CONTROL])
    assert vocabulary.ids["a"] == 0
    assert not vocabulary.is_special(0)
    assert vocabulary.ranks == {"a b": 0}
