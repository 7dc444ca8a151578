"""Blocks of a content in Anthropic's interface, from and to what chat templates and parsers know."""

from __future__ import annotations

import json
from typing import Any, Literal

import attrs

from realizar.tool_calls import CallArguments, CallBegin, CallEnd, Content, Delta, Reasoning
from realizar_aiohttp.answer import Answer
from realizar_aiohttp.fields import field
from realizar_aiohttp.problem import not_supported, wrong_value
from realizar_aiohttp.structure import show
from realizar_aiohttp.tools import Tools, function_tool


@attrs.frozen(kw_only=True)
class Block:
    """A block of a content: a text, reasoning, a call or the result of one."""

    type: str = field(doc='"text", "thinking", "tool_use" or "tool_result"', max_chars=64)
    text: str | None = field(None)
    thinking: str | None = field(None)
    signature: str | None = field(None, "not used: nothing is signed")
    id: str | None = field(None, "of a call", max_chars=256)
    name: str | None = field(None, "of the function that is called", max_chars=256)
    input: dict[str, Any] | None = field(None, "arguments of a call", max_items=1024)
    tool_use_id: str | None = field(None, "of the call that this is the result of", max_chars=256)
    content: Any = field(None, "a result: a text, or blocks of text")
    is_error: bool | None = field(None, "the result is an error; the model sees its text")
    cache_control: dict[str, Any] | None = field(None, "not used: every prefix is treated alike", max_items=16)


@attrs.frozen(kw_only=True)
class Message:
    """One turn."""

    role: Literal["user", "assistant"] = field()
    content: str | list[Block] = field(max_items=1024)


def text_of(content: str | list[Block], path: str) -> str:
    """The text of a content that is nothing else; blocks are joined by line ends."""
    if isinstance(content, str):
        return content
    return "\n".join(_text(block, f"{path}[{i}]") for i, block in enumerate(content))


def template_messages(message: Message, path: str) -> list[dict[str, Any]]:
    """A turn as a chat template sees it: each result is a message of its own, before what the user says."""
    if isinstance(message.content, str):
        return [{"role": message.role, "content": message.content}]
    read = _assistant if message.role == "assistant" else _user
    return read(message.content, f"{path}.content")


def _user(blocks: list[Block], path: str) -> list[dict[str, Any]]:
    results = [_result(block, f"{path}[{i}]") for i, block in enumerate(blocks) if block.type == "tool_result"]
    texts = [_text(block, f"{path}[{i}]") for i, block in enumerate(blocks) if block.type != "tool_result"]
    return [*results, *([{"role": "user", "content": "\n".join(texts)}] if texts or not results else [])]


def _assistant(blocks: list[Block], path: str) -> list[dict[str, Any]]:
    texts: list[str] = []
    found: dict[str, Any] = {"role": "assistant"}
    for i, block in enumerate(blocks):
        at = f"{path}[{i}]"
        if block.type == "thinking":
            found["reasoning_content"] = found.get("reasoning_content", "") + _given(block.thinking, f"{at}.thinking")
        elif block.type == "tool_use":
            function = {"name": _given(block.name, f"{at}.name"), "arguments": block.input or {}}
            call = {"id": _given(block.id, f"{at}.id"), "type": "function", "function": function}
            found.setdefault("tool_calls", []).append(call)
        else:
            texts.append(_text(block, at))
    return [{**found, "content": "\n".join(texts)}]


def _result(block: Block, path: str) -> dict[str, Any]:
    blocks = block.content if isinstance(block.content, list) else []
    if not isinstance(block.content, (str, list, type(None))):
        raise wrong_value(f"{path}.content", show(block.content), "a text or a list of blocks")
    for i, each in enumerate(blocks):
        if not isinstance(each, dict) or each.get("type") != "text" or not isinstance(each.get("text"), str):
            raise not_supported(f"{path}.content[{i}]", "no block of text, and the models here read only text")
    text = block.content if isinstance(block.content, str) else "\n".join(each["text"] for each in blocks)
    return {"role": "tool", "tool_call_id": _given(block.tool_use_id, f"{path}.tool_use_id"), "content": text}


def _text(block: Block, path: str) -> str:
    if block.type != "text":
        raise not_supported(f"{path}.type", f"found {block.type!r}, and the models here read only text")
    return _given(block.text, f"{path}.text")


def _given(value: str | None, path: str) -> str:
    if value is None:
        raise wrong_value(path, "nothing", "a text")
    return value


def anthropic_tools(tools: list[dict[str, Any]] | None, choice: dict[str, Any] | None) -> Tools | None:
    """Tools as Anthropic's interface has them; None if there are none, or none may be called."""
    kind = (choice or {}).get("type", "auto")
    if kind not in ("auto", "any", "tool", "none"):
        raise wrong_value("tool_choice.type", show(kind), '"auto", "any", "tool" or "none"')
    name = (choice or {}).get("name") if kind == "tool" else None
    if kind == "tool" and not isinstance(name, str):
        raise wrong_value("tool_choice.name", show(name), "the name of a tool")
    offered = [_tool(tool, f"tools[{i}]") for i, tool in enumerate(tools or ())]
    if kind in ("any", "tool") and not offered:
        raise wrong_value("tool_choice", show(kind), "tools beside it, for one must be called")
    if not offered or kind == "none":
        return None
    return Tools(
        offered=offered, required=kind in ("any", "tool"), name=name, schema_at="input_schema",
        parallel=not (choice or {}).get("disable_parallel_tool_use", False),
    )  # fmt: skip


def _tool(tool: dict[str, Any], path: str) -> dict[str, Any]:
    if tool.get("type", "custom") not in ("custom", None):
        raise not_supported(f"{path}.type", f"found {show(tool['type'])}; only tools of the caller's own are served")
    if not isinstance(tool.get("input_schema"), dict):
        raise wrong_value(f"{path}.input_schema", show(tool.get("input_schema")), "the JSON schema of an object")
    return function_tool(path, tool.get("name"), tool.get("description"), tool["input_schema"])


def answer_blocks(answer: Answer) -> list[dict[str, Any]]:
    """The content of a message: reasoning, text, then calls; one empty text if there is nothing else."""
    thinking = [{"type": "thinking", "thinking": answer.reasoning, "signature": ""}] if answer.reasoning else []
    calls = [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": json.loads(call.arguments)}
        for call in answer.calls
    ]
    text = [{"type": "text", "text": answer.content}] if answer.content or not (thinking or calls) else []
    return [*thinking, *text, *calls]


class BlockEvents:
    """The events of the blocks of one answer: each is begun, given in pieces and stopped before the next."""

    def __init__(self) -> None:
        self._index = -1
        self._kind = ""

    def events(self, delta: Delta) -> list[dict[str, Any]]:
        """What a delta adds."""
        match delta:
            case Content(text):
                return [*self._begin("text", text=""), self._delta("text_delta", text=text)]
            case Reasoning(text):
                begin = self._begin("thinking", thinking="", signature="")
                return [*begin, self._delta("thinking_delta", thinking=text)]
            case CallBegin(_, id, name):
                return [*self.stop(), *self._begin("tool_use", id=id, name=name, input={})]
            case CallArguments(_, text):
                return [self._delta("input_json_delta", partial_json=text)]
            case CallEnd():
                return self.stop()

    def stop(self) -> list[dict[str, Any]]:
        """The end of the block that is open, if one is."""
        kind, self._kind = self._kind, ""
        return [{"type": "content_block_stop", "index": self._index}] if kind else []

    def finish(self) -> list[dict[str, Any]]:
        """The end of all: an answer that said nothing has an empty text."""
        return [*([] if self._index >= 0 else self._begin("text", text="")), *self.stop()]

    def _begin(self, kind: str, **block: Any) -> list[dict[str, Any]]:
        if kind == self._kind:
            return []
        stopped = self.stop()
        self._index, self._kind = self._index + 1, kind
        start = {"type": "content_block_start", "index": self._index, "content_block": {"type": kind, **block}}
        return [*stopped, start]

    def _delta(self, kind: str, **delta: Any) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": self._index, "delta": {"type": kind, **delta}}
