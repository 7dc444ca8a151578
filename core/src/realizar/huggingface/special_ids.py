"""Ids of special tokens: by their text in tokenizer_config.json, else by number in the model's configuration."""

from __future__ import annotations

from typing import Any

import attrs

from realizar.errors import FormatError
from realizar.huggingface.json_object import JsonObject, proven
from realizar.huggingface.pieces import Pieces


@attrs.frozen
class SpecialIds:
    """settings: tokenizer_config.json; numbered: generation_config.json, config.json."""

    settings: JsonObject
    numbered: tuple[JsonObject, ...]
    pieces: Pieces

    def one(self, role: str) -> int | None:
        """The id of the token of a role ("bos"), None for none; raises FormatError for one outside the vocabulary."""
        return next(iter(self._all(role)), None)

    def ends(self, first: int | None) -> tuple[int, ...]:
        """`first`, the tokenizer's end of sequence, then every other id that ends generation, each once."""
        found = [first] if first is not None else []
        return tuple(dict.fromkeys(found + self._all("eos")))

    def _all(self, role: str) -> list[int]:
        content = token_text(self.settings, f"{role}_token")
        found = [] if content is None else [self._id_of(role, content)]
        for entry in self.numbered:
            value = entry.values.get(f"{role}_token_id")
            listed = value if isinstance(value, list) else [] if value is None else [value]
            ids = [self._proven(number, f"{entry.source}: {role}_token_id") for number in listed]
            found += [token_id for token_id in ids if token_id >= 0]
            if found and ids:
                break
        return [token_id for token_id in found if token_id >= 0]

    def _id_of(self, role: str, content: str) -> int:
        """-1 for padding and the like that the vocabulary lacks: no text is spelled with it."""
        if content in self.pieces.ids:
            return self.pieces.ids[content]
        if role in ("bos", "eos"):
            raise FormatError(f"{self.settings.source}: found {role}_token {content[:40]!r}, which is no token")
        return -1

    def _proven(self, number: Any, where: str) -> int:
        """An id, or a negative number, with which some files say that there is none."""
        token_id = proven(number, int, where)
        if token_id >= len(self.pieces.tokens):
            raise FormatError(f"{where}: found {token_id}, expected an id of {len(self.pieces.tokens)} tokens")
        return token_id


def token_text(settings: JsonObject, key: str) -> str | None:
    """The text of a token that settings name directly or as an object."""
    value = settings.values.get(key)
    if isinstance(value, dict):
        return JsonObject(value, f"{settings.source}: {key}").required("content", str)
    return settings.get(key, str)
