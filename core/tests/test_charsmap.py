from __future__ import annotations

import runpy
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from realizar.errors import TokenizerError
from realizar.pipeline.charsmap import read_rules
from realizar.pipeline.normalizers import Precompiled

CHARSMAPS = runpy.run_path(str(Path(__file__).with_name("charsmaps.py")))
compiled, file_of = CHARSMAPS["compiled"], CHARSMAPS["file_of"]

RULES = {"\t": " ", "ﬁ": "fi", "e\u0301": "é", "e\u0301\u0302": "ế", "\x7f": ""}
SAMPLE = compiled(RULES)

texts = st.text("ab\u0301é漢😀", min_size=1, max_size=4)


@given(st.dictionaries(texts, st.text("xyz é", max_size=3), max_size=12), st.booleans())
def test_rules_come_back(rules: dict[str, str], shifted: bool) -> None:
    assert read_rules(compiled(rules, shifted=shifted), "x.gguf") == rules


def test_no_rules() -> None:
    assert read_rules(b"", "x.gguf") == {}
    assert read_rules(compiled({}), "x.gguf") == {}


A = ord("a")


def one_child(unit: int) -> bytes:
    """A trie whose root has the child "a", the last of its 97 units."""
    units = [1 << 10, *[0] * (A - 2), A | unit]
    return bytes(file_of(units, b"\0"))


@pytest.mark.parametrize(
    ("charsmap", "problem"),
    [
        (b"\x01", r"its trie has 1 bytes, expected a multiple of 4 up to -3"),
        (b"\x08\0\0\0" + bytes(4), r"its trie has 8 bytes, expected a multiple of 4 up to 4"),
        (b"\x03\0\0\0" + bytes(4), r"its trie has 3 bytes"),
        (b"\0\0\0\0" + bytes(4), r"its trie has 0 bytes"),
        (b"\xff\xff\xff\xff" + bytes(4), r"its trie has 4294967295 bytes"),
        (SAMPLE[:-1], r"a replacement at \d+ does not end within \d+ bytes"),
        (SAMPLE[:-8], r"a replacement at \d+ does not end"),
        (SAMPLE.replace(b"fi\0", b"f\xff\0"), r"b'f\\xff' is not UTF-8"),
        (one_child(1 << 8 | 900 << 10), r"a value of its trie is not among its 97 units"),
        (one_child(1 << 8 | (A - 1 ^ 1) << 10), r"a value of its trie is not among its 97 units"),
        (one_child((A - 1 ^ 1) << 10), r"its trie unfolds to over 1048576 nodes or 256 bytes deep"),
    ],
)
def test_damaged_rules(charsmap: bytes, problem: str) -> None:
    with pytest.raises(TokenizerError, match=rf"x\.gguf: the normalization rules .* are damaged: {problem}"):
        read_rules(charsmap, "x.gguf")


def test_a_key_that_is_half_a_character() -> None:
    units = [0] * 256
    units[0], units[1 ^ 0xC3] = 1 << 10, 0xC3 | 1 << 8 | (1 ^ 0xC3 ^ 2) << 10
    units[2] = 1 << 31
    with pytest.raises(TokenizerError, match=r"b'\\xc3' is not UTF-8"):
        read_rules(file_of(units, b"a\0"), "x.gguf")


@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), max_size=5))
def test_changed_bytes_give_rules_or_an_error(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SAMPLE)
    for at, byte in changes:
        data[at] = byte
    try:
        read_rules(bytes(data), "x.gguf")
    except TokenizerError as error:
        assert "damaged" in str(error)


@pytest.mark.parametrize(
    ("text", "expected"), [("a\tb", "a b"), ("ﬁé", "fié"), ("e\u0301\u0302", "é"), ("abc", "abc"), ("", "")]
)
def test_precompiled_replaces_graphemes_by_their_first_characters(text: str, expected: str) -> None:
    assert Precompiled(SAMPLE, "x.json")(text) == expected
