"""A TokenizerSpec as the files of a Hugging Face directory: the inverse of `vocabulary` and `pre_tokenizers`."""

from __future__ import annotations

from typing import Any

from realizar.errors import FormatError
from realizar.huggingface.pre_tokenizers import DIGITS, GPT2, KNOWN
from realizar.model import CONTROL, NORMAL, UNUSED, USER_DEFINED, TokenizerSpec

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}


def tokenizer_json(spec: TokenizerSpec) -> dict[str, Any]:
    """tokenizer.json of a byte-level BPE or WordPiece vocabulary; raises FormatError for any other."""
    if spec.pipeline is not None:
        raise FormatError(f"{spec.source}: the steps of its tokenizer.json are read but cannot be written yet")
    types = spec.token_types or [NORMAL] * len(spec.tokens)
    fillers = {i for i, token in enumerate(spec.tokens) if types[i] == UNUSED and token == f"[PAD{i}]"}
    vocabulary = {token: i for i, token in enumerate(spec.tokens) if i not in fillers}
    if len(vocabulary) + len(fillers) != len(spec.tokens):
        raise FormatError(f"{spec.source}: found tokens of the same spelling, which tokenizer.json cannot hold")
    added = [
        {
            "id": i, "content": spec.tokens[i], "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": kind == CONTROL,
        }
        for i, kind in enumerate(types)
        if kind in (CONTROL, USER_DEFINED)
    ]  # fmt: skip
    parts = _byte_level(spec, vocabulary) if spec.model == "bpe" else _word_piece(spec, vocabulary)
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        **parts, "post_processor": _post_processor(spec),
    }  # fmt: skip


def _byte_level(spec: TokenizerSpec, vocabulary: dict[str, int]) -> dict[str, Any]:
    known = {name: cuts for cuts, name in KNOWN.items()}
    if spec.pre not in known:
        raise FormatError(
            f"{spec.source}: how pre-tokenizer {spec.pre!r} cuts words cannot be written as tokenizer.json; known are "
            f"{', '.join(known)}"
        )
    cuts, ignore_merges = known[spec.pre]
    steps = [_step(cut) for cut in cuts if cut != GPT2]
    last = {**_BYTE_LEVEL, "use_regex": GPT2 in cuts}
    return {
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*steps, last]} if steps else last,
        "decoder": {**_BYTE_LEVEL, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": ignore_merges,
            "vocab": vocabulary, "merges": list(spec.merges or ()),
        },
    }  # fmt: skip


def _step(cut: str) -> dict[str, Any]:
    if cut == DIGITS:
        return {"type": "Digits", "individual_digits": True}
    return {"type": "Split", "pattern": {"Regex": cut}, "behavior": "Isolated", "invert": False}


def _word_piece(spec: TokenizerSpec, vocabulary: dict[str, int]) -> dict[str, Any]:
    return {
        "normalizer": {
            "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": spec.tokenize_chinese_chars,
            "strip_accents": spec.strip_accents, "lowercase": spec.do_lower_case,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece", "unk_token": _token(spec, spec.unk_token_id), "continuing_subword_prefix": "##",
            "max_input_chars_per_word": spec.max_input_chars_per_word, "vocab": vocabulary,
        },
    }  # fmt: skip


def _post_processor(spec: TokenizerSpec) -> dict[str, Any] | None:
    """A template with BOS and EOS where they are put around a text."""
    before = spec.bos_token_id if spec.add_bos_token else None
    after = spec.eos_token_ids[0] if spec.add_eos_token and spec.eos_token_ids else None
    if before is None and after is None:
        return _BYTE_LEVEL if spec.model == "bpe" else None
    around = {
        i: {"id": spec.tokens[i], "ids": [i], "tokens": [spec.tokens[i]]} for i in (before, after) if i is not None
    }

    def special(token_id: int | None) -> list[dict[str, Any]]:
        return [] if token_id is None else [{"SpecialToken": {"id": spec.tokens[token_id], "type_id": 0}}]

    def text(name: str, type_id: int) -> list[dict[str, Any]]:
        return [*special(before), {"Sequence": {"id": name, "type_id": type_id}}, *special(after)]

    return {
        "type": "TemplateProcessing", "single": text("A", 0), "pair": text("A", 0) + text("B", 1),
        "special_tokens": {
            spec.tokens[i]: {"id": spec.tokens[i], "ids": [i], "tokens": [spec.tokens[i]]} for i in around
        },
    }  # fmt: skip


def tokenizer_settings(spec: TokenizerSpec) -> dict[str, Any]:
    """tokenizer_config.json: the special tokens by their text."""
    roles = {
        "bos_token": spec.bos_token_id, "eos_token": next(iter(spec.eos_token_ids), None),
        "unk_token": spec.unk_token_id, "pad_token": spec.pad_token_id,
    }  # fmt: skip
    named = {role: token for role, i in roles.items() if (token := _token(spec, i)) is not None}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False,
        "add_bos_token": spec.add_bos_token, "add_eos_token": spec.add_eos_token, **named,
    }  # fmt: skip


def generation_settings(spec: TokenizerSpec) -> dict[str, Any]:
    """generation_config.json: every id that ends a text."""
    ends = list(spec.eos_token_ids)
    values = {
        "bos_token_id": spec.bos_token_id, "eos_token_id": ends[0] if len(ends) == 1 else ends or None,
        "pad_token_id": spec.pad_token_id,
    }  # fmt: skip
    return {key: value for key, value in values.items() if value is not None}


def _token(spec: TokenizerSpec, token_id: int | None) -> str | None:
    return None if token_id is None else spec.tokens[token_id]
