"""The tables of a WordPiece vocabulary, checked once: pieces that begin words, pieces that continue them, added tokens.

Files spell pieces in two ways. Those of BERT mark what continues a word: "##ing". GGUF files mark what begins one, with
U+2581, and leave the others bare.
"""

from __future__ import annotations

from collections.abc import Iterator

from realizar.errors import TokenizerError
from realizar.model import CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, TokenizerSpec

CONTINUES, BEGINS = "##", "\u2581"

SPECIAL_TYPES = frozenset([CONTROL, UNKNOWN, UNUSED])
"""Types that no text becomes and that `skip_special_tokens` leaves out."""


class Vocabulary:
    """Tables of one vocabulary.

    beginnings, continuations: text of a piece -> id. longest: characters of the longest of them.
    texts: of each id, without its mark. continues: whether each id goes on with a word.
    user_defined, special: added token's text -> id; the first are found in every text, the others on request.
    bos_ids, eos_ids: what `add_special_tokens` puts around a text; empty where the file does not ask for it.
    """

    def __init__(self, spec: TokenizerSpec) -> None:
        self.source = spec.source
        tokens = list(spec.tokens)
        self.types = _token_types(spec, len(tokens))
        self.user_defined = {t: i for i, t in enumerate(tokens) if self.types[i] == USER_DEFINED}
        self.special = {t: i for i, t in enumerate(tokens) if self.types[i] in (CONTROL, UNKNOWN)}
        marks_beginnings = sum(t.startswith(BEGINS) for t in tokens) > sum(t.startswith(CONTINUES) for t in tokens)
        pieces = [_split_mark(token, marks_beginnings) for token in tokens]
        added = frozenset([*SPECIAL_TYPES, USER_DEFINED])
        plain = [i for i, kind in enumerate(self.types) if kind not in added]
        self.texts = [tokens[i] if kind in added else pieces[i][0] for i, kind in enumerate(self.types)]
        self.continues = [kind not in added and pieces[i][1] for i, kind in enumerate(self.types)]
        self.beginnings = {self.texts[i]: i for i in plain if not self.continues[i]}
        self.continuations = {self.texts[i]: i for i in plain if self.continues[i]}
        if len(self.beginnings) + len(self.continuations) != len(plain):
            raise TokenizerError(f"{self.source}: {self._repeated(plain)}; pieces must differ")
        self.longest = max(map(len, [*self.beginnings, *self.continuations]), default=0)
        self.bos_ids = _asked_for(spec.add_bos_token, spec.bos_token_id, "first ([CLS])", spec)
        self.eos_ids = _asked_for(spec.add_eos_token, next(iter(spec.eos_token_ids), None), "last ([SEP])", spec)

    def is_special(self, token_id: int) -> bool:
        """Whether `skip_special_tokens` leaves out `token_id`, which must be in the vocabulary."""
        return self.types[token_id] in SPECIAL_TYPES

    def prove(self, token_id: int) -> None:
        """Raise TokenizerError for an id outside the vocabulary."""
        if not 0 <= token_id < len(self.texts):
            raise TokenizerError(
                f"{self.source}: token id {token_id} is outside the vocabulary of {len(self.texts)} tokens; "
                f"these ids are of another model"
            )

    def _repeated(self, plain: list[int]) -> str:
        first: dict[tuple[str, bool], int] = {}
        for i in plain:
            other = first.setdefault((self.texts[i], self.continues[i]), i)
            if other != i:
                return f"tokens {other} and {i} are both {self.texts[i]!r}"
        raise AssertionError("no piece is repeated")


def _split_mark(token: str, marks_beginnings: bool) -> tuple[str, bool]:
    """A piece's text, and whether it continues a word."""
    if marks_beginnings:
        return token.removeprefix(BEGINS), not token.startswith(BEGINS)
    return token.removeprefix(CONTINUES), token.startswith(CONTINUES)


def _token_types(spec: TokenizerSpec, count: int) -> list[int]:
    """The type of each id; the tokens around a text and the unknown one are special whatever the file says."""
    types = [NORMAL] * count if spec.token_types is None else list(spec.token_types)
    if len(types) != count:
        raise TokenizerError(f"{spec.source}: {len(types)} token types for {count} tokens; the counts must be equal")
    for name, token_id in _named_ids(spec):
        if not 0 <= token_id < count:
            raise TokenizerError(f"{spec.source}: {name} token id {token_id} is outside the vocabulary of {count}")
        types[token_id] = UNKNOWN if name == "unknown" else CONTROL
    return types


def _named_ids(spec: TokenizerSpec) -> Iterator[tuple[str, int]]:
    named = [("first", spec.bos_token_id), *(("last", i) for i in spec.eos_token_ids)]
    for name, token_id in [("unknown", spec.unk_token_id), *named]:
        if token_id is not None:
            yield name, token_id


def _asked_for(asked: bool, token_id: int | None, name: str, spec: TokenizerSpec) -> tuple[int, ...]:
    if not asked:
        return ()
    if token_id is None:
        raise TokenizerError(f"{spec.source}: the file asks for a {name} token around every text but names none")
    return (token_id,)
