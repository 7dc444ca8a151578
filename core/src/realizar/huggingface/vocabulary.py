"""Vocabularies of a directory in files older than tokenizer.json: vocab.json with merges.txt, or vocab.txt.

Source: transformers `tokenization_gpt2.py`, `tokenization_bert.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from realizar.errors import FormatError, TokenizerError
from realizar.huggingface.json_file import read_json, read_text
from realizar.huggingface.json_object import JsonObject, proven
from realizar.huggingface.pieces import Pieces, join_pieces, read_added, read_merges
from realizar.huggingface.post_processor import Frame
from realizar.huggingface.special_ids import token_text
from realizar.pipeline.added_tokens import AddedToken

MAX_NBYTES = 1 << 26

PRE_BY_CLASS = {"GPT2Tokenizer": "gpt-2", "Qwen2Tokenizer": "qwen2"}
"""What a vocab.json without tokenizer.json is cut by: the class that reads it has it in its code."""


@attrs.frozen
class Vocabulary:
    """What a vocabulary's own files say.

    options: further fields of TokenizerSpec. roles: ids of special tokens ("bos") that no other file need name.
    """

    model: str
    source: str
    pieces: Pieces
    frame: Frame
    options: dict[str, Any]
    roles: Mapping[str, int | None] = attrs.field(factory=dict)


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
    pieces = join_pieces(read_json(path, MAX_NBYTES), added_in(settings), size, str(path))
    return Vocabulary("bpe", str(path), pieces, Frame(), {"pre": pre, "merges": read_merges(merges, str(path))})


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
    sides = [pieces.ids.get(special[role] or "") for role in ("cls", "sep")]
    frame = Frame(*(() if token_id is None else (token_id,) for token_id in sides))
    options = _lower_case(settings, "do_lower_case", "tokenize_chinese_chars")
    return Vocabulary("wordpiece", str(path), pieces, frame, options)


def _lower_case(entry: JsonObject, lower_key: str, chinese_key: str) -> dict[str, Any]:
    """Accents go with capitals unless the file says otherwise."""
    lower, accents, chinese = (entry.get(key, bool) for key in (lower_key, "strip_accents", chinese_key))
    lower = lower is None or lower
    return {
        "do_lower_case": lower,
        "strip_accents": lower if accents is None else accents,
        "tokenize_chinese_chars": chinese is None or chinese,
    }


def added_in(settings: JsonObject) -> list[AddedToken]:
    """added_tokens_decoder of tokenizer_config.json: entries by id."""
    decoder = settings.child("added_tokens_decoder") or JsonObject({}, settings.source)
    added = []
    for key in decoder.values:
        if not (key.isascii() and key.isdigit() and len(key) < 10):
            raise FormatError(f"{settings.source}: added_tokens_decoder: found key {key[:40]!r}, expected an id")
        entry = JsonObject(proven(decoder.values[key], dict, f"{decoder.source}: {key}"), f"{decoder.source}: {key}")
        added.append(read_added(entry, int(key)))
    return added
