"""The list of tokens: a vocabulary by piece, the tokens added to it, and fillers where ids are left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from realizar.errors import FormatError
from realizar.huggingface.json_object import JsonObject, proven
from realizar.model import CONTROL, NORMAL, UNUSED, USER_DEFINED
from realizar.pipeline.added_tokens import AddedToken

_FLAGS = ("special", "lstrip", "rstrip", "single_word", "normalized")

MAX_TOKENS = 1 << 22
MAX_FILLERS = 1 << 16
"""Ids without a token; vocabularies are padded to round sizes."""


@attrs.frozen
class Pieces:
    """tokens and types by id, as in TokenizerSpec; ids: by piece, fillers left out."""

    tokens: list[str]
    types: list[int]
    ids: Mapping[str, int]


def read_added(entry: JsonObject, token_id: int) -> AddedToken:
    """An entry of added_tokens or added_tokens_decoder; raises FormatError."""
    flags = {key: bool(entry.get(key, bool)) for key in _FLAGS}
    return AddedToken(token_id, entry.required("content", str), **flags)


def read_merges(entries: Iterable[Any], source: str) -> list[str]:
    """Each merge as "left right"; files have that, or a pair. Raises FormatError."""
    merges = []
    for entry in entries:
        parts = entry.split(" ") if isinstance(entry, str) else entry
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(p, str) and p for p in parts):
            raise FormatError(f"{source}: found merge {str(entry)[:60]!r}, expected two pieces")
        merges.append(" ".join(parts))
    return merges


def join_pieces(vocabulary: Mapping[str, Any], added: Iterable[AddedToken], size: int, source: str) -> Pieces:
    """All tokens by id, at least `size` of them; raises FormatError.

    Added tokens are control tokens if they are special, else user-defined; those of the vocabulary keep their ids.
    """
    ids = {piece: _proven_id(token_id, piece, source) for piece, token_id in vocabulary.items()}
    kinds: dict[int, int] = {}
    for token in added:
        token_id = _proven_id(token.token_id, token.content, source)
        if ids.setdefault(token.content, token_id) != token_id:
            raise _clash(source, token.content, f"ids {ids[token.content]} and {token_id}")
        kinds[token_id] = CONTROL if token.special else USER_DEFINED
    size = max(size, max(ids.values(), default=-1) + 1)
    if size > MAX_TOKENS or size - len(ids) > MAX_FILLERS:
        raise FormatError(
            f"{source}: found {len(ids)} tokens for {size} ids, expected at most {MAX_TOKENS} ids and {MAX_FILLERS} "
            f"without a token"
        )
    tokens: list[str | None] = [None] * size
    for piece, token_id in ids.items():
        if tokens[token_id] is not None:
            raise _clash(source, piece, f"id {token_id}, which is {tokens[token_id]!r} already")
        tokens[token_id] = piece
    types = [UNUSED if piece is None else kinds.get(i, NORMAL) for i, piece in enumerate(tokens)]
    filled = [_filler(i, ids, source) if piece is None else piece for i, piece in enumerate(tokens)]
    _prove_utf8(filled, source)
    return Pieces(filled, types, ids)


def _proven_id(token_id: Any, piece: str, source: str) -> int:
    number = proven(token_id, int, f"{source}: the id of token {piece[:40]!r}")
    if not 0 <= number < MAX_TOKENS:
        raise FormatError(f"{source}: found id {number} of token {piece[:40]!r}, expected 0 to {MAX_TOKENS - 1}")
    return number


def _clash(source: str, piece: str, found: str) -> FormatError:
    return FormatError(f"{source}: found token {piece[:40]!r} with {found}, expected one token for each id")


def _filler(token_id: int, ids: Mapping[str, int], source: str) -> str:
    """llama.cpp's name of a token that only fills the vocabulary."""
    name = f"[PAD{token_id}]"
    if name in ids:
        raise _clash(source, name, f"id {ids[name]}, where {token_id} has no token and would be called so")
    return name


def _prove_utf8(tokens: Iterable[str], source: str) -> None:
    try:
        "".join(tokens).encode("utf-8")
    except UnicodeEncodeError:
        raise FormatError(f"{source}: found a token with half a surrogate pair, expected Unicode text") from None
