from __future__ import annotations

from typing import Any

import attrs
import pytest

from realizar.errors import TokenizerError
from realizar.model import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, TokenizerSpec
from realizar_sentencepiece.vocabulary import Vocabulary

TINY = TokenizerSpec(
    model="spm", tokens=["<unk>", "a", "b", "ab"], source="x.gguf", scores=[0.0, -1.0, -2.0, -3.0], unk_token_id=0
)
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def tiny(**changes: Any) -> Vocabulary:
    return Vocabulary(attrs.evolve(TINY, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": None}, r"no scores for 4 tokens \(GGUF key tokenizer\.ggml\.scores\)"),
        ({"scores": [0.0]}, r"1 scores for 4 tokens"),
        ({"scores": [0.0, float("nan"), 0.0, 0.0]}, r"token 1 'a' has score nan"),
        ({"scores": [0.0, 0.0, 0.0, float("inf")]}, r"token 3 'ab' has score inf"),
        ({"scores": None, "merges": ["a  b"]}, r"merge 0 is 'a  b', expected 'left right'"),
        ({"scores": None, "merges": ["a b", "b b"]}, r"merge 1 is 'b b', expected .* a piece of the vocabulary"),
        ({"scores": None, "merges": ["a b"], "model": "unigram"}, r"no scores for 4 tokens"),
        ({"tokens": ["<unk>", "a", "b", "a"]}, r"tokens 1 and 3 are both 'a'"),
        ({"token_types": [NORMAL]}, r"1 token types for 4 tokens"),
        ({"token_types": [UNKNOWN, NORMAL, BYTE, NORMAL]}, r"token 2 'b' is a byte, expected <0x00> to <0xFF>"),
        ({"tokens": ["<unk>", "<0x0A>", "b", "<0x0A>"]}, r"token 3 '<0x0A>' is a byte, .* each at most once"),
        ({"tokens": ["<unk>", "<0x0A>", "b", "c"]}, r"1 of the 256 byte pieces are there"),
        ({"bos_token_id": 4}, r"BOS, EOS or unknown token id 4 is outside the vocabulary of 4 tokens"),
        ({"unk_token_id": 4}, r"BOS, EOS or unknown token id 4"),
        ({"eos_token_ids": (-1,)}, r"BOS, EOS or unknown token id -1"),
        ({"add_bos_token": True}, r"asks for BOS around every text but names no BOS token"),
        ({"add_eos_token": True}, r"asks for EOS around every text but names no EOS token"),
    ],
)
def test_broken_tables_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TokenizerError, match=r"x\.gguf: .*" + message):
        tiny(**changes)


def test_without_types_bytes_and_the_unknown_token_are_known() -> None:
    tokens = ["<unk>", *BYTES, "a", "</s>"]
    vocabulary = tiny(tokens=tokens, scores=[0.0] * len(tokens), eos_token_ids=(258,))
    assert vocabulary.types == [UNKNOWN, *[BYTE] * 256, NORMAL, CONTROL]
    assert vocabulary.ids == {"a": 257}
    assert vocabulary.special == {"<unk>": 0, "</s>": 258}
    assert vocabulary.unknown_ids("é") == [1 + 0xC3, 1 + 0xA9]


def test_without_bytes_the_rest_is_unknown() -> None:
    assert tiny().unknown_ids("日") == [0]
    types = [NORMAL, NORMAL, UNKNOWN, NORMAL]
    assert tiny(unk_token_id=None, token_types=types).unknown_ids("日") == [2]


def test_without_an_unknown_token_it_is_an_error() -> None:
    with pytest.raises(TokenizerError, match=r"x\.gguf: the vocabulary has no piece for '日', no byte pieces and no"):
        tiny(unk_token_id=None).unknown_ids("日")


def test_a_user_defined_piece_may_spell_its_spaces_either_way() -> None:
    types = [UNKNOWN, NORMAL, USER_DEFINED, USER_DEFINED]
    vocabulary = tiny(tokens=["<unk>", "a", "  ", "\u2581x"], token_types=types)
    assert vocabulary.user_defined == {"\u2581\u2581": 2, "\u2581x": 3}
    assert [vocabulary.piece_bytes(i) for i in (2, 3)] == [b"  ", b" x"]


def test_special_tokens_may_repeat_and_are_spelled_as_they_are() -> None:
    types = [UNKNOWN, CONTROL, UNUSED, CONTROL]
    vocabulary = tiny(tokens=["<unk>", "<\u2581>", "", "<\u2581>"], token_types=types)
    assert vocabulary.piece_bytes(1) == "<\u2581>".encode()
    assert [vocabulary.is_special(i) for i in range(4)] == [True] * 4
    assert vocabulary.ids == {}
