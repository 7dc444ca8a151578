from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from realizar.added_tokens import MAX_LENGTH, AddedTokens
from realizar.errors import TokenizerError


def split(texts: list[str], text: str) -> list[str | int]:
    return list(AddedTokens({token: i for i, token in enumerate(texts)}, "x.gguf").split(text))


def split_by_definition(texts: list[str], text: str) -> list[str | int]:
    """At each place in turn, the longest token that starts there."""
    parts: list[str | int] = []
    plain, i = "", 0
    while i < len(text):
        found = max((token for token in texts if token and text.startswith(token, i)), key=len, default="")
        if found:
            parts += [part for part in [plain] if part]
            parts.append(texts.index(found))
            plain = ""
        else:
            plain += text[i]
        i += len(found) or 1
    return [*parts, *(part for part in [plain] if part)]


def test_tokens_and_the_text_between() -> None:
    assert split(["<s>", "</s>"], "<s>a b</s></s>c") == [0, "a b", 1, 1, "c"]


def test_the_longest_at_a_place_wins() -> None:
    assert split(["<t>", "<t>>", "<t>>>x"], "<t>>>") == [1, ">"]


def test_without_tokens_the_text_is_whole() -> None:
    assert split([], "<s>") == ["<s>"]
    assert split([], "") == []
    assert split(["<s>"], "") == []


def test_an_empty_token_is_never_found() -> None:
    assert split(["", "b"], "abc") == ["a", 1, "c"]


def test_pattern_characters_are_plain() -> None:
    assert split([".*", "[a-z]", "a|b"], "xx.*[a-z]a|b") == ["xx", 0, 1, 2]


def test_runs_deeper_than_the_tree() -> None:
    runs = [" " * n for n in range(2, 60)]
    assert split(runs, "a" + " " * 59 + "b" + " " * 7 + "c ") == ["a", 57, "b", 5, "c "]


@given(st.lists(st.text("ab|", max_size=6), unique=True, max_size=30), st.text("ab|c", max_size=40))
def test_splitting_follows_the_definition(texts: list[str], text: str) -> None:
    assert split(texts, text) == split_by_definition(texts, text)


def test_a_monstrous_token_is_refused() -> None:
    with pytest.raises(TokenizerError, match=r"x\.gguf: added token 1 has 1025 characters, at most 1024"):
        split(["<s>", "a" * (MAX_LENGTH + 1)], "a")
