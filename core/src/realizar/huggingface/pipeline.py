"""The steps of a tokenizer.json, structured from its JSON: each by the fields of its class, nothing passed over."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, TypeVar, get_args, get_origin

import attrs

from realizar.errors import FormatError, TokenizerError
from realizar.huggingface.json_object import JsonObject, proven
from realizar.pipeline.decoders import DECODERS, Decoder
from realizar.pipeline.normalizers import NORMALIZERS, Normalizer
from realizar.pipeline.pattern import Pattern
from realizar.pipeline.pre_tokenizers import PRE_TOKENIZERS, PreTokenizer

T = TypeVar("T")

MAX_STEPS = 64
MAX_NESTING = 8
"""Sequences inside each other."""


def read_normalizers(file: JsonObject) -> tuple[Normalizer, ...]:
    """The steps under `normalizer`; raises FormatError, and TokenizerError naming what is not known."""
    return _steps(file, "normalizer", "normalizers", NORMALIZERS)


def read_pre_tokenizers(file: JsonObject) -> tuple[PreTokenizer, ...]:
    """The steps under `pre_tokenizer`; raises as `read_normalizers` does."""
    return _steps(file, "pre_tokenizer", "pretokenizers", PRE_TOKENIZERS)


def read_decoders(file: JsonObject) -> tuple[Decoder, ...] | None:
    """The steps under `decoder`, None for no decoder; raises as `read_normalizers` does."""
    return None if file.child("decoder") is None else _steps(file, "decoder", "decoders", DECODERS)


def prove_keys(entry: JsonObject, known: Any) -> None:
    """Raise TokenizerError if an object has keys that nobody here understands."""
    unknown = sorted(set(entry.values) - set(known))
    if unknown:
        raise TokenizerError(
            f"{entry.source}: found {', '.join(map(repr, unknown[:5]))}, which is not understood; "
            f"known are {', '.join(sorted(known))}"
        )


def _steps(file: JsonObject, key: str, inner: str, classes: Mapping[str, type[T]]) -> tuple[T, ...]:
    entry = file.child(key)
    entries = [] if entry is None else _flat(entry, inner, MAX_NESTING)
    if len(entries) > MAX_STEPS:
        raise TokenizerError(f"{file.source}: {key}: found {len(entries)} steps, at most {MAX_STEPS} are supported")
    return tuple(_structured(entry, classes) for entry in entries)


def _flat(entry: JsonObject, inner: str, levels: int) -> list[JsonObject]:
    """The steps of a Sequence, and of those in it."""
    if entry.get("type", str) != "Sequence":
        return [entry]
    prove_keys(entry, ("type", inner))
    if not levels:
        raise TokenizerError(f"{entry.source}: is a Sequence more than {MAX_NESTING} levels deep")
    entry.required(inner, list)
    return [step for part in entry.children(inner) for step in _flat(part, inner, levels - 1)]


def _structured(entry: JsonObject, classes: Mapping[str, type[T]]) -> T:
    kind = entry.get("type", str)
    if kind is None or kind not in classes:
        raise TokenizerError(
            f"{entry.source}: unknown type {str(kind)[:40]!r}; known are {', '.join(classes)}, Sequence"
        )
    cls: Any = classes[kind]
    fields = _fields(cls)
    prove_keys(entry, ("type", *(name for name in fields if name != "source")))
    values = {name: _value(entry, field) for name, field in fields.items() if _is_given(entry, field)}
    try:
        return cls(**values)  # type: ignore[no-any-return]
    except (ValueError, TypeError) as error:  # of the validators
        raise TokenizerError(f"{entry.source}: is no {kind} that is understood: {str(error)[:200]}") from None


@lru_cache
def _fields(cls: Any) -> dict[str, attrs.Attribute[Any]]:
    """By name, with their types worked out."""
    return attrs.fields_dict(attrs.resolve_types(cls))


def _is_given(entry: JsonObject, field: attrs.Attribute[Any]) -> bool:
    """A field that has a default may be left out, or null."""
    return field.default is attrs.NOTHING or entry.values.get(field.name) is not None


def _value(entry: JsonObject, field: attrs.Attribute[Any]) -> Any:
    kind, where = field.type, f"{entry.source}: {field.name}"
    if field.name == "source":
        return entry.source
    if kind is Pattern:
        return _pattern(entry, field.name)
    if kind is bytes:
        return _binary(entry.required(field.name, str), where)
    if get_origin(kind) is Literal:
        word = entry.required(field.name, str)
        if word not in get_args(kind):
            raise TokenizerError(f"{where}: found {word[:40]!r}, expected one of {', '.join(get_args(kind))}")
        return word
    plain: Any = next((option for option in get_args(kind) if option is not type(None)), kind)
    value = entry.required(field.name, plain)
    if isinstance(value, str):
        prove_unicode(value, where)
    return value


def _pattern(entry: JsonObject, name: str) -> Pattern:
    """{"String": text} or {"Regex": expression}."""
    pattern = JsonObject(entry.required(name, dict), f"{entry.source}: {name}")
    if len(pattern.values) != 1 or not pattern.values.keys() <= {"String", "Regex"}:
        raise TokenizerError(f"{pattern.source}: found {', '.join(pattern.values)[:80]!r}, expected String or Regex")
    ((kind, text),) = pattern.values.items()
    where = f"{pattern.source}: {kind}"
    return Pattern(prove_unicode(proven(text, str, where), where), kind == "Regex", where)


def prove_unicode(text: str, where: str) -> str:
    """`text`; raises FormatError if it holds half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise FormatError(f"{where}: found half a surrogate pair, expected Unicode text") from None
    return text


def _binary(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise FormatError(f"{where}: is no base64: {error}") from None
