"""The tables of a byte-level BPE vocabulary, checked once: which pieces text may become, which ids are special."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice

import attrs

from realizar.errors import TokenizerError
from realizar.model import CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, TokenizerSpec
from realizar.pipeline.byte_alphabet import CHAR_TO_BYTE, unspell

SPECIAL_TYPES = frozenset([CONTROL, UNKNOWN, UNUSED])
"""Types that plain text never becomes and that `skip_special_tokens` leaves out."""


class Vocabulary:
    """Tables of one vocabulary.

    ids: plain piece, in the byte alphabet, -> id; special tokens are absent.
    ranks: "left right" -> position in the merge table.
    types: of each id, NORMAL...BYTE.
    user_defined, special: added token's text -> id; the first are found in every text, the others on request.
    bos_ids, eos_ids: what `add_special_tokens` puts around a text; empty where the file does not ask for it.
    """

    def __init__(self, spec: TokenizerSpec) -> None:
        spec = _in_memory(spec)
        self.tokens = spec.tokens
        self.source = spec.source
        _check_ids(spec)
        self.types = _token_types(spec)
        added = [(i, kind) for i, kind in enumerate(self.types) if kind != NORMAL]
        self.user_defined = {spec.tokens[i]: i for i, kind in added if kind == USER_DEFINED}
        self.special = {spec.tokens[i]: i for i, kind in added if kind in (CONTROL, UNKNOWN)}
        self.ids = _ids_by_piece(spec)
        unreachable = {spec.tokens[i] for i, kind in added if kind in SPECIAL_TYPES}  # by merging plain text
        self.ranks = _merge_ranks(spec, self.ids, unreachable)
        for piece in unreachable:
            del self.ids[piece]
        self.bos_ids = _asked_for(spec.add_bos_token, spec.bos_token_id, "BOS", spec)
        self.eos_ids = _asked_for(spec.add_eos_token, next(iter(spec.eos_token_ids), None), "EOS", spec)

    def piece_bytes(self, token_id: int) -> bytes:
        """The bytes that `token_id` stands for: unspelled, or the UTF-8 of an added token's text."""
        if not 0 <= token_id < len(self.tokens):
            raise TokenizerError(
                f"{self.source}: token id {token_id} is outside the vocabulary of {len(self.tokens)} tokens; "
                f"these ids are of another model"
            )
        piece = self.tokens[token_id]
        is_added = self.types[token_id] in (CONTROL, UNKNOWN, USER_DEFINED)
        data = None if is_added else unspell(piece)
        return piece.encode("utf-8", "surrogatepass") if data is None else data

    def is_special(self, token_id: int) -> bool:
        """Whether `skip_special_tokens` leaves out `token_id`, which must be in the vocabulary."""
        return self.types[token_id] in SPECIAL_TYPES


def _in_memory(spec: TokenizerSpec) -> TokenizerSpec:
    """`spec` with its tables read once; a file's own are lazy."""
    return attrs.evolve(
        spec,
        tokens=list(spec.tokens),
        token_types=None if spec.token_types is None else list(spec.token_types),
        merges=None if spec.merges is None else list(spec.merges),
    )


def _token_types(spec: TokenizerSpec) -> Sequence[int]:
    """The type of each id, put right where files are wrong.

    BOS and EOS are control tokens, for no text is meant to spell them. A single byte never is: text needs it, even if
    the file calls it its padding token.
    """
    types = [NORMAL] * len(spec.tokens) if spec.token_types is None else list(spec.token_types)
    if len(types) != len(spec.tokens):
        raise TokenizerError(
            f"{spec.source}: {len(types)} token types for {len(spec.tokens)} tokens; the counts must be equal"
        )
    for token_id in (spec.bos_token_id, *spec.eos_token_ids):
        if token_id is not None:
            types[token_id] = CONTROL
    return [
        NORMAL if kind in SPECIAL_TYPES and piece in CHAR_TO_BYTE else kind
        for piece, kind in zip(spec.tokens, types, strict=True)
    ]


def _check_ids(spec: TokenizerSpec) -> None:
    for token_id in (spec.bos_token_id, *spec.eos_token_ids):
        if token_id is not None and not 0 <= token_id < len(spec.tokens):
            raise TokenizerError(
                f"{spec.source}: BOS or EOS token id {token_id} is outside the vocabulary of {len(spec.tokens)} tokens"
            )


def _ids_by_piece(spec: TokenizerSpec) -> dict[str, int]:
    ids = dict(zip(spec.tokens, range(len(spec.tokens)), strict=True))
    if len(ids) != len(spec.tokens):
        first: dict[str, int] = {}
        for i, piece in enumerate(spec.tokens):
            if first.setdefault(piece, i) != i and piece:
                raise TokenizerError(
                    f"{spec.source}: tokens {first[piece]} and {i} are both {piece!r}; pieces must differ"
                )
    return ids


def _merge_ranks(spec: TokenizerSpec, ids: Mapping[str, int], unreachable: AbstractSet[str]) -> dict[str, int]:
    """Rank by "left right", once every merge is shown to join two pieces of the vocabulary into a third.

    Merges into or from an `unreachable` piece are left out.
    """
    if spec.merges is None:
        raise TokenizerError(
            f"{spec.source}: the file has no merge table (GGUF key tokenizer.ggml.merges), which byte-level BPE needs; "
            f"convert the model again"
        )
    merges = spec.merges
    ranks = dict(zip(merges, range(len(merges)), strict=True))
    if len(ranks) != len(merges):
        raise TokenizerError(f"{spec.source}: {len(merges) - len(ranks)} entries of the merge table are repetitions")
    malformed = [merge for merge in merges if merge.count(" ") != 1]
    if malformed:
        raise TokenizerError(
            f"{spec.source}: {len(malformed)} merges are not of the form 'left right', first {malformed[0]!r}"
        )
    pieces = _pieces(merges)
    if not all(map(ids.__contains__, pieces)):
        unknown = set(pieces) - ids.keys()
        raise TokenizerError(
            f"{spec.source}: the merge table names {len(unknown)} pieces that the vocabulary lacks: {_some(unknown)}"
        )
    if unreachable.isdisjoint(pieces):
        return ranks
    return {merge: rank for merge, rank in ranks.items() if unreachable.isdisjoint(_pieces([merge]))}


def _pieces(merges: Sequence[str]) -> list[str]:
    """The left, right and joined pieces of `merges`; cut from one text, for a table may have 300,000 entries."""
    if not merges:
        return []
    lines = "\n".join(merges)  # neither a space nor a line feed is in the byte alphabet
    return [*lines.replace(" ", "").split("\n"), *lines.replace("\n", " ").split(" ")]


def _asked_for(asked: bool, token_id: int | None, name: str, spec: TokenizerSpec) -> tuple[int, ...]:
    if not asked:
        return ()
    if token_id is None:
        raise TokenizerError(f"{spec.source}: the file asks for {name} around every text but names no {name} token")
    return (token_id,)


def _some(pieces: Iterable[str]) -> str:
    return ", ".join(repr(piece) for piece in islice(sorted(pieces), 5))
