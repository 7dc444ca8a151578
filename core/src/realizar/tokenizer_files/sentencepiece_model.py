"""SentencePiece's `tokenizer.model`: a protocol buffer of pieces, of how it was trained and of how text is normalized.

Source: SentencePiece `sentencepiece_model.proto`. What a file leaves out has the default stated there.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence

import attrs

from realizar.errors import FormatError
from realizar.model import BYTE, CONTROL, NORMAL, UNKNOWN, TokenizerSpec
from realizar.tokenizer_files.protobuf import Field, Message, float32, integer, message, string

MODELS = {1: "unigram", 2: "spm"}
_UNREADABLE_MODELS = {3: "WORD", 4: "CHAR"}

Fields = Mapping[int, Field]


def read_sentencepiece_model(data: bytes, file: str) -> TokenizerSpec:
    """The specification in a `tokenizer.model`; encoding then gives what SentencePiece gives.

    The file does not say whether a text is put between BOS and EOS: the flags stay false.
    Raises FormatError naming `file` and the byte.
    """
    root = Message(data, 0, len(data), file)
    pieces = _Pieces()
    trainer: dict[int, Field] = {}  # ModelProto.trainer_spec = 2
    normalizer: dict[int, Field] = {}  # ModelProto.normalizer_spec = 3
    for field in root:
        if field.number == 1:
            pieces.add(field.message())
        elif field.number in (2, 3):
            part = trainer if field.number == 2 else normalizer
            part.update((inner.number, inner) for inner in field.message())
    if not pieces.tokens:
        raise root.error(0, "no pieces", "a SentencePiece model")
    if not _flag(normalizer, 5, True):  # escape_whitespaces
        raise root.error(normalizer[5].start, "escape_whitespaces = false", "pieces that spell a space as U+2581")
    model = _model(trainer)
    return TokenizerSpec(
        model=model,
        source=file,
        tokens=pieces.tokens,
        token_types=pieces.types,
        scores=pieces.scores,
        unk_token_id=pieces.id_of(UNKNOWN),
        bos_token_id=pieces.id_of(CONTROL, _string(trainer, 46, "<s>")),  # bos_piece
        eos_token_ids=tuple(i for i in [pieces.id_of(CONTROL, _string(trainer, 47, "</s>"))] if i is not None),
        pad_token_id=pieces.id_of(CONTROL, _string(trainer, 48, "<pad>")),
        add_space_prefix=_flag(normalizer, 3, True),  # add_dummy_prefix
        prepend_scheme="first",
        split_user_defined=False,
        remove_extra_whitespaces=_flag(normalizer, 4, True),
        treat_whitespace_as_suffix=_flag(trainer, 24, False),
        precompiled_charsmap=(normalizer[2].bytes() if 2 in normalizer else b"") or None,
    )


@attrs.define
class _Pieces:
    """ModelProto.SentencePiece: piece = 1, score = 2, type = 3."""

    tokens: list[str] = attrs.field(factory=list)
    types: array[int] = attrs.field(factory=lambda: array("B"))
    scores: array[float] = attrs.field(factory=lambda: array("f"))

    def add(self, message: Message) -> None:
        """Take in one piece; raises FormatError for an unknown type."""
        text, score, kind = "", 0.0, NORMAL
        for field in message:
            if field.number == 1:
                text = field.string()
            elif field.number == 2:
                score = field.float32()
            elif field.number == 3:
                kind = field.integer()
                if not NORMAL <= kind <= BYTE:
                    raise message.error(field.start, f"piece type {kind}", f"{NORMAL} to {BYTE}")
        self.tokens.append(text)
        self.scores.append(score)
        self.types.append(kind)

    def id_of(self, kind: int, text: str | None = None) -> int | None:
        """The first piece of a type, with that text if one is given."""
        ids: Sequence[int] = [i for i, found in enumerate(self.types) if found == kind]
        return next((i for i in ids if text is None or self.tokens[i] == text), None)


def _model(trainer: Fields) -> str:
    """TrainerSpec.model_type = 3."""
    number = trainer[3].integer() if 3 in trainer else 1
    if number in MODELS:
        return MODELS[number]
    name = _UNREADABLE_MODELS.get(number, "unknown")
    raise FormatError(
        f"{trainer[3].owner.file}: byte {trainer[3].start}: model type {number} ({name}) is not supported; "
        f"unigram (1) and BPE (2) are"
    )


def _flag(fields: Fields, number: int, default: bool) -> bool:
    return bool(fields[number].integer()) if number in fields else default


def _string(fields: Fields, number: int, default: str) -> str:
    return fields[number].string() if number in fields else default


def write_sentencepiece_model(spec: TokenizerSpec) -> bytes:
    """The inverse: a `tokenizer.model` of an "spm" or "unigram" vocabulary with scores; raises FormatError without."""
    number = next((number for number, name in MODELS.items() if name == spec.model), None)
    if number is None or spec.scores is None:
        raise FormatError(
            f"{spec.source}: a {spec.model} vocabulary without scores cannot be written as tokenizer.model"
        )
    types = spec.token_types or [NORMAL] * len(spec.tokens)
    pieces = b"".join(
        message(1, string(1, token) + float32(2, score) + integer(3, kind))
        for token, score, kind in zip(spec.tokens, spec.scores, types, strict=True)
    )
    ends = {
        40: spec.unk_token_id,
        41: spec.bos_token_id,
        42: next(iter(spec.eos_token_ids), None),
        43: spec.pad_token_id,
    }
    trainer = integer(3, number) + integer(24, spec.treat_whitespace_as_suffix) + integer(35, BYTE in types)
    for field, token_id in ends.items():  # ids at 40 to 43, their pieces at 45 to 48
        trainer += integer(field, -1 if token_id is None else token_id)
        trainer += b"" if token_id is None else string(field + 5, spec.tokens[token_id])
    normalizer = integer(3, spec.add_space_prefix) + integer(4, spec.remove_extra_whitespaces) + integer(5, True)
    if spec.precompiled_charsmap:
        normalizer += message(2, spec.precompiled_charsmap)
    return pieces + message(2, trainer) + message(3, normalizer)
