"""tokenizer.json: a vocabulary in the fields of TokenizerSpec where they say it all, else with a pipeline.

Source: tokenizers `tokenizer/serialization.rs`, `models`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from realizar.errors import FormatError, TokenizerError
from realizar.huggingface.json_file import read_json
from realizar.huggingface.json_object import JsonObject, proven
from realizar.huggingface.pieces import Pieces, join_pieces, read_added, read_merges
from realizar.huggingface.pipeline import (
    prove_keys,
    prove_unicode,
    read_decoders,
    read_normalizers,
    read_pre_tokenizers,
)
from realizar.huggingface.post_processor import Frame, read_frame
from realizar.huggingface.pre_tokenizers import pre_name
from realizar.huggingface.vocabulary import MAX_NBYTES, Vocabulary
from realizar.model import BYTE, NORMAL, USER_DEFINED
from realizar.pipeline.decoders import BYTE_TOKEN, ByteLevel
from realizar.pipeline.normalizers import BertNormalizer
from realizar.pipeline.pipeline import ModelOptions, Pipeline
from realizar.pipeline.pre_tokenizers import BertPreTokenizer

_PARTS = "normalizer pre_tokenizer post_processor decoder model added_tokens".split()
_IGNORED = "version truncation padding".split()
"""What the library does to a batch: no part of a text's ids."""

_ADDED_KEYS = "id content single_word lstrip rstrip normalized special".split()
_MODEL_KEYS = {
    "BPE": "vocab merges dropout unk_token continuing_subword_prefix end_of_word_suffix fuse_unk byte_fallback "
    "ignore_merges",
    "Unigram": "vocab unk_id byte_fallback",
    "WordPiece": "vocab unk_token continuing_subword_prefix max_input_chars_per_word",
}

MAX_AFFIX = 16
"""Characters of continuing_subword_prefix and end_of_word_suffix."""


def read_tokenizer_json(path: Path, size: int) -> Vocabulary:
    """The vocabulary of at least `size` tokens; raises FormatError, and TokenizerError naming what is not known."""
    file = JsonObject(read_json(path, MAX_NBYTES), str(path))
    prove_keys(file, [*_PARTS, *_IGNORED])
    model = file.child("model")
    if model is None:
        raise FormatError(f"{path}: found no model, expected an object")
    kind = model.get("type", str) or ("BPE" if model.get("merges", list) is not None else None)
    if kind not in _MODEL_KEYS:
        raise TokenizerError(f"{model.source}: unknown type {kind!r}; known are {', '.join(_MODEL_KEYS)}")
    prove_keys(model, ["type", *_MODEL_KEYS[kind].split()])
    entries = file.children("added_tokens")
    for entry in entries:
        prove_keys(entry, _ADDED_KEYS)
    added = tuple(read_added(entry, entry.required("id", int)) for entry in entries)
    vocab, scores = _unigram_vocab(model) if kind == "Unigram" else (model.required("vocab", dict), [])
    pieces = join_pieces(vocab, added, size, str(path))
    frame = read_frame(file.child("post_processor"))
    _prove_ids(frame, len(pieces.tokens), str(path))
    pipeline = Pipeline(
        options=_options(kind, model, pieces),
        added_tokens=added,
        normalizers=read_normalizers(file),
        pre_tokenizers=read_pre_tokenizers(file),
        before=frame.before,
        after=frame.after,
        decoders=read_decoders(file),
    )
    fields: dict[str, Any] = {}
    if kind == "BPE":
        fields["merges"] = read_merges(model.required("merges", list), model.source)
    plain = _plain(kind, pipeline)
    if plain is not None:
        roles = {"unk": pipeline.options.unk_token_id}
        return Vocabulary(_NAMES[kind], str(path), pieces, frame, fields | plain, roles)
    if kind == "Unigram":
        fields["scores"] = scores + [0.0] * (len(pieces.tokens) - len(scores))
    fields["pipeline"] = pipeline
    types = [_type(*token, pipeline.options, vocab) for token in zip(pieces.tokens, pieces.types, strict=True)]
    return Vocabulary(_name(kind, pipeline), str(path), attrs.evolve(pieces, types=types), frame, fields)


_NAMES = {"BPE": "bpe", "Unigram": "unigram", "WordPiece": "wordpiece"}


def _name(kind: str, pipeline: Pipeline) -> str:
    """TokenizerSpec.model: BPE that falls back to bytes is SentencePiece's, if it has nothing that this lacks."""
    options = pipeline.options
    others = options.ignore_merges or options.continuing_subword_prefix or options.end_of_word_suffix
    return "spm" if kind == "BPE" and options.byte_fallback and not others else _NAMES[kind]


def _plain(kind: str, pipeline: Pipeline) -> dict[str, Any] | None:
    """Further fields of TokenizerSpec, if without a pipeline they say all that the file does."""
    if not all(token.is_plain for token in pipeline.added_tokens):
        return None
    if max(len(pipeline.before), len(pipeline.after)) > 1:
        return None
    if kind == "BPE":
        name = _byte_level_name(pipeline)
        return None if name is None else {"pre": name}
    return _bert(pipeline) if kind == "WordPiece" else None


def _byte_level_name(pipeline: Pipeline) -> str | None:
    """The name of the pre-tokenizer, if nothing but it shapes the tokens of byte-level BPE."""
    ignore_merges = pipeline.options.ignore_merges
    if pipeline.normalizers or pipeline.options != ModelOptions(ignore_merges=ignore_merges):
        return None
    if pipeline.decoders is not None and [type(decoder) for decoder in pipeline.decoders] != [ByteLevel]:
        return None
    return pre_name(pipeline.pre_tokenizers, ignore_merges)


def _bert(pipeline: Pipeline) -> dict[str, Any] | None:
    """The fields of BERT's normalizer, if the rest is BERT's too."""
    normalizer = next(iter(pipeline.normalizers), None)
    if not isinstance(normalizer, BertNormalizer) or not normalizer.clean_text or len(pipeline.normalizers) > 1:
        return None
    if pipeline.pre_tokenizers != (BertPreTokenizer(),) or pipeline.options.continuing_subword_prefix != "##":
        return None
    accents = normalizer.strip_accents
    return {
        "do_lower_case": normalizer.lowercase,
        "strip_accents": normalizer.lowercase if accents is None else accents,
        "tokenize_chinese_chars": normalizer.handle_chinese_chars,
        "max_input_chars_per_word": pipeline.options.max_input_chars_per_word,
    }


def _unigram_vocab(model: JsonObject) -> tuple[dict[str, Any], list[float]]:
    """Ids and scores by the place of [piece, score]."""
    ids: dict[str, Any] = {}
    scores = []
    for i, entry in enumerate(model.required("vocab", list)):
        where = f"{model.source}: vocab[{i}]"
        if not isinstance(entry, list) or len(entry) != 2:
            raise FormatError(f"{where}: found {str(entry)[:60]}, expected a piece and its score")
        piece, score = proven(entry[0], str, where), entry[1]
        if isinstance(score, bool) or not isinstance(score, (int, float)) or not math.isfinite(score):
            raise FormatError(f"{where}: found score {str(score)[:40]!r}, expected a number")
        if ids.setdefault(piece, i) != i:
            raise FormatError(f"{where}: found {piece[:40]!r} for the second time, expected each piece once")
        scores.append(float(score))
    return ids, scores


def _type(piece: str, kind: int, options: ModelOptions, vocab: Mapping[str, Any]) -> int:
    """Added tokens are found by the pipeline: to the model those of its vocabulary are pieces like any other."""
    if kind not in (NORMAL, USER_DEFINED):
        return kind
    if options.byte_fallback and BYTE_TOKEN.fullmatch(piece):
        return BYTE
    return NORMAL if piece in vocab else USER_DEFINED


def _options(kind: str, model: JsonObject, pieces: Pieces) -> ModelOptions:
    if model.values.get("dropout"):
        raise TokenizerError(f"{model.source}: dropout: found {model.values['dropout']!r}, expected none")
    flags = {key: bool(model.get(key, bool)) for key in ("fuse_unk", "ignore_merges", "byte_fallback")}
    prefix, suffix = (_affix(model, key) for key in ("continuing_subword_prefix", "end_of_word_suffix"))
    if kind == "WordPiece" and prefix is None:
        prefix = "##"
    length = model.get("max_input_chars_per_word", int)
    return ModelOptions(
        unk_token_id=_unknown(kind, model, pieces),
        continuing_subword_prefix=prefix or "",
        end_of_word_suffix=suffix or "",
        max_input_chars_per_word=100 if length is None else length,
        **flags,
    )


def _affix(model: JsonObject, key: str) -> str | None:
    text = model.get(key, str)
    if text is not None and len(text) > MAX_AFFIX:
        raise TokenizerError(f"{model.source}: {key}: found {len(text)} characters, at most {MAX_AFFIX} are supported")
    return None if text is None else prove_unicode(text, f"{model.source}: {key}")


def _unknown(kind: str, model: JsonObject, pieces: Pieces) -> int | None:
    if kind == "Unigram":
        token_id = model.get("unk_id", int)
        if token_id is not None and not 0 <= token_id < len(pieces.tokens):
            raise FormatError(f"{model.source}: unk_id: found {token_id}, expected one of {len(pieces.tokens)} ids")
        return token_id
    content = model.get("unk_token", str)
    if content is None or content not in pieces.ids:
        return None  # as BERT's files without [UNK]: an error where a text needs it
    return pieces.ids[content]


def _prove_ids(frame: Frame, count: int, source: str) -> None:
    for token_id in (*frame.before, *frame.after):
        if not 0 <= token_id < count:
            raise FormatError(f"{source}: post_processor: found id {token_id}, expected an id of {count} tokens")
