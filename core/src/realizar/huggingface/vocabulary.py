"""Vocabularies of a directory: tokenizer.json, or the older vocab.json with merges.txt, or vocab.txt.

Source: tokenizers `models` (fields of tokenizer.json), transformers `tokenization_gpt2.py`, `tokenization_bert.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs

from realizar.errors import FormatError, TokenizerError
from realizar.huggingface.json_file import read_json, read_text
from realizar.huggingface.json_object import JsonObject, proven
from realizar.huggingface.pieces import AddedToken, Pieces, join_pieces, read_added
from realizar.huggingface.post_processor import Frame, read_frame
from realizar.huggingface.pre_tokenizers import pre_name
from realizar.huggingface.special_ids import token_text

log = logging.getLogger(__name__)

MAX_NBYTES = 1 << 26

PRE_BY_CLASS = {"GPT2Tokenizer": "gpt-2", "Qwen2Tokenizer": "qwen2"}
"""What a vocab.json without tokenizer.json is cut by: the class that reads it has it in its code."""


@attrs.frozen
class Vocabulary:
    """What a vocabulary's own files say; options: further fields of TokenizerSpec."""

    model: str
    source: str
    pieces: Pieces
    frame: Frame
    options: dict[str, Any]


def read_tokenizer_json(path: Path, size: int) -> Vocabulary:
    """The vocabulary of at least `size` tokens; raises FormatError, and TokenizerError naming what is not known."""
    file = JsonObject(read_json(path, MAX_NBYTES), str(path))
    model = file.child("model")
    if model is None:
        raise FormatError(f"{path}: found no model, expected an object")
    kind = model.get("type", str) or ("BPE" if model.get("merges", list) is not None else None)
    if kind not in ("BPE", "WordPiece"):
        raise TokenizerError(
            f"{path}: model {kind!r} is not read from tokenizer.json, only byte-level BPE and WordPiece are; "
            f"use a GGUF file of the model"
        )
    options = _byte_level(file, model) if kind == "BPE" else _word_piece(file, model)
    entries = file.children("added_tokens")
    added = [read_added(entry, entry.required("id", int)) for entry in entries]
    _tell_of_flags(entries, str(path))
    pieces = join_pieces(model.required("vocab", dict), added, size, str(path))
    frame = read_frame(file.child("post_processor"))
    return Vocabulary("bpe" if kind == "BPE" else "wordpiece", str(path), pieces, frame, options)


def read_vocab_json(path: Path, settings: JsonObject, size: int) -> Vocabulary:
    """Byte-level BPE from vocab.json and the merges.txt beside it; raises FormatError, TokenizerError."""
    name = settings.get("tokenizer_class", str)
    pre = PRE_BY_CLASS.get((name or "").removesuffix("Fast"))
    if pre is None:
        raise TokenizerError(
            f"{path}: there is no tokenizer.json, and for tokenizer_class {name!r} it is not known how words are cut; "
            f"known: {', '.join(PRE_BY_CLASS)}. Save the tokenizer with a current version of transformers"
        )
    lines = read_text(path.with_name("merges.txt"), MAX_NBYTES).splitlines()
    merges = [line for line in lines if line and not line.startswith("#version")]
    pieces = join_pieces(read_json(path, MAX_NBYTES), _added_in(settings), size, str(path))
    return Vocabulary("bpe", str(path), pieces, Frame(), {"pre": pre, "merges": _merges(merges, str(path))})


def read_vocab_txt(path: Path, settings: JsonObject, size: int) -> Vocabulary:
    """WordPiece from a file of one token a line; raises FormatError."""
    tokens = read_text(path, MAX_NBYTES).removesuffix("\n").split("\n")
    vocabulary = {token.removesuffix("\r"): i for i, token in enumerate(tokens)}
    if len(vocabulary) != len(tokens):
        raise FormatError(f"{path}: found {len(tokens)} lines with {len(vocabulary)} tokens, expected each token once")
    special = {role: token_text(settings, f"{role}_token") for role in ("cls", "sep", "unk", "pad", "mask")}
    named = {content for content in special.values() if content in vocabulary}
    added = [AddedToken(vocabulary[content], content, special=True) for content in sorted(named)]
    pieces = join_pieces(vocabulary, added, size, str(path))
    frame = Frame(pieces.ids.get(special["cls"] or ""), pieces.ids.get(special["sep"] or ""))
    options = _lower_case(settings, "do_lower_case", "tokenize_chinese_chars")
    return Vocabulary("wordpiece", str(path), pieces, frame, options)


def _byte_level(file: JsonObject, model: JsonObject) -> dict[str, Any]:
    """`pre` and `merges`, once it is sure that nothing else shapes the tokens."""
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.values.get(key):
            raise TokenizerError(
                f"{model.source}: found {key} {model.values[key]!r}, expected byte-level BPE without it; "
                f"use the tokenizer.model of the model, or a GGUF file"
            )
    normalizer = file.child("normalizer")
    if normalizer is not None and normalizer.values != {"type": "NFC"}:
        raise TokenizerError(f"{normalizer.source}: found {str(dict(normalizer.values))[:200]}, expected NFC or none")
    if normalizer is not None:
        log.warning("%s: NFC is not applied: text in decomposed form gets other tokens than in training", file.source)
    ignore_merges = bool(model.get("ignore_merges", bool))
    pre = pre_name(file.child("pre_tokenizer"), ignore_merges, file.source)
    return {"pre": pre, "merges": _merges(model.required("merges", list), model.source)}


def _merges(entries: Iterable[Any], source: str) -> list[str]:
    """Each merge as "left right"; files have that, or a pair."""
    merges = []
    for entry in entries:
        parts = entry.split(" ") if isinstance(entry, str) else entry
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(p, str) and p for p in parts):
            raise FormatError(f"{source}: found merge {str(entry)[:60]!r}, expected two pieces")
        merges.append(" ".join(parts))
    return merges


def _word_piece(file: JsonObject, model: JsonObject) -> dict[str, Any]:
    """The fields of BERT's normalizer, once it is sure that the rest is BERT's too."""
    parts = {name: file.child(name) for name in ("normalizer", "pre_tokenizer")}
    kinds = [None if part is None else part.get("type", str) for part in parts.values()]
    prefix = model.get("continuing_subword_prefix", str)
    if kinds != ["BertNormalizer", "BertPreTokenizer"] or prefix not in (None, "##"):
        raise TokenizerError(
            f"{file.source}: found WordPiece with {kinds} and prefix {prefix!r}, expected BertNormalizer, "
            f"BertPreTokenizer and '##'"
        )
    normalizer = parts["normalizer"]
    assert normalizer is not None
    if normalizer.get("clean_text", bool) is False:
        raise TokenizerError(f"{normalizer.source}: found clean_text false, expected true")
    length = model.get("max_input_chars_per_word", int)
    options = _lower_case(normalizer, "lowercase", "handle_chinese_chars")
    return options if length is None else options | {"max_input_chars_per_word": length}


def _lower_case(entry: JsonObject, lower_key: str, chinese_key: str) -> dict[str, Any]:
    """Accents go with capitals unless the file says otherwise."""
    lower, accents, chinese = (entry.get(key, bool) for key in (lower_key, "strip_accents", chinese_key))
    lower = lower is None or lower
    return {
        "do_lower_case": lower,
        "strip_accents": lower if accents is None else accents,
        "tokenize_chinese_chars": chinese is None or chinese,
    }


def _tell_of_flags(entries: Iterable[JsonObject], source: str) -> None:
    """Warn of added tokens that take white space with them or stand alone only; here all are found as spelled."""
    flagged = [
        f"{entry.values['content']!r} ({flag})"
        for entry in entries
        for flag in ("lstrip", "rstrip", "single_word")
        if entry.get(flag, bool)
    ]
    if flagged:
        shown = ", ".join(flagged[:3]) + (", ..." if len(flagged) > 3 else "")
        log.warning("%s: flags of %d added tokens are not followed: %s", source, len(flagged), shown)


def _added_in(settings: JsonObject) -> list[AddedToken]:
    """added_tokens_decoder of tokenizer_config.json: entries by id."""
    decoder = settings.child("added_tokens_decoder") or JsonObject({}, settings.source)
    added = []
    for key in decoder.values:
        if not (key.isascii() and key.isdigit() and len(key) < 10):
            raise FormatError(f"{settings.source}: added_tokens_decoder: found key {key[:40]!r}, expected an id")
        entry = JsonObject(proven(decoder.values[key], dict, f"{decoder.source}: {key}"), f"{decoder.source}: {key}")
        added.append(read_added(entry, int(key)))
    return added
