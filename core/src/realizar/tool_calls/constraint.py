"""Answers that must be calls of the tools that were offered."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from realizar.errors import RequestError
from realizar.model import CONTROL
from realizar.structured.structure import OPTIONS, JsonSchema, Structure, literal
from realizar.tokenizers import Tokenizer
from realizar.tool_calls.format import Mark, ToolFormat
from realizar.tool_calls.reasoning import ReasoningSplitter

MAX_TOOLS = 128


@attrs.frozen
class ToolCalls(Structure):
    """Answers in a model's own format of calls; made by `call_structure`."""

    text: str

    def lark(self) -> str:
        """See Structure."""
        return self.text


def call_structure(
    form: ToolFormat, tools: Sequence[Mapping[str, Any]], tokenizer: Tokenizer, name: str | None = None, *,
    parallel: bool = True, thinks: ReasoningSplitter | None = None,
) -> ToolCalls:  # fmt: skip
    """The answers that call at least one of `tools` with arguments of its schema and say nothing else.

    tools: as in OpenAI's interface. name: only that one. parallel: up to MAX_CALLS may follow each other.
    thinks: the splitter of an answer that may reason first.
    Arguments that a schema does not describe are left out. Raises RequestError naming the tool and the path of a
    keyword that cannot be kept.
    """
    mark = _marks(tokenizer)
    offered = dict(_function(i, tool) for i, tool in enumerate(_bounded(tools)))
    if name is not None and name not in offered:
        raise RequestError(f"tool_choice: found {name!r}, expected one of {', '.join(offered)}")
    wanted = {name: offered[name]} if name is not None else offered
    rules = [f"call_{i}: {form.call(tool, schema.rule(), mark)}" for i, (tool, schema) in enumerate(wanted.items())]
    rules.append(f"call: {' | '.join(f'call_{i}' for i in range(len(wanted)))}")
    rules.append(f"calls: {form.calls('call', parallel, mark)}")
    return ToolCalls("\n".join([f"{OPTIONS}start: {_reasoning(thinks, mark, rules)}calls", *rules]))


def _bounded(tools: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    if not 1 <= len(tools) <= MAX_TOOLS:
        raise RequestError(f"tools: found {len(tools)}, expected 1 to {MAX_TOOLS} where a call is required")
    return tools


def _function(index: int, tool: Mapping[str, Any]) -> tuple[str, JsonSchema]:
    """The name and the parameters of a tool, which may stand under "function" or alone."""
    function = tool.get("function", tool)
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str) or not name:
        raise RequestError(f"tools/{index}: found {reprlib.repr(tool)}, expected a function with a name")
    try:
        return name, JsonSchema(_arguments(function.get("parameters")))
    except RequestError as error:
        raise RequestError(f"tools/{index}/function/parameters: {error}") from error


def _arguments(parameters: Any) -> Any:
    """The schema of the arguments: always an object, of nothing that is not described."""
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, Mapping) or parameters.get("type", "object") != "object":
        raise RequestError(f"found {reprlib.repr(parameters)}, expected the schema of an object")
    describes = {"$ref", "anyOf", "oneOf", "allOf", "patternProperties"} & parameters.keys()
    closed: dict[str, Any] = {} if describes else {"properties": {}, "additionalProperties": False}
    return closed | {"type": "object"} | dict(parameters)


def _marks(tokenizer: Tokenizer) -> Mark:
    types = tokenizer.spec.token_types or ()
    control = {
        token: i for i, (token, kind) in enumerate(zip(tokenizer.spec.tokens, types, strict=False)) if kind == CONTROL
    }

    def mark(text: str) -> str:
        return f"<[{control[text]}]>" if text in control else literal(text)

    return mark


def _reasoning(thinks: ReasoningSplitter | None, mark: Mark, rules: list[str]) -> str:
    """The expression of what may come before the calls; its rules join `rules`."""
    if thinks is None or thinks.marks is None:
        return ""
    begin, end = mark(thinks.marks.begin), mark(thinks.marks.end)
    if end.startswith("<["):
        rules.append(f"thought: /(.|\\n)*/ {end}")
    else:
        rules.append(f"thought[suffix={end}]: /(.|\\n)*/")
    return 'thought "\\n"~0..2 ' if thinks.marks.inside else f'({begin} thought "\\n"~0..2)? '
