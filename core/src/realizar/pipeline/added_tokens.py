"""Added tokens with the flags of tokenizer.json. Source: tokenizers `tokenizer/added_vocabulary.rs`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import attrs
import regex

from realizar.added_tokens import AddedTokens
from realizar.pipeline.normalizers import WHITE_SPACE
from realizar.pipeline.pre_tokenizers import WORD_CHARS

_WORD_CHAR = regex.compile(f"[{WORD_CHARS}]")


@attrs.frozen
class AddedToken:
    """A token that is found in a text before it is cut into words.

    lstrip, rstrip: white space beside it is part of it. single_word: not inside a word. normalized: found in the
    normalized text, as its normalized self. special: a control token.
    """

    token_id: int
    content: str
    special: bool = False
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it is found wherever it is spelled, and only there."""
        return not (self.lstrip or self.rstrip or self.single_word)


class AddedTokenFinder:
    """A splitter of texts at added tokens. by_text: what each is found as; source: the file, for errors."""

    def __init__(self, by_text: Mapping[str, AddedToken], source: str) -> None:
        self._tokens = {token.token_id: token for token in by_text.values()}
        self._finder = AddedTokens({text: token.token_id for text, token in by_text.items()}, source)
        self._all_plain = all(token.is_plain for token in by_text.values())

    def split(self, text: str) -> Iterable[str | int]:
        """The parts of `text` in order: an id for an added token, a non-empty string for what is between."""
        return self._finder.split(text) if self._all_plain else self._split(text)

    def _split(self, text: str) -> Iterator[str | int]:
        end = 0
        for start, stop, token_id in self._finder.find(text):
            token = self._tokens[token_id]
            if token.single_word and not _is_single(text, start, stop):
                continue
            if token.lstrip:
                while start > end and text[start - 1] in WHITE_SPACE:
                    start -= 1
            if token.rstrip:
                while stop < len(text) and text[stop] in WHITE_SPACE:
                    stop += 1
            if end < start:
                yield text[end:start]
            yield token_id
            end = stop
        if end < len(text):
            yield text[end:]


def _is_single(text: str, start: int, stop: int) -> bool:
    before, behind = text[start - 1 : start] if start else "", text[stop : stop + 1]
    return not _WORD_CHAR.match(before) and not _WORD_CHAR.match(behind)
