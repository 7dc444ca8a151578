"""Structured output as OpenAI's interface asks for it, and vLLM's."""

from __future__ import annotations

from typing import Any

import attrs

from realizar_aiohttp.constraint import ANY_OBJECT, Constraint, Kind, only_one
from realizar_aiohttp.fields import field
from realizar_aiohttp.problem import wrong_value
from realizar_aiohttp.structure import show
from realizar_aiohttp.wires.openai_sampling import OpenAISampling

_KINDS: tuple[Kind, ...] = ("json", "regex", "choice", "grammar")


@attrs.frozen(kw_only=True)
class StructuredOutputs:
    """What an answer must be; one of them. vLLM's object."""

    json: Any = field(None, "a JSON schema")
    regex: str | None = field(None, "Rust's syntax, without look-around")
    choice: list[str] | None = field(None, "one of these texts", max_items=4096)
    grammar: str | None = field(None, "Lark or GBNF")
    json_object: bool | None = field(None, "any JSON object")


@attrs.frozen(kw_only=True)
class OpenAIConstraints(OpenAISampling):
    """Fields of chat and plain completions, and those that say what an answer must be: one of them at most."""

    response_format: dict[str, Any] | None = field(None, '{"type": "text" | "json_object" | "json_schema"}')
    structured_outputs: StructuredOutputs | None = field(None)
    guided_json: Any = field(None, "a JSON schema; vLLM's older name")
    guided_regex: str | None = field(None)
    guided_choice: list[str] | None = field(None, max_items=4096)
    guided_grammar: str | None = field(None)

    @property
    def constraint(self) -> Constraint | None:
        """What the answer must be; raises Problem for two of them."""
        found = _response_format(self.response_format)
        given = self.structured_outputs or StructuredOutputs()
        for kind in _KINDS:
            values = {
                f"structured_outputs.{kind}": getattr(given, kind),
                f"guided_{kind}": getattr(self, f"guided_{kind}"),
            }
            found += [Constraint(path, kind, value) for path, value in values.items() if value is not None]
        if given.json_object:
            found.append(Constraint("structured_outputs.json_object", "json", ANY_OBJECT))
        return only_one(found)


def _response_format(given: dict[str, Any] | None) -> list[Constraint]:
    kind = (given or {}).get("type", "text")
    if kind == "text":
        return []
    if kind == "json_object":
        return [Constraint("response_format", "json", ANY_OBJECT)]
    if kind != "json_schema":
        raise wrong_value("response_format.type", show(kind), '"text", "json_object" or "json_schema"')
    named = (given or {}).get("json_schema")
    if not isinstance(named, dict) or not isinstance(named.get("schema"), (dict, bool)):
        raise wrong_value("response_format.json_schema", show(named), 'an object with a "schema"')
    return [Constraint("response_format.json_schema.schema", "json", named["schema"])]
