"""What an output must be, as a request says it, within the caps on hostile input."""

from __future__ import annotations

import json
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from realizar.errors import RequestError
from realizar.structured.json_schema import prove_schema, walk

MAX_REGEX_CHARS = 4096
MAX_CHOICES = 4096
MAX_CHOICE_CHARS = 65536
MAX_GRAMMAR_CHARS = 65536
MAX_SCHEMA_CHARS = 1 << 18
"""Caps on one structure; what remains possible below them is bounded by the fuel that llguidance gets."""

WHITESPACE = r" |\n {0,32}"
"""What may stand between the tokens of a JSON text: bounded, so that no output is endless for want of a brace."""

OPTIONS = '%llguidance {"no_forcing": true}\n'
"""Masks come from the bytes of tokens alone; the tokenizer's own way to cut a text is left to the model."""

_YEAR = "^(000[1-9]|00[1-9]|0[1-9]|[1-9])"
_NARROWED = {"date": (_YEAR,), "date-time": (_YEAR, "^.{17}[0-5]"), "time": ("^.{6}[0-5]",)}
"""No year 0000 and no 60th second: RFC 3339 has both, the latter at few moments; calendars of programs have neither."""

_RESERVED = ("%json", "%llguidance", "%regex")
"""Directives by which a grammar would reach around the proofs of this module."""


class Structure(ABC):
    """A set of texts, one of which the output will be."""

    @abstractmethod
    def lark(self) -> str:
        """The set as a grammar in llguidance's dialect of Lark."""


def _text(name: str, value: object, limit: int) -> str:
    if not isinstance(value, str):
        raise RequestError(f"{name}: found {reprlib.repr(value)}, expected text")
    if len(value) > limit:
        raise RequestError(f"{name}: found {len(value)} characters, expected at most {limit}")
    _prove_unicode(name, value)
    return value


def _prove_unicode(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(f"{name}: a lone surrogate at character {error.start} is no Unicode text") from error


def _schema_text(schema: Any) -> str:
    """The schema as JSON text, proved."""
    if isinstance(schema, str):
        schema = _parsed(_text("json_schema", schema, MAX_SCHEMA_CHARS))
    plain = dict(schema) if isinstance(schema, Mapping) else schema
    prove_schema(plain)
    try:
        text = json.dumps(plain, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(f"json_schema: not JSON: {error}") from error
    return _text("json_schema", text, MAX_SCHEMA_CHARS)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"json_schema: not JSON: {error}") from error


@attrs.frozen
class JsonSchema(Structure):
    """JSON texts that validate against a schema (draft 2020-12, less what `json_schema.KEYWORDS` lacks).

    schema: a mapping, True, or JSON text; kept as JSON text.
    Properties come in the schema's order, then those of `required`, then others. Whitespace is bounded.
    Raises RequestError naming the path of a keyword that could not be kept.
    """

    schema: str = attrs.field(converter=_schema_text)

    def lark(self) -> str:
        """See Structure."""
        return f"{OPTIONS}start: {self.rule()}"

    def rule(self) -> str:
        """The schema as an expression inside a Lark grammar."""
        schema = json.loads(self.schema)
        if isinstance(schema, bool):
            schema = {} if schema else {"enum": []}
        for _, node in walk(schema):
            if isinstance(node, dict) and (patterns := _NARROWED.get(str(node.get("format")))):
                node["allOf"] = [*node.get("allOf", ()), *({"pattern": pattern} for pattern in patterns)]
        return f"%json {json.dumps({'x-guidance': {'whitespace_pattern': WHITESPACE}} | schema)}"


def _pattern(value: Any) -> str:
    return _text("regex", value, MAX_REGEX_CHARS)


@attrs.frozen
class Regex(Structure):
    """Texts that a regular expression matches from start to end; the syntax is that of Rust's `regex`."""

    pattern: str = attrs.field(converter=_pattern)

    def lark(self) -> str:
        """See Structure."""
        return f"{OPTIONS}start: {_regex_literal(self.pattern)}"


def _regex_literal(pattern: str) -> str:
    """A pattern between slashes; one that is escaped already stays as it is."""
    escaped, after_backslash = [], False
    for char in pattern:
        if char == "/" and not after_backslash:
            escaped.append("\\")
        escaped.append("n" if char == "\n" and after_backslash else "\\n" if char == "\n" else char)
        after_backslash = char == "\\" and not after_backslash
    return f"/{''.join(escaped)}/" if pattern else '""'


def _choices(values: Any) -> tuple[str, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise RequestError(f"choice: found {reprlib.repr(values)}, expected a list of texts")
    choices = tuple(values)
    if not 1 <= len(choices) <= MAX_CHOICES:
        raise RequestError(f"choice: found {len(choices)} texts, expected 1 to {MAX_CHOICES}")
    if not all(isinstance(choice, str) and choice for choice in choices):
        raise RequestError(f"choice: found {reprlib.repr(choices)}, expected texts that are not empty")
    _text("choice", "".join(choices), MAX_CHOICE_CHARS)
    return choices


@attrs.frozen
class Choice(Structure):
    """One of some texts."""

    choices: tuple[str, ...] = attrs.field(converter=_choices)

    def lark(self) -> str:
        """See Structure."""
        return f"{OPTIONS}start: {' | '.join(literal(choice) for choice in self.choices)}"


def literal(text: str) -> str:
    """A text as a Lark string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _grammar(value: Any) -> str:
    return _text("grammar", value, MAX_GRAMMAR_CHARS)


@attrs.frozen
class Grammar(Structure):
    """Texts of a context-free grammar, in Lark (from the rule `start`) or in llama.cpp's GBNF (from `root`).

    Raises RequestError for a Lark directive that would go around the proofs of this module (`%json`: use JsonSchema).
    """

    text: str = attrs.field(converter=_grammar)

    def __attrs_post_init__(self) -> None:
        for word in _RESERVED:
            if word in self.text and not self.is_gbnf:
                raise RequestError(f"grammar: found {word}, expected rules alone; a JSON schema is asked for as such")

    @property
    def is_gbnf(self) -> bool:
        """Whether rules are written with `::=`."""
        return "::=" in self.text

    def lark(self) -> str:
        """See Structure."""
        if not self.is_gbnf:
            return OPTIONS + self.text
        from llguidance.gbnf_to_lark import any_to_lark

        try:
            return OPTIONS + any_to_lark(self.text)
        except Exception as error:  # a parser of somebody else's, on hostile text
            raise RequestError(f"grammar: not valid GBNF: {str(error)[:500]}") from error
