"""`tokenizer.model` files, written here byte by byte."""

from __future__ import annotations

import struct
from typing import Any

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given

from realizar.errors import FormatError
from realizar.model import BYTE, CONTROL, NORMAL, UNKNOWN, TokenizerSpec
from realizar.tokenizer_files.sentencepiece_model import read_sentencepiece_model, write_sentencepiece_model


def varint(number: int) -> bytes:
    if number < 0x80:
        return bytes([number])
    return bytes([number & 0x7F | 0x80]) + varint(number >> 7)


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value & (1 << 64) - 1)


def block(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(data)) + data


def piece(text: str, score: float, kind: int | None = None) -> bytes:
    body = block(1, text) + varint(2 << 3 | 5) + struct.pack("<f", score)
    return block(1, body if kind is None else body + number(3, kind))


PIECES = piece("<unk>", 0, UNKNOWN) + piece("<s>", 0, CONTROL) + piece("</s>", 0, CONTROL) + piece("▁a", -1.5)


def read(data: bytes) -> TokenizerSpec:
    return read_sentencepiece_model(data, "x.model")


def test_defaults() -> None:
    assert read(PIECES) == TokenizerSpec(
        model="unigram", source="x.model", tokens=["<unk>", "<s>", "</s>", "▁a"],
        token_types=read(PIECES).token_types, scores=read(PIECES).scores, bos_token_id=1, eos_token_ids=(2,),
        unk_token_id=0, add_space_prefix=True, prepend_scheme="first", split_user_defined=False,
        remove_extra_whitespaces=True,
    )  # fmt: skip
    assert list(read(PIECES).token_types or ()) == [UNKNOWN, CONTROL, CONTROL, NORMAL]
    assert list(read(PIECES).scores or ()) == [0, 0, 0, -1.5]


def test_everything_the_file_says() -> None:
    trainer = block(2, number(3, 2) + number(24, 1) + block(46, "[B]") + block(47, "[E]") + block(48, "[P]"))
    normalizer = block(3, block(2, b"\0\1") + number(3, 0) + number(4, 0) + number(5, 1))
    names = [piece(text, 0, CONTROL) for text in ("[P]", "[E]", "[B]")]
    spec = read(trainer + b"".join(names) + piece("<0x00>", -3, BYTE) + normalizer)
    assert (spec.model, spec.treat_whitespace_as_suffix, spec.precompiled_charsmap) == ("spm", True, b"\0\1")
    assert (spec.bos_token_id, spec.eos_token_ids, spec.pad_token_id, spec.unk_token_id) == (2, (1,), 0, None)
    assert (spec.add_space_prefix, spec.remove_extra_whitespaces) == (False, False)
    assert (spec.add_bos_token, spec.add_eos_token) == (False, False)


def test_parts_of_a_message_are_joined_and_the_last_value_counts() -> None:
    spec = read(PIECES + block(2, number(3, 2)) + block(2, number(24, 1)) + block(3, number(3, 0)) + block(3, b""))
    assert (spec.model, spec.treat_whitespace_as_suffix, spec.add_space_prefix) == ("spm", True, False)
    assert read(PIECES + block(2, number(3, 2) + number(3, 1))).model == "unigram"


def test_a_piece_says_no_more_than_it_must() -> None:
    spec = read(block(1, block(1, "a")) + piece("b", -1, NORMAL) + piece("<0x00>", -2, BYTE))
    assert (list(spec.scores or ()), list(spec.token_types or ())) == ([0, -1, -2], [NORMAL, NORMAL, BYTE])


SPEC = TokenizerSpec(
    model="spm", source="x.model", tokens=["<unk>", "[B]", "[E]", "▁a", "<0x41>"], scores=[0, 0, 0, -1.5, -2],
    token_types=[UNKNOWN, CONTROL, CONTROL, NORMAL, BYTE], bos_token_id=1, eos_token_ids=(2,), unk_token_id=0,
    add_space_prefix=True, remove_extra_whitespaces=False, precompiled_charsmap=b"\0\1", prepend_scheme="first",
    split_user_defined=False,
)  # fmt: skip
TYPED = [(text, score, kind) for text, score, kind in zip(SPEC.tokens, SPEC.scores, SPEC.token_types, strict=True)]  # type: ignore[arg-type]


def test_written_by_the_numbers_of_the_schema() -> None:
    """sentencepiece_model.proto: model_type = 3, suffix = 24, byte_fallback = 35, ids from 40, their pieces from 45."""
    ends = number(40, 0) + block(45, "<unk>") + number(41, 1) + block(46, "[B]") + number(42, 2) + block(47, "[E]")
    trainer = number(3, 2) + number(24, 0) + number(35, 1) + ends + number(43, -1)
    normalizer = number(3, 1) + number(4, 0) + number(5, 1) + block(2, b"\0\1")
    pieces = b"".join(piece(*typed) for typed in TYPED)
    assert write_sentencepiece_model(SPEC) == pieces + block(2, trainer) + block(3, normalizer)


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"model": "unigram", "pad_token_id": 1, "precompiled_charsmap": None}, {"add_space_prefix": False},
        {"treat_whitespace_as_suffix": True, "remove_extra_whitespaces": True},
        {"bos_token_id": None, "eos_token_ids": ()},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_written_is_read(changes: dict[str, Any]) -> None:
    spec = attrs.evolve(SPEC, **changes)
    found = read(write_sentencepiece_model(spec))
    same = {"scores": list(found.scores or ()), "token_types": list(found.token_types or ())}
    assert attrs.evolve(found, **same) == spec


@pytest.mark.parametrize("changes", [{"model": "bpe"}, {"scores": None}], ids=str)
def test_what_has_no_such_file_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match=r"x\.model: a \w+ vocabulary without scores cannot be written"):
        write_sentencepiece_model(attrs.evolve(SPEC, **changes))


def test_a_name_that_is_no_control_piece_is_no_special_token() -> None:
    spec = read(piece("<s>", 0) + piece("a", 0))
    assert (spec.bos_token_id, spec.eos_token_ids, spec.pad_token_id, spec.unk_token_id) == (None, (), None, None)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "byte 0: found no pieces"),
        (b"GGUF\x03\x00\x00\x00", "byte 0: found wire type 7 of field 8"),
        (PIECES + block(3, number(5, 0)), "found escape_whitespaces = false"),
        (PIECES + block(2, number(3, 4)), r"model type 4 \(CHAR\) is not supported; unigram \(1\) and BPE \(2\) are"),
        (PIECES + block(2, number(3, 9)), r"model type 9 \(unknown\)"),
        (piece("a", 0, 7), "found piece type 7, expected 1 to 6"),
        (PIECES + number(1, 5), "found wire type 0 of field 1, expected a message"),
        (PIECES[:-1], "expected at most"),
    ],
)
def test_broken_files(data: bytes, problem: str) -> None:
    with pytest.raises(FormatError, match=rf"x\.model: .*{problem}"):
        read(data)


@given(st.integers(0, len(PIECES) - 1), st.integers(0, 255))
def test_a_changed_byte_gives_a_specification_or_an_error(at: int, byte: int) -> None:
    try:
        spec = read(PIECES[:at] + bytes([byte]) + PIECES[at + 1 :])
    except FormatError:
        return
    assert len(spec.tokens) == len(spec.token_types or ()) == len(spec.scores or ())


@given(st.binary(max_size=100))
def test_any_bytes_give_a_specification_or_an_error(data: bytes) -> None:
    try:
        read(data)
    except FormatError:
        return
