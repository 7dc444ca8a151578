"""The pieces of a word. Source: Wu et al. 2016, arXiv:1609.08144, section 4.1."""

from __future__ import annotations

from collections.abc import Mapping

from realizar.errors import TokenizerError


def longest_pieces(
    word: str, beginnings: Mapping[str, int], continuations: Mapping[str, int], longest: int
) -> tuple[int, ...] | None:
    """The ids of the longest piece that begins `word`, then of the longest that goes on from there, and so on.

    None where there is no piece to go on with. longest: characters of the longest piece.
    """
    ids: list[int] = []
    start = 0
    while start < len(word):
        table = continuations if start else beginnings
        for end in range(min(len(word), start + longest), start, -1):
            token_id = table.get(word[start:end])
            if token_id is not None:
                break
        else:
            return None
        ids.append(token_id)
        start = end
    return tuple(ids)


def unknown_id(word: str, unk_token_id: int | None, source: str) -> int:
    """The unknown token, which stands for `word`; raises TokenizerError where the vocabulary has none."""
    if unk_token_id is None:
        raise TokenizerError(
            f"{source}: the vocabulary cannot spell the word {word[:40]!r} and names no unknown token; "
            f"the text cannot be encoded with this model"
        )
    return unk_token_id
