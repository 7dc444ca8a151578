"""The embedded tokenizer among the metadata, both ways. Source: aprender `src/format/converter/write.rs`.

Keys that a file of another writer leaves out: the kind of vocabulary follows from its tables as far as they are clear;
special tokens are those that look like it, as realizar 0.8 decides (`src/apr/special_tokens.rs`).
"""

from __future__ import annotations

import base64
import math
import re
from typing import Any

import attrs

from realizar.errors import FormatError, TokenizerError
from realizar.ggml_names import BOS_BY_PRE
from realizar.huggingface.json_object import JsonObject, proven
from realizar.model import BYTE, CONTROL, NORMAL, TokenizerSpec
from realizar_apr.metadata import is_ours, one_spelling

TOKENIZER_KEY = "realizar.tokenizer"
"""What aprender has no key for: the other fields of TokenizerSpec that are not at their defaults."""

KEYS = {
    "pre": "tokenizer.pre_type", "tokens": "tokenizer.vocabulary", "token_types": "tokenizer.token_type",
    "merges": "tokenizer.merges", "scores": "tokenizer.scores", "bos_token_id": "tokenizer.bos_token_id",
    "pad_token_id": "tokenizer.padding_token_id", "chat_template": "chat_template",
}  # fmt: skip
"""Field of TokenizerSpec -> aprender's key, where it is the same thing."""

MODELS = {"gpt2": "bpe", "llama": "spm", "t5": "unigram", "bert": "wordpiece"}
_MODEL_NAMES = {kind: name for name, kind in MODELS.items()}
_MODELS_OF_JSON = {"unigram": "unigram", "wordpiece": "wordpiece", "bpe": "bpe", "spm": "spm"}

MAX_NUMBER = 2.0**128
"""No float32 is larger."""

_SPECIAL = re.compile(r"<\|.+\|>|</?[a-z_]{1,18}>", re.DOTALL)
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_FLAGS = (
    "add_bos_token", "add_eos_token", "add_space_prefix", "do_lower_case", "strip_accents", "tokenize_chinese_chars",
    "split_user_defined", "remove_extra_whitespaces", "treat_whitespace_as_suffix",
)  # fmt: skip
_INTEGERS = ("unk_token_id", "max_input_chars_per_word")


def read_tokenizer(metadata: JsonObject) -> TokenizerSpec | None:
    """The specification, None without a vocabulary; raises FormatError, and TokenizerError saying what is not known."""
    tokens = _texts(metadata, KEYS["tokens"])
    if tokens is None:
        return None
    shared: dict[str, Any] = {
        "tokens": tokens,
        "source": metadata.source.partition(": ")[0],
        "pre": metadata.get(KEYS["pre"], str),
        "token_types": _numbers(metadata, KEYS["token_types"], len(tokens), int),
        "merges": _texts(metadata, KEYS["merges"]),
        "scores": _numbers(metadata, KEYS["scores"], len(tokens), float),
        "bos_token_id": _token_id(metadata, KEYS["bos_token_id"], len(tokens)),
        "pad_token_id": _token_id(metadata, KEYS["pad_token_id"], len(tokens)),
        "chat_template": one_spelling(
            metadata.values, (KEYS["chat_template"], "tokenizer.chat_template"), metadata.source
        ),
    }  # fmt: skip
    if shared["chat_template"] is not None:
        proven(shared["chat_template"], str, f"{metadata.source}: {KEYS['chat_template']}")
    rest = metadata.child(TOKENIZER_KEY) if is_ours(metadata) else None
    return TokenizerSpec(**shared | (_read_ours(rest, tokens) if rest else _filled_in(metadata, shared)))


def _filled_in(metadata: JsonObject, shared: dict[str, Any]) -> dict[str, Any]:
    """The other fields of a file that another program wrote."""
    tokens, bos = shared["tokens"], shared["bos_token_id"]
    model = _model(metadata, shared)
    eos = _token_id(metadata, "tokenizer.eos_token_id", len(tokens))
    types = shared["token_types"] or _types_by_spelling(tokens, {bos, eos}, has_bytes=model in ("spm", "unigram"))
    stated = metadata.get("tokenizer.add_bos_token", bool)
    return {
        "model": model,
        "token_types": types,
        "eos_token_ids": () if eos is None else (eos,),
        "add_bos_token": _adds_bos(model, shared) if stated is None else stated,
        "add_space_prefix": model == "spm",
    }


def _adds_bos(model: str, shared: dict[str, Any]) -> bool:
    """Whether a text begins with BOS if the file does not say: as for a GGUF file without the flag."""
    return shared["bos_token_id"] is not None and (model == "spm" or (model == "bpe" and shared["pre"] in BOS_BY_PRE))


def _model(metadata: JsonObject, shared: dict[str, Any]) -> str:
    """The kind of vocabulary: by GGUF's name or tokenizer.json's, else by the tables."""
    stated = (metadata.get("tokenizer.model", str), metadata.get("tokenizer.model_type", str))
    names = [name.lower() for name in stated if name is not None]
    has_bytes = any(_BYTE.fullmatch(token) for token in shared["tokens"])
    for name in names:
        if name in MODELS:
            return MODELS[name]
    for name in names:
        if name in _MODELS_OF_JSON:
            return "spm" if name == "bpe" and has_bytes else _MODELS_OF_JSON[name]
    if names:
        known = ", ".join((*MODELS, *_MODELS_OF_JSON))
        raise TokenizerError(f"{metadata.source}: tokenizer.model is {names[0]!r}; known: {known}")
    if shared["merges"] is None:
        raise TokenizerError(
            f"{metadata.source}: there is neither tokenizer.model nor tokenizer.merges, so it is not known how text "
            f"becomes tokens; convert the model again with a current program"
        )
    return "spm" if has_bytes else "bpe"


def _types_by_spelling(tokens: list[str], special: set[int | None], has_bytes: bool) -> list[int]:
    types = [CONTROL if len(token) > 2 and _is_special(token) else NORMAL for token in tokens]
    for token_id, token in enumerate(tokens):
        if has_bytes and _BYTE.fullmatch(token):
            types[token_id] = BYTE
        elif token_id in special:
            types[token_id] = CONTROL
    return types


def _is_special(token: str) -> bool:
    """`<|...|>`, or a tag of at most 20 characters in lower case."""
    return token[0] == "<" and _SPECIAL.fullmatch(token) is not None and (token[1] == "|" or len(token) <= 20)


def _read_ours(rest: JsonObject, tokens: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {name: rest.get(name, bool) for name in _FLAGS}
    found |= {name: rest.get(name, int) for name in _INTEGERS}
    found["prepend_scheme"] = rest.get("prepend_scheme", str)
    if found["prepend_scheme"] not in (None, "always", "first"):
        raise FormatError(f"{rest.source}: found prepend_scheme {found['prepend_scheme']!r}, expected always or first")
    found["eos_token_ids"] = tuple(
        _inside(proven(item, int, f"{rest.source}: eos_token_ids"), len(tokens), f"{rest.source}: eos_token_ids")
        for item in rest.get("eos_token_ids", list) or ()
    )
    if found["unk_token_id"] is not None:
        _inside(found["unk_token_id"], len(tokens), f"{rest.source}: unk_token_id")
    templates = rest.get("named_chat_templates", dict) or {}
    found["named_chat_templates"] = {
        name: proven(text, str, f"{rest.source}: named_chat_templates") for name, text in templates.items()
    }
    found["precompiled_charsmap"] = _charsmap(rest)
    return {"model": rest.required("model", str), **{k: v for k, v in found.items() if v is not None}}


def _charsmap(rest: JsonObject) -> bytes | None:
    text = rest.get("precompiled_charsmap", str)
    try:
        return None if text is None else base64.b64decode(text, validate=True)
    except ValueError as error:
        raise FormatError(f"{rest.source}: precompiled_charsmap: found {error}, expected base64") from None


def _texts(metadata: JsonObject, key: str) -> list[str] | None:
    values = metadata.get(key, list)
    if values is not None and not set(map(type, values)) <= {str}:
        raise FormatError(f"{metadata.source}: {key}: found an element that is none, expected strings")
    return values


def _numbers(metadata: JsonObject, key: str, count: int, kind: type) -> list[Any] | None:
    """A number for each token; of `kind` int only integers."""
    values = metadata.get(key, list)
    if values is None or (not values and count):
        return None
    if len(values) != count:
        raise FormatError(
            f"{metadata.source}: {key}: found {len(values)} elements, expected {count}, one for each token"
        )
    kinds = {int} if kind is int else {int, float}
    found = set(map(type, values))
    if not (found <= kinds and _are_small(values)):
        raise FormatError(
            f"{metadata.source}: {key}: found an element that is none, expected {kind.__name__}s up to 2^128"
        )
    return values if found == {kind} else list(map(kind, values))


def _are_small(values: list[Any]) -> bool:
    """Whether all are numbers up to MAX_NUMBER, and none is NaN, which shows in sums and seldom in comparisons."""
    return not values or (-MAX_NUMBER <= min(values) and max(values) <= MAX_NUMBER and not math.isnan(sum(values)))


def _token_id(metadata: JsonObject, key: str, count: int) -> int | None:
    value = metadata.get(key, int)
    return None if value is None else _inside(value, count, f"{metadata.source}: {key}")


def _inside(token_id: int, count: int, where: str) -> int:
    if not 0 <= token_id < count:
        raise FormatError(f"{where}: found {token_id}, expected an id of {count} tokens")
    return token_id


def tokenizer_keys(spec: TokenizerSpec | None) -> dict[str, Any]:
    """The metadata of a tokenizer."""
    if spec is None:
        return {"chat_template": None, "special_tokens": None}
    if spec.pipeline is not None:
        raise FormatError(f"{spec.source}: APR has no place for the steps of its tokenizer.json")
    values = {field.name: getattr(spec, field.name) for field in attrs.fields(TokenizerSpec)}
    defaults = TokenizerSpec("", (), "")
    rest = {
        name: value
        for name, value in values.items()
        if name not in (*KEYS, "model", "source") and value != getattr(defaults, name)
    }
    if spec.precompiled_charsmap is not None:
        rest["precompiled_charsmap"] = base64.b64encode(spec.precompiled_charsmap).decode("ascii")
    if spec.named_chat_templates:
        rest["named_chat_templates"] = dict(spec.named_chat_templates)
    for name in ("tokens", "token_types", "merges", "scores"):
        values[name] = None if values[name] is None else list(values[name])
    written = {key: values[name] for name, key in KEYS.items() if values[name] is not None or name == "chat_template"}
    return {
        **written,
        "tokenizer.model": _MODEL_NAMES.get(spec.model, spec.model),
        "tokenizer.vocab_size": len(spec.tokens),
        **({"tokenizer.eos_token_id": spec.eos_token_ids[0]} if spec.eos_token_ids else {}),
        "tokenizer.add_bos_token": spec.add_bos_token,
        "special_tokens": _special_tokens(spec),
        TOKENIZER_KEY: {"model": spec.model, **rest},
    }


def _special_tokens(spec: TokenizerSpec) -> dict[str, str | None]:
    ids = {
        "bos_token": spec.bos_token_id, "eos_token": next(iter(spec.eos_token_ids), None),
        "unk_token": spec.unk_token_id, "pad_token": spec.pad_token_id,
    }  # fmt: skip
    return {role: None if token_id is None else spec.tokens[token_id] for role, token_id in ids.items()}
