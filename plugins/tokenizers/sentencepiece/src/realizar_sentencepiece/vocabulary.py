"""The tables of a SentencePiece vocabulary, checked once: which pieces text may become, which ids are special."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite

from realizar.errors import TokenizerError
from realizar.model import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, TokenizerSpec
from realizar_sentencepiece.words import SPACE

SPECIAL_TYPES = frozenset([CONTROL, UNKNOWN, UNUSED])
"""Types that `skip_special_tokens` leaves out."""

_BYTE_PIECE = re.compile("<0x[0-9A-F]{2}>")


class Vocabulary:
    """Tables of one vocabulary.

    types: of each id, NORMAL...BYTE.
    ids, scores: of the pieces that text may become: normal, user-defined and unused; by spelling.
    merges: "left right" -> place in the table of merges, of a vocabulary without scores.
    user_defined, unused: those of them, by spelling.
    special: control and unknown tokens' text -> id; found in a text on request only.
    byte_ids: the id of each byte; empty if the vocabulary has no byte pieces.
    bos_ids, eos_ids: what `add_special_tokens` puts around a text; empty where the file does not ask for it.
    """

    def __init__(self, spec: TokenizerSpec) -> None:
        self.source = spec.source
        self.tokens = list(spec.tokens)
        _check_ids(spec)
        self.types = _token_types(spec, self.tokens)
        self.ids = _ids_by_piece(self.tokens, self.types, spec.source)
        self.merges = _merges(spec, self.ids) if spec.model == "spm" and spec.scores is None and spec.merges else {}
        self.scores = {} if self.merges else _scores(spec, self.ids)
        self.user_defined = {piece: i for piece, i in self.ids.items() if self.types[i] == USER_DEFINED}
        self.unused = frozenset(piece for piece, i in self.ids.items() if self.types[i] == UNUSED)
        self.special = {self.tokens[i]: i for i, kind in enumerate(self.types) if kind in (CONTROL, UNKNOWN)}
        self.byte_ids = _byte_ids(self.tokens, self.types, spec.source)
        self.unk_id = next((i for i, kind in enumerate(self.types) if kind == UNKNOWN), None)
        if spec.unk_token_id is not None:
            self.unk_id = spec.unk_token_id
        self.bos_ids = _asked_for(spec.add_bos_token, spec.bos_token_id, "BOS", spec)
        self.eos_ids = _asked_for(spec.add_eos_token, next(iter(spec.eos_token_ids), None), "EOS", spec)
        self._bytes: dict[int, bytes] = {}

    def piece_bytes(self, token_id: int) -> bytes:
        """The bytes that `token_id` stands for; a control token's are its spelling in UTF-8."""
        data = self._bytes.get(token_id)
        if data is None:
            self.check_id(token_id)
            data = self._bytes[token_id] = self._spell(token_id)
        return data

    def check_id(self, token_id: int) -> None:
        """Raise TokenizerError if `token_id` is outside the vocabulary."""
        if not 0 <= token_id < len(self.tokens):
            raise TokenizerError(
                f"{self.source}: token id {token_id} is outside the vocabulary of {len(self.tokens)} tokens; "
                f"these ids are of another model"
            )

    def is_special(self, token_id: int) -> bool:
        """Whether `skip_special_tokens` leaves out `token_id`."""
        self.check_id(token_id)
        return self.types[token_id] in SPECIAL_TYPES

    def is_byte(self, token_id: int) -> bool:
        """Whether `token_id`, which must be in the vocabulary, is a byte."""
        return self.types[token_id] == BYTE

    def unknown_ids(self, piece: str) -> Sequence[int]:
        """The ids of a `piece` that the vocabulary lacks: its bytes if there are byte pieces, else the unknown token.

        Raises TokenizerError if there is neither.
        """
        if self.byte_ids:
            return [self.byte_ids[byte] for byte in piece.encode()]
        if self.unk_id is None:
            raise TokenizerError(
                f"{self.source}: the vocabulary has no piece for {piece!r}, no byte pieces and no unknown token; the "
                f"text cannot be encoded with this model"
            )
        return [self.unk_id]

    def _spell(self, token_id: int) -> bytes:
        piece, kind = self.tokens[token_id], self.types[token_id]
        if kind == BYTE:
            return bytes([int(piece[3:5], 16)])
        text = piece if kind in (CONTROL, UNKNOWN) else piece.replace(SPACE, " ")
        return text.encode("utf-8", "surrogatepass")


def _check_ids(spec: TokenizerSpec) -> None:
    for token_id in (spec.bos_token_id, spec.unk_token_id, *spec.eos_token_ids):
        if token_id is not None and not 0 <= token_id < len(spec.tokens):
            raise TokenizerError(
                f"{spec.source}: BOS, EOS or unknown token id {token_id} is outside the vocabulary of "
                f"{len(spec.tokens)} tokens"
            )


def _token_types(spec: TokenizerSpec, tokens: Sequence[str]) -> Sequence[int]:
    """The type of each id. BOS and EOS are control tokens, for no text is meant to spell them.

    Without types in the file, pieces spelled <0xXX> are bytes and the unknown token is known by its id.
    """
    if spec.token_types is None:
        types = [BYTE if _BYTE_PIECE.fullmatch(piece) else NORMAL for piece in tokens]
        if spec.unk_token_id is not None:
            types[spec.unk_token_id] = UNKNOWN
    else:
        types = list(spec.token_types)
    if len(types) != len(tokens):
        raise TokenizerError(
            f"{spec.source}: {len(types)} token types for {len(tokens)} tokens; the counts must be equal"
        )
    for token_id in (spec.bos_token_id, *spec.eos_token_ids):
        if token_id is not None:
            types[token_id] = CONTROL
    return types


def _ids_by_piece(tokens: Sequence[str], types: Sequence[int], source: str) -> dict[str, int]:
    """Ids of pieces that text may become. A user-defined piece may spell its spaces either way."""
    ids: dict[str, int] = {}
    for i, (piece, kind) in enumerate(zip(tokens, types, strict=True)):
        if kind in (NORMAL, USER_DEFINED, UNUSED) and piece:
            spelling = piece.replace(" ", SPACE) if kind == USER_DEFINED else piece
            if ids.setdefault(spelling, i) != i:
                raise TokenizerError(f"{source}: tokens {ids[spelling]} and {i} are both {piece!r}; pieces must differ")
    return ids


def _scores(spec: TokenizerSpec, ids: dict[str, int]) -> dict[str, float]:
    if spec.scores is None or len(spec.scores) != len(spec.tokens):
        found = "no scores" if spec.scores is None else f"{len(spec.scores)} scores"
        raise TokenizerError(
            f"{spec.source}: {found} for {len(spec.tokens)} tokens (GGUF key tokenizer.ggml.scores), and a "
            f"{spec.model} vocabulary needs one each; convert the model again"
        )
    values = list(spec.scores)
    scores = {piece: float(values[i]) for piece, i in ids.items()}
    for piece, score in scores.items():
        if not isfinite(score):
            raise TokenizerError(f"{spec.source}: token {ids[piece]} {piece!r} has score {score}, expected a number")
    return scores


def _merges(spec: TokenizerSpec, ids: dict[str, int]) -> dict[str, int]:
    merges = list(spec.merges or ())
    for i, merge in enumerate(merges):
        if merge.count(" ") != 1 or merge.replace(" ", "") not in ids:
            raise TokenizerError(
                f"{spec.source}: merge {i} is {merge!r}, expected 'left right' that make a piece of the vocabulary"
            )
    return {merge: i for i, merge in enumerate(merges)}


def _byte_ids(tokens: Sequence[str], types: Sequence[int], source: str) -> Sequence[int]:
    found: dict[str, int] = {}
    for i, kind in enumerate(types):
        if kind == BYTE:
            if not _BYTE_PIECE.fullmatch(tokens[i]) or found.setdefault(tokens[i], i) != i:
                raise TokenizerError(
                    f"{source}: token {i} {tokens[i]!r} is a byte, expected <0x00> to <0xFF>, each at most once"
                )
    if found and len(found) < 256:
        raise TokenizerError(f"{source}: {len(found)} of the 256 byte pieces are there; all or none are needed")
    return [found[f"<0x{byte:02X}>"] for byte in range(256)] if found else []


def _asked_for(asked: bool, token_id: int | None, name: str, spec: TokenizerSpec) -> tuple[int, ...]:
    if not asked:
        return ()
    if token_id is None:
        raise TokenizerError(f"{spec.source}: the file asks for {name} around every text but names no {name} token")
    return (token_id,)
