from __future__ import annotations

import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given

from realizar.model import TokenizerSpec
from realizar_sentencepiece.normalizer import Normalizer, Replacements

compiled = runpy.run_path(str(Path(__file__).parents[4] / "core/tests/charsmaps.py"))["compiled"]
PLAIN = TokenizerSpec(model="unigram", source="x.gguf", tokens=["<tool>", "  ", " x"])
RULES = {"\t": " ", "\x7f": "", "ﬁ": "fi", "e\u0301": "é", "\u00a8": " \u0308"}


def normalized(text: str, user_defined: Mapping[str, int] | None = None, prefix: bool = True, **changes: Any) -> str:
    normalizer = Normalizer(attrs.evolve(PLAIN, **changes), user_defined or {})
    return normalizer(text, prefix=prefix).replace("▁", "_")


def replaced_by_definition(text: str, rules: Mapping[str, str]) -> str:
    """At each place in turn, the longest text for which there is a rule."""
    done, i = "", 0
    while i < len(text):
        key = max((key for key in rules if text.startswith(key, i)), key=len, default="")
        done += rules[key] if key else text[i]
        i += len(key) or 1
    return done


@given(
    st.dictionaries(st.text("ab|]^", min_size=1, max_size=3), st.text("ab", max_size=2), max_size=8),
    st.text("ab|]^\\", max_size=30),
)
def test_replacing_follows_the_definition(rules: dict[str, str], text: str) -> None:
    assert Replacements(rules)(text) == replaced_by_definition(text, rules)


def test_spaces_are_escaped() -> None:
    assert normalized(" a  b ") == "_a__b_"
    assert normalized("") == ""


def test_the_added_space() -> None:
    assert normalized("a", add_space_prefix=True) == "_a"
    assert normalized(" ", add_space_prefix=True) == "__"
    assert normalized("a", add_space_prefix=True, prefix=False) == "a"
    assert normalized("a b", add_space_prefix=True, treat_whitespace_as_suffix=True) == "a_b_"
    assert normalized("", add_space_prefix=True) == ""


def test_spaces_are_thinned_out() -> None:
    options = {"remove_extra_whitespaces": True, "precompiled_charsmap": compiled(RULES)}
    assert normalized("  a \t b  ", **options) == "a_b"
    assert normalized("  a  ", add_space_prefix=True, **options) == "_a"
    assert normalized(" \t ", add_space_prefix=True, **options) == ""
    assert normalized("a ", add_space_prefix=True, treat_whitespace_as_suffix=True, **options) == "a_"
    assert normalized("\x7f", add_space_prefix=True, treat_whitespace_as_suffix=True, **options) == "_"
    assert normalized("a \u00a8", **options) == "a_\u0308"


def test_rules_are_applied() -> None:
    assert normalized("ﬁe\u0301e\x7f\t", precompiled_charsmap=compiled(RULES)) == "fiée_"


@pytest.mark.parametrize("thinned", [False, True])
def test_user_defined_tokens_are_left_alone(thinned: bool) -> None:
    options = {"remove_extra_whitespaces": thinned, "precompiled_charsmap": compiled({"o": "0", "x": "y"})}
    assert normalized("o<tool>o", {"<tool>": 0}, **options) == "0<tool>0"
    assert normalized("o  o", {"  ": 1}, **options) == "0__0"
    assert normalized("o x", {" x": 2}, **options) == "0_x"


def test_a_user_defined_token_gives_up_its_space_behind_a_space() -> None:
    assert normalized("a  xx", {" x": 2}, remove_extra_whitespaces=True) == "a_xx"
