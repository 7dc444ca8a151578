"""From a text to words, as BERT's basic tokenizer cuts it.

Source: Devlin et al. 2018, arXiv:1810.04805, and the authors' `tokenization.py`; where that and Hugging Face
`tokenizers` differ (a final sigma, characters that a newer Unicode has assigned), this follows `tokenizers`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

from realizar.model import TokenizerSpec

_IDEOGRAPHS = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip
"""Blocks whose characters are words by themselves; the sixth begins a little late in `tokenizers`."""

_REMOVED = frozenset(["Cc", "Cf", "Co", "Cs"])


class BasicTokenizer:
    """Cuts texts into words: at white space, around punctuation and, where asked for, around ideographs."""

    def __init__(self, spec: TokenizerSpec) -> None:
        self._clean = _PerCharacter(_cleaned_spacing_ideographs if spec.tokenize_chinese_chars else _cleaned)
        self._strips = spec.strip_accents
        fold = _folding(spec.do_lower_case, spec.strip_accents)
        self._fold = _PerCharacter(lambda char: "".join(map(_spacing_punctuation, fold(char))))

    def words(self, text: str) -> list[str]:
        """The words of `text`, in order, none of them empty; linear in its length."""
        text = text.translate(self._clean)
        if self._strips:
            text = unicodedata.normalize("NFD", text)
        return text.translate(self._fold).split()


class _PerCharacter(dict[int, str]):
    """A table for `str.translate`: what a function makes of each character, worked out when first met."""

    def __init__(self, function: Callable[[str], str]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, code: int) -> str:
        result = self[code] = self._function(chr(code))
        return result


def _cleaned(char: str) -> str:
    """A space for any white space, nothing for control characters and U+FFFD, else the character."""
    if char in "\t\n\r":
        return " "
    if char in "\0\ufffd" or unicodedata.category(char) in _REMOVED:
        return ""
    return " " if char.isspace() else char


def _cleaned_spacing_ideographs(char: str) -> str:
    if any(first <= ord(char) <= last for first, last in _IDEOGRAPHS):
        return f" {char} "
    return _cleaned(char)


def _folding(lower: bool, strip: bool) -> Callable[[str], str]:
    """What becomes of a character of the decomposed text; one at a time, so that sigma has one small form."""

    def fold(char: str) -> str:
        if strip and unicodedata.category(char) == "Mn":
            return ""
        return char.lower() if lower else char

    return fold


def _spacing_punctuation(char: str) -> str:
    """Punctuation is a word by itself, and so are all of ASCII's signs."""
    sign = "!" <= char <= "~" and not char.isalnum()
    return f" {char} " if sign or unicodedata.category(char).startswith("P") else char
