from __future__ import annotations

import struct

import hypothesis.strategies as st
import pytest
from hypothesis import given

from realizar.errors import FormatError
from realizar.tokenizer_files import protobuf
from realizar.tokenizer_files.protobuf import Field, Message


def message(data: bytes) -> Message:
    return Message(data, 0, len(data), "x.model")


def only(data: bytes) -> Field:
    (field,) = message(data)
    return field


def test_the_encodings_of_the_specification() -> None:
    """Examples from protobuf.dev/programming-guides/encoding."""
    assert only(b"\x08\x96\x01").integer() == 150
    assert only(b"\x12\x07testing").string() == "testing"
    assert only(b"\x08\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01").integer() == -2
    inner = only(b"\x1a\x03\x08\x96\x01").message()
    assert [(field.number, field.integer()) for field in inner] == [(1, 150)]
    assert only(b"\x15" + struct.pack("<f", -1.5)).float32() == -1.5
    assert only(b"\x0a\x02\xff\x00").bytes() == b"\xff\x00"


def test_writing_the_encodings_of_the_specification() -> None:
    assert protobuf.integer(1, 150) == b"\x08\x96\x01"
    assert protobuf.integer(1, -2) == b"\x08\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"
    assert protobuf.integer(16, 127) + protobuf.integer(1, 128) == b"\x80\x01\x7f\x08\x80\x01"
    assert protobuf.string(2, "testing") == b"\x12\x07testing"
    assert protobuf.message(3, b"\x08\x96\x01") == b"\x1a\x03\x08\x96\x01"
    assert protobuf.float32(2, -1.5) == b"\x15" + struct.pack("<f", -1.5)


@given(st.integers(1, 1 << 28), st.integers(-(1 << 63), (1 << 63) - 1), st.text(), st.floats(width=32, allow_nan=False))
def test_what_is_written_is_read(number: int, value: int, text: str, real: float) -> None:
    assert only(protobuf.integer(number, value)).integer() == value
    assert only(protobuf.string(number, text)).string() == text
    assert only(protobuf.float32(number, real)).float32() == real
    assert only(protobuf.message(number, text.encode())).number == number


def test_unknown_fields_are_passed_over() -> None:
    fields = list(message(b"\x09" + bytes(8) + b"\xa0\x06\x01" + b"\x08\x05"))
    assert [field.number for field in fields] == [1, 100, 1]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x12\x05abc", r"byte 0: found field 2 of 5 bytes, expected at most 3"),
        (b"\x08\x01\x15\x00", r"byte 2: found field 2 of 4 bytes, expected at most 1"),
        (b"\x08\x01\x0c", r"byte 2: found wire type 4 of field 1"),
        (b"\x00\x01", r"byte 0: found field number 0"),
        (b"\x08\x80", r"byte 1: found a number that does not end"),
        (b"\x08", r"byte 1: found a number that does not end"),
        (b"\x08" + b"\xff" * 11, r"byte 1: found a number that does not end"),
        (b"\x08" + b"\x80" * 10 + b"\x01", r"byte 1: found a number that does not end"),
        (b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", r"byte 0: found field 2 of 18446744073709551615 bytes"),
    ],
)
def test_malformed_fields(data: bytes, problem: str) -> None:
    with pytest.raises(FormatError, match=rf"x\.model: {problem}"):
        list(message(data))


def test_a_field_of_another_type() -> None:
    for read in (Field.message, Field.bytes, Field.string, Field.float32):
        with pytest.raises(FormatError, match=r"x\.model: byte 1: found wire type 0 of field 1, expected "):
            read(only(b"\x08\x01"))
    with pytest.raises(FormatError, match="expected an integer"):
        only(b"\x0a\x00").integer()
    with pytest.raises(FormatError, match="byte 3: found bytes that are not UTF-8"):
        only(b"\x0a\x02a\xff").string()


def test_a_message_inside_does_not_leave_its_own_bytes() -> None:
    outer = only(b"\x0a\x02\x12\x05")
    with pytest.raises(FormatError, match="byte 2: found field 2 of 5 bytes, expected at most 0"):
        list(outer.message())


@given(st.binary(max_size=40))
def test_any_bytes_give_fields_or_an_error(data: bytes) -> None:
    try:
        fields = list(message(data))
    except FormatError:
        return
    assert all(0 <= field.start <= field.stop <= len(data) for field in fields)
