"""The functions that an answer may call, or must."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import attrs

from realizar.errors import RequestError
from realizar.structured import Structure
from realizar.structured.matcher import prove
from realizar.tokenizers import Tokenizer
from realizar.tool_calls import ReasoningSplitter, call_structure
from realizar.tool_calls.format import ToolFormat
from realizar_aiohttp.constraint import refusals_at
from realizar_aiohttp.problem import Problem, wrong_value
from realizar_aiohttp.structure import show

MAX_TOOLS = 128
"""Functions of one request."""


@attrs.frozen(kw_only=True)
class Tools:
    """offered: functions in OpenAI's form. required: the answer must call; name: and that one.

    parallel: it may call several. schema_at: where in a tool of the wire's the schema of its arguments stands.
    """

    offered: Sequence[dict[str, Any]]
    required: bool = False
    name: str | None = None
    parallel: bool = True
    schema_at: str = "function.parameters"

    def __attrs_post_init__(self) -> None:
        names = [tool["function"]["name"] for tool in self.offered]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise wrong_value(f"tools[{i}]", f"the name {show(name)} a second time", "a name for each function")
        if self.name is not None and self.name not in names:
            raise wrong_value("tool_choice", show(self.name), f"one of {', '.join(names)[:300]}")

    def structure(self, form: ToolFormat, tokenizer: Tokenizer, thinks: ReasoningSplitter) -> Structure:
        """Answers that call, compiled for a vocabulary; blocks. Raises Problem with the path of what cannot be kept."""
        try:
            made = call_structure(form, self.offered, tokenizer, self.name, parallel=self.parallel, thinks=thinks)
        except RequestError as error:
            raise self._refused(str(error)) from error
        with refusals_at("tools"):
            prove(made, tokenizer)
        return made

    def _refused(self, text: str) -> Problem:
        """The path as the wire has it, for core's is that of OpenAI's form."""
        found = re.match(r"tools/(\d+)/function/parameters: (?:json_schema: )?", text)
        path = f"tools[{found[1]}].{self.schema_at}" if found else "tools"
        rest = text[found.end() :] if found else text
        return Problem(status=400, code="invalid_value", param=path, message=f"{path}: {rest}")


def function_tool(path: str, name: Any, description: Any, parameters: Any) -> dict[str, Any]:
    """A tool in OpenAI's form; raises Problem with the path of what does not fit."""
    if not isinstance(name, str) or not 1 <= len(name) <= 256:
        raise wrong_value(f"{path}.name", show(name), "a text of 1 to 256 characters")
    if description is not None and not isinstance(description, str):
        raise wrong_value(f"{path}.description", show(description), "a text")
    if parameters is not None and not isinstance(parameters, dict):
        raise wrong_value(f"{path}.parameters", show(parameters), "the JSON schema of an object")
    function = {"name": name, "description": description or "", "parameters": parameters or {"type": "object"}}
    return {"type": "function", "function": function}


def openai_tools(tools: list[dict[str, Any]] | None, choice: Any = None, parallel: bool | None = None) -> Tools | None:
    """Tools as OpenAI's interface and Ollama's name them; None if there are none, or none may be called."""
    required, name = _openai_choice(choice)
    offered = [_openai_tool(i, tool) for i, tool in enumerate(tools or ())]
    if required and not offered:
        raise wrong_value("tool_choice", show(choice), "tools beside it, for one must be called")
    if not offered or choice == "none":
        return None
    return Tools(offered=offered, required=required, name=name, parallel=parallel is not False)


def _openai_tool(index: int, tool: dict[str, Any]) -> dict[str, Any]:
    path = f"tools[{index}]"
    if tool.get("type", "function") != "function":
        raise wrong_value(f"{path}.type", show(tool["type"]), '"function"')
    function = tool.get("function")
    if not isinstance(function, dict):
        raise wrong_value(f"{path}.function", show(function), "an object with a name and parameters")
    at = f"{path}.function"
    return function_tool(at, function.get("name"), function.get("description"), function.get("parameters"))


def _openai_choice(choice: Any) -> tuple[bool, str | None]:
    """Whether there must be a call, and of which function."""
    if choice in (None, "none", "auto", "required"):
        return choice == "required", None
    if isinstance(choice, dict) and choice.get("type") == "function" and isinstance(choice.get("function"), dict):
        name = choice["function"].get("name")
        if isinstance(name, str):
            return True, name
    expected = '"none", "auto", "required" or {"type": "function", "function": {"name": ...}}'
    raise wrong_value("tool_choice", show(choice), expected)
