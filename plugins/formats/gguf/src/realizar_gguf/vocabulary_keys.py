"""A tokenizer as GGUF keys: the inverse of `vocabulary`."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import attrs

from realizar.errors import FormatError
from realizar.model import NORMAL, TokenizerSpec
from realizar_gguf.encoding import Typed
from realizar_gguf.metadata import ValueType
from realizar_gguf.vocabulary import MODELS
from realizar_gguf.wordpiece import gguf_spelling, wordpiece_keys

log = logging.getLogger(__name__)

_ENDS = ("eos", "eot", "eom")


def tokenizer_keys(spec: TokenizerSpec) -> dict[str, object]:
    """All tokenizer.* keys; raises FormatError for a vocabulary that GGUF keeps otherwise."""
    if spec.model not in MODELS.values():
        known = ", ".join(dict.fromkeys(MODELS.values()))
        raise FormatError(f"{spec.source}: {spec.model} vocabularies cannot be written as GGUF, only {known}")
    if spec.pipeline is not None:
        raise FormatError(f"{spec.source}: GGUF has no keys for the steps of its tokenizer.json")
    if len(spec.eos_token_ids) > len(_ENDS):
        log.warning("%s: GGUF keeps the first 3 of %d tokens that end a text", spec.source, len(spec.eos_token_ids))
    name = next(own for own, known in MODELS.items() if known == spec.model)
    ends = ("seperator", *_ENDS[1:]) if spec.model == "wordpiece" else _ENDS
    types = spec.token_types or [NORMAL] * len(spec.tokens)
    keys: dict[str, object] = {
        "model": name, "pre": spec.pre, "tokens": spec.tokens,
        "scores": None if spec.scores is None else Typed(ValueType.FLOAT32, spec.scores),
        "token_type": Typed(ValueType.INT32, types),
        "merges": Typed(ValueType.STRING, spec.merges) if spec.merges is not None else None,
        "bos_token_id": spec.bos_token_id,
        "unknown_token_id": spec.unk_token_id, "padding_token_id": spec.pad_token_id,
        **{f"{role}_token_id": token_id for role, token_id in zip(ends, spec.eos_token_ids, strict=False)},
        "add_bos_token": spec.add_bos_token, "add_eos_token": spec.add_eos_token,
    }  # fmt: skip
    if spec.model == "wordpiece":
        keys |= wordpiece_keys(spec)
    elif spec.model != "bpe":
        charsmap = spec.precompiled_charsmap
        keys |= {
            "add_space_prefix": spec.add_space_prefix, "remove_extra_whitespaces": spec.remove_extra_whitespaces,
            "precompiled_charsmap": None if charsmap is None else Typed(ValueType.UINT8, list(charsmap)),
        }  # fmt: skip
    found = {f"tokenizer.ggml.{key}": value for key, value in keys.items() if value is not None}
    return found | template_keys(spec)


def template_keys(spec: TokenizerSpec) -> dict[str, object]:
    """The chat templates; names of the further ones are listed, as llama.cpp looks for them."""
    keys: dict[str, object] = {}
    if spec.named_chat_templates:
        keys["tokenizer.chat_templates"] = sorted(spec.named_chat_templates)
    keys |= {f"tokenizer.chat_template.{name}": text for name, text in spec.named_chat_templates.items()}
    return keys if spec.chat_template is None else {**keys, "tokenizer.chat_template": spec.chat_template}


def losses(spec: TokenizerSpec, written: TokenizerSpec | None) -> str:
    """Which fields of `spec` GGUF keeps otherwise, by comparing with what is read back; empty for none."""
    if written is None:
        return "nothing"
    names = [field.name for field in attrs.fields(TokenizerSpec) if field.name not in ("source", "token_types")]
    if spec.model == written.model == "wordpiece":  # of the same pieces there are two spellings
        spec, written = (attrs.evolve(each, tokens=gguf_spelling(each)) for each in (spec, written))
    unlike = [name for name in names if not _same(getattr(spec, name), getattr(written, name))]
    return "; ".join(f"{name} {getattr(spec, name)!r:.60} as {getattr(written, name)!r:.60}" for name in unlike)


def _same(one: object, other: object) -> bool:
    if isinstance(one, Sequence) and isinstance(other, Sequence) and not isinstance(one, (str, bytes)):
        return len(one) == len(other) and all(a == b for a, b in zip(one, other, strict=True))
    return one == other
