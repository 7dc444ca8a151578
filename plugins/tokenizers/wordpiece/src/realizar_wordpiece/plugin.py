"""The hook of this plugin."""

from __future__ import annotations

from collections.abc import Iterable

import realizar
from realizar.tokenizers import TokenizerFactory
from realizar_wordpiece.factory import WordPieceTokenizerFactory

REALIZAR_API = (1, 0)


@realizar.hookimpl
def realizar_tokenizers() -> Iterable[TokenizerFactory]:
    """One factory, for specifications whose `model` is "wordpiece"."""
    return [WordPieceTokenizerFactory()]
