from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from realizar.pipeline.byte_alphabet import BYTE_TO_CHAR, CHAR_TO_BYTE, spell, unspell


def test_published_characters() -> None:
    published = {0x00: "Ā", 0x0A: "Ċ", 0x20: "Ġ", 0x21: "!", 0x7E: "~", 0x7F: "ġ", 0xA0: "ł", 0xAD: "Ń", 0xFF: "ÿ"}
    assert {byte: BYTE_TO_CHAR[byte] for byte in published} == published


def test_every_byte_has_its_own_character() -> None:
    assert len(CHAR_TO_BYTE) == 256
    assert all(char.isprintable() and not char.isspace() for char in BYTE_TO_CHAR)


@given(st.binary())
def test_spelling_is_undone(data: bytes) -> None:
    assert unspell(spell(data)) == data


def test_a_character_outside_the_alphabet_spells_nothing() -> None:
    assert unspell("a b") is None
