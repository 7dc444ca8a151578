"""BPE as the model of a tokenizer.json: words, in whatever spelling the pre-tokenizers left them, to ids.

Source: tokenizers `models/bpe/model.rs`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from realizar.errors import TokenizerError
from realizar.model import BYTE, NORMAL, TokenizerSpec
from realizar.pipeline.pipeline import ModelOptions
from realizar.pipeline.word_model import WordModel
from realizar_bpe.merges import merge


class BpeModel(WordModel):
    """Merges of characters. Raises TokenizerError for a merge of pieces that the vocabulary lacks."""

    def __init__(self, spec: TokenizerSpec) -> None:
        self._options = spec.pipeline.options if spec.pipeline else ModelOptions()
        self._source = spec.source
        types = [NORMAL] * len(spec.tokens) if spec.token_types is None else list(spec.token_types)
        self._ids = {piece: i for i, (piece, kind) in enumerate(zip(spec.tokens, types, strict=True)) if kind == NORMAL}
        self._byte_ids = {piece: i for i, piece in enumerate(spec.tokens) if types[i] == BYTE}
        self._ranks = _ranks(spec, self._ids, len(self._options.continuing_subword_prefix))

    def word_ids(self, word: str) -> Sequence[int]:
        """See WordModel; O(n log n) in the word's length."""
        if self._options.ignore_merges and word in self._ids:
            return (self._ids[word],)
        pieces = merge(self._symbols(word), self._ranks, len(self._options.continuing_subword_prefix))
        try:
            return tuple([self._ids[piece] for piece in pieces])
        except KeyError:
            return tuple(self._with_unknown(pieces))

    def _symbols(self, word: str) -> Sequence[str]:
        """Its characters, marked by whether they begin or end it."""
        prefix, suffix = self._options.continuing_subword_prefix, self._options.end_of_word_suffix
        if not (prefix or suffix) or not word:
            return word
        symbols = [word[0], *(prefix + char for char in word[1:])]
        symbols[-1] += suffix
        return symbols

    def _with_unknown(self, pieces: Sequence[str]) -> Iterator[int]:
        follows_unknown = False
        for piece in pieces:
            ids = self._known_ids(piece)
            if ids:
                yield from ids
            elif not (follows_unknown and self._options.fuse_unk):
                yield self._unknown_id(piece)
            follows_unknown = not ids

    def _known_ids(self, piece: str) -> Sequence[int]:
        """The id of a piece, or those of its bytes; none if it is unknown."""
        if piece in self._ids:
            return (self._ids[piece],)
        if not self._options.byte_fallback:
            return ()
        found = [self._byte_ids.get(f"<0x{byte:02X}>", -1) for byte in piece.encode()]
        return () if -1 in found else found

    def _unknown_id(self, piece: str) -> int:
        if self._options.unk_token_id is None:
            raise TokenizerError(
                f"{self._source}: the vocabulary has no token for {piece!r} and no unknown token; the text cannot be "
                f"encoded with this model"
            )
        return self._options.unk_token_id


def _ranks(spec: TokenizerSpec, ids: dict[str, int], skipped: int) -> dict[str, int]:
    """Rank by "left right" of all merges among plain pieces. skipped: characters that a right piece loses."""
    everything = set(spec.tokens)
    ranks: dict[str, int] = {}
    for rank, entry in enumerate(spec.merges or ()):
        left, _, right = entry.partition(" ")
        pieces = (left, right, left + right[skipped:])
        if " " in right or not everything.issuperset(pieces):
            raise TokenizerError(
                f"{spec.source}: merge {rank} is {entry[:60]!r}, expected 'left right', both in the vocabulary, and so "
                f"their union"
            )
        if all(map(ids.__contains__, pieces)):
            ranks[entry] = rank
    return ranks
