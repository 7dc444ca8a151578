"""Text to ids and back as a tokenizer.json says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from realizar.errors import TokenizerError
from realizar.model import CONTROL, UNUSED, TokenizerSpec
from realizar.pipeline.added_tokens import AddedToken, AddedTokenFinder
from realizar.pipeline.byte_alphabet import unspell
from realizar.pipeline.decoders import BYTE_TOKEN, ByteFallback, ByteLevel, Spaced
from realizar.pipeline.decoding import Decoding
from realizar.pipeline.pre_tokenizers import PreTokenizer
from realizar.pipeline.step import prove_growth
from realizar.pipeline.word_model import WordModel
from realizar.tokenizers import StreamDecoder, Tokenizer

CACHED_WORDS = 1 << 17
CACHED_WORD_LENGTH = 64
"""Characters; longer words repeat too seldom to be worth their room."""


class PipelineTokenizer(Tokenizer):
    """Added tokens, normalizers, added tokens of normalized text, pre-tokenizers, the model. Safe between threads."""

    def __init__(self, spec: TokenizerSpec, model: WordModel) -> None:
        assert spec.pipeline is not None
        self.spec = spec
        self.pipeline = spec.pipeline
        self._tokens = list(spec.tokens)
        self._is_control = [kind in (CONTROL, UNUSED) for kind in spec.token_types or [0] * len(self._tokens)]
        *self._cuts, self._last_cut = spec.pipeline.pre_tokenizers or (_Whole(),)
        self._word_ids = _WordIds(model, self._last_cut)
        self._found_as = {token: self._normalized(token) for token in spec.pipeline.added_tokens}
        self._finders = {special: self._finders_of(special) for special in (False, True)}
        spelled = {token.token_id: text for token, text in self._found_as.items()}
        self._spelled = [spelled.get(i, piece) for i, piece in enumerate(self._tokens)]

    def encode(self, text: str, *, add_special_tokens: bool = True, parse_special: bool = False) -> list[int]:
        """The ids of `text`.

        add_special_tokens: add what the post-processor puts around a text.
        parse_special: text that spells a control token becomes that token; otherwise it is plain text.
        Raises TokenizerError if the vocabulary cannot spell the text, the text has a lone surrogate, or a rule of the
        file takes too long or makes too much of it.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise TokenizerError(
                f"the text has a lone surrogate, U+{ord(text[error.start]):04X}, at character {error.start}; it is no "
                f"Unicode text: decode it from its bytes with errors='replace' first"
            ) from error
        ids = list(chain.from_iterable(self._split(text, parse_special)))
        return [*self.pipeline.before, *ids, *self.pipeline.after] if add_special_tokens else ids

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of `ids`; invalid UTF-8 becomes U+FFFD. Raises TokenizerError for an id outside the vocabulary."""
        stream = self.stream(skip_special_tokens=skip_special_tokens)
        return "".join([*map(stream.push, ids), stream.finish()])

    def stream(self, *, skip_special_tokens: bool = True) -> StreamDecoder:
        """A decoder whose pushed pieces concatenate to `decode` of all ids."""
        return _PipelineStream(self, skip_special_tokens)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for inside a text; a control token's are its spelling in UTF-8."""
        self._check_id(token_id)
        token = self._spelled[token_id]
        if self._is_control[token_id]:
            return self._tokens[token_id].encode()
        decoders = (Spaced(),) if self.pipeline.decoders is None else self.pipeline.decoders
        for decoder in decoders:
            if isinstance(decoder, ByteLevel):
                data = unspell(token)
                return token.encode() if data is None else data
            if isinstance(decoder, ByteFallback) and (match := BYTE_TOKEN.fullmatch(token)):
                return bytes([int(match[1], 16)])
            if decoder.fuses:
                break
            token = decoder.inside(token)
        return token.encode()

    def token(self, token_id: int, skip_special_tokens: bool) -> str | None:
        """The token as decoders see it, None for one that is skipped; raises TokenizerError outside the vocabulary."""
        self._check_id(token_id)
        return None if skip_special_tokens and self._is_control[token_id] else self._spelled[token_id]

    def _check_id(self, token_id: int) -> None:
        if not 0 <= token_id < len(self._tokens):
            raise TokenizerError(
                f"{self.spec.source}: token id {token_id} is outside the vocabulary of {len(self._tokens)} tokens; "
                f"these ids are of another model"
            )

    def _finders_of(self, special: bool) -> tuple[AddedTokenFinder, AddedTokenFinder]:
        """Of tokens in the text, and of those in the normalized text. special: control tokens among them."""
        found: tuple[dict[str, AddedToken], dict[str, AddedToken]] = ({}, {})
        for token, text in self._found_as.items():
            if special or not token.special:
                found[token.normalized].setdefault(text, token)
        before, behind = (AddedTokenFinder(by_text, self.spec.source) for by_text in found)
        return before, behind

    def _split(self, text: str, parse_special: bool) -> Iterator[Sequence[int]]:
        in_text, in_normalized = self._finders[parse_special]
        at_start = True
        for part in in_text.split(text):
            if isinstance(part, int):
                yield (part,)
            else:
                for inner in in_normalized.split(self._normalize(part)):
                    yield (inner,) if isinstance(inner, int) else self._part_ids(inner, at_start)
                    at_start = False
            at_start = False

    def _normalize(self, text: str) -> str:
        for normalizer in self.pipeline.normalizers:
            normalized = normalizer(text)
            prove_growth(text, normalized, normalizer)
            text = normalized
        return text

    def _normalized(self, token: AddedToken) -> str:
        return self._normalize(token.content) if token.normalized else token.content

    def _part_ids(self, text: str, at_start: bool) -> list[int]:
        pieces: Sequence[str] = [text]
        for step in self._cuts:
            pieces, at_start = _cut(step, pieces, at_start)
            pieces = list(map(step.spell, pieces))
        words, _ = _cut(self._last_cut, pieces, at_start)
        return list(chain.from_iterable(map(self._word_ids.__getitem__, words)))


def _cut(step: PreTokenizer, pieces: Sequence[str], at_start: bool) -> tuple[Sequence[str], bool]:
    """The pieces of all `pieces`, and whether the first still is where the text begins."""
    if len(pieces) == 1:
        cut = step.cut(pieces[0], at_start)
    else:
        cut = [part for i, piece in enumerate(pieces) for part in step.cut(piece, at_start and i == 0)]
    still = not step.removes or (bool(cut) and pieces[0].startswith(cut[0]))
    return cut, at_start and still


class _Whole(PreTokenizer):
    """No cut at all."""

    def cut(self, text: str, at_start: bool) -> Sequence[str]:
        return [text]


class _WordIds(dict[str, Sequence[int]]):
    """The ids of each word, worked out when first asked for; words too long to come again are not kept."""

    def __init__(self, model: WordModel, step: PreTokenizer) -> None:
        super().__init__()
        self._model = model
        self._spell = step.spell

    def __missing__(self, word: str) -> Sequence[int]:
        ids = self._model.word_ids(self._spell(word))
        if len(word) <= CACHED_WORD_LENGTH:
            if len(self) >= CACHED_WORDS:
                self.clear()
            self[word] = ids
        return ids


class _PipelineStream(StreamDecoder):
    """Constant cost per token."""

    def __init__(self, tokenizer: PipelineTokenizer, skip_special_tokens: bool) -> None:
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        self._decoding = self._new_decoding()

    def push(self, token_id: int) -> str:
        """The text that became certain with this id; may be empty."""
        token = self._tokenizer.token(token_id, self._skip_special_tokens)
        return "" if token is None else self._decoding.push(token)

    def finish(self) -> str:
        """What is left. The decoder is then as new."""
        text = self._decoding.finish()
        self._decoding = self._new_decoding()
        return text

    def _new_decoding(self) -> Decoding:
        return Decoding(self._tokenizer.pipeline.decoders)
