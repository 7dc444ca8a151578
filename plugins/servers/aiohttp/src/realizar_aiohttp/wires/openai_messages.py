"""Messages of a conversation, from OpenAI's form to the one that chat templates read."""

from __future__ import annotations

import json
from typing import Any, Literal

import attrs

from realizar_aiohttp.fields import field
from realizar_aiohttp.problem import not_supported, wrong_value


@attrs.frozen(kw_only=True)
class ContentPart:
    """A part of a message; texts are the only ones that the models here read."""

    type: str = field(doc='"text"', max_chars=64)
    text: str | None = field(None)
    image_url: Any = field(None, "refused")
    input_audio: Any = field(None, "refused")
    file: Any = field(None, "refused")
    refusal: str | None = field(None)


@attrs.frozen(kw_only=True)
class Message:
    """One message; which fields count depends on the model's chat template."""

    role: Literal["system", "developer", "user", "assistant", "tool"] = field()
    content: str | list[ContentPart] | None = field(None, max_items=1024)
    name: str | None = field(None, max_chars=256)
    tool_calls: list[dict[str, Any]] | None = field(None, max_items=128)
    tool_call_id: str | None = field(None, max_chars=256)
    reasoning_content: str | None = field(None)
    reasoning: str | None = field(None)
    refusal: str | None = field(None)


def template_messages(messages: list[Message]) -> list[dict[str, Any]]:
    """The messages as a template sees them; raises Problem with the path of what it cannot be shown."""
    return [_template_message(message, f"messages[{i}]") for i, message in enumerate(messages)]


def _template_message(message: Message, path: str) -> dict[str, Any]:
    given = {name: value for name, value in attrs.asdict(message, recurse=False).items() if value is not None}
    if message.content is None and message.role != "assistant":
        raise wrong_value(f"{path}.content", "nothing", "a text")
    found = {**given, "role": "system" if message.role == "developer" else message.role}
    found["content"] = content_text(message.content, f"{path}.content")
    if message.tool_calls is not None:
        found["tool_calls"] = [tool_call(call, f"{path}.tool_calls[{i}]") for i, call in enumerate(message.tool_calls)]
    return found


def content_text(content: str | list[ContentPart] | None, path: str) -> str:
    """The text of a content; parts are joined by line ends."""
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for i, part in enumerate(content):
        if part.type != "text":
            raise not_supported(f"{path}[{i}].type", f"found {part.type!r}, and the models here read only text")
        if part.text is None:
            raise wrong_value(f"{path}[{i}].text", "nothing", "a text")
        texts.append(part.text)
    return "\n".join(texts)


def tool_call(call: dict[str, Any], path: str) -> dict[str, Any]:
    """A call with its arguments as an object, as templates of Hugging Face expect them."""
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise wrong_value(f"{path}.function", "no object with a name", "an object with a name and arguments")
    arguments = function.get("arguments", "{}")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            raise wrong_value(f"{path}.function.arguments", "a text that is not JSON", "JSON") from None
    return {**call, "function": {**function, "arguments": arguments}}
