"""Added tokens: pieces of text that are one token each, found before any word is cut.

Of those that match at the first possible place the longest wins, as in Hugging Face `tokenizers`. llama.cpp instead
takes the longest token anywhere first; the two differ only where one added token's end is another's beginning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import groupby
from os.path import commonprefix

from realizar.errors import TokenizerError

MAX_LENGTH = 1024
"""Characters of an added token; what a search may waste at one place is bounded by it."""

_TRIE_DEPTH = 8


class AddedTokens:
    """A splitter of texts at added tokens. ids: token by its text; source: the file, for messages."""

    def __init__(self, ids: Mapping[str, int], source: str) -> None:
        self._ids = {text: token_id for text, token_id in ids.items() if text}
        for text, token_id in self._ids.items():
            if len(text) > MAX_LENGTH:
                raise TokenizerError(
                    f"{source}: added token {token_id} has {len(text)} characters, at most {MAX_LENGTH} are supported; "
                    f"the vocabulary looks damaged"
                )

    def split(self, text: str) -> Iterator[str | int]:
        """The parts of `text` in order: an id for an added token, a non-empty string for what is between."""
        if not self._ids:
            if text:
                yield text
            return
        end = 0
        for found in self._pattern.finditer(text):
            if found.start() > end:
                yield text[end : found.start()]
            yield self._ids[found.group()]
            end = found.end()
        if end < len(text):
            yield text[end:]

    def find(self, text: str) -> Iterator[tuple[int, int, int]]:
        """Where each added token starts and stops in `text`, and its id."""
        if self._ids:
            for found in self._pattern.finditer(text):
                yield found.start(), found.end(), self._ids[found.group()]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(_any_of(self._ids, _TRIE_DEPTH))


def _any_of(texts: Iterable[str], depth: int) -> str:
    """A pattern for the longest of `texts` that matches: a prefix tree to `depth` forks, then one long alternation."""
    ordered = sorted(texts)
    if depth == 0 or len(ordered) == 1:
        return "|".join(re.escape(text) for text in sorted(ordered, key=len, reverse=True))
    prefix = commonprefix(ordered)
    rests = [text[len(prefix) :] for text in ordered]
    branches = [_any_of(group, depth - 1) for _, group in groupby(filter(None, rests), key=lambda rest: rest[0])]
    if "" in rests:
        branches.append("")
    return f"{re.escape(prefix)}(?:{'|'.join(branches)})"
