"""What a text becomes before it is segmented: characters replaced, spaces thinned out, added and escaped.

Source: SentencePiece's normalizer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from realizar.model import TokenizerSpec
from realizar_sentencepiece.words import SPACE

_RUN_OF_SPACES = re.compile("  +")


class Normalizer:
    """The normalization that a specification asks for."""

    def __init__(self, spec: TokenizerSpec) -> None:
        self._spec = spec

    def __call__(self, text: str, *, prefix: bool) -> str:
        """`text` with its spaces escaped. prefix: add the space of `add_space_prefix` if the file asks for it."""
        body = "".join(self._thinned(text)) if self._spec.remove_extra_whitespaces else text
        if not body:
            return ""
        body = body.replace(" ", SPACE)
        space = SPACE if prefix and self._spec.add_space_prefix else ""
        is_suffix = self._spec.treat_whitespace_as_suffix
        normalized = body if is_suffix else space + body
        if self._spec.remove_extra_whitespaces:
            normalized = normalized.rstrip(SPACE)
        return normalized + space if is_suffix else normalized

    def _thinned(self, text: str) -> Iterator[str]:
        yield _RUN_OF_SPACES.sub(" ", text).lstrip(" ")
