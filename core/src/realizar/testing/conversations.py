"""Chat templates that ask for calls in every format, and what a model writes then."""

from __future__ import annotations

import json
from typing import Any

_BEGINNING = "{% if tools %}<|im_start|>system\n{{ tools | tojson }}HINT<|im_end|>\n{% endif %}"
_MESSAGES = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}[{{ c.function.name }} of {{ c.function.arguments.city }}]{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

HELLO = [{"role": "user", "content": "Hello"}]
PARAMETERS: dict[str, Any] = {
    "type": "object", "properties": {"city": {"type": "string", "maxLength": 8}}, "required": ["city"],
}  # fmt: skip
TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "Of a city", "parameters": PARAMETERS}},
    {"type": "function", "function": {"name": "time", "description": "", "parameters": {"type": "object"}}},
]
CITY = 'Zürich "old"\n'
ARGUMENTS = {"city": CITY, "units": ["C", None]}
_DUMPED = json.dumps(ARGUMENTS, ensure_ascii=False)
_GEMMA = "city:Q{city}Q,units:[QCQ,null]".replace("{city}", CITY)


def template(hint: str) -> str:
    """A template that shows tools with a hint at how they are called, calls, and reasoning."""
    return _BEGINNING.replace("HINT", hint) + _MESSAGES


HERMES = template('<tool_call>{"name": "...", "arguments": ...}</tool_call>')
THINKING = HERMES + "{# <think> </think> #}"
OPENED = HERMES.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")

FORMATS = {
    "hermes": (HERMES, f'<tool_call>\n{{"name": "weather", "arguments": {_DUMPED}}}\n</tool_call>'),
    "llama3": (
        template('<|start_header_id|> "parameters": dictionary'), f'{{"name": "weather", "parameters": {_DUMPED}}}',
    ),
    "json": (template(""), f'{{"name": "weather", "arguments": {_DUMPED}}}'),
    "mistral": (template("[TOOL_CALLS]"), f'[TOOL_CALLS][{{"name": "weather", "arguments": {_DUMPED}}}]'),
    "mistral-args": (template("[TOOL_CALLS]f[ARGS]"), f"[TOOL_CALLS]weather[ARGS]{_DUMPED}"),
    "deepseek": (
        template("<｜tool▁calls▁begin｜><｜tool▁sep｜>"),
        f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{_DUMPED}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    ),
    "deepseek-fenced": (
        template("<｜tool▁calls▁begin｜><｜tool▁sep｜>```json"),
        f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{_DUMPED}\n```<｜tool▁call▁end｜>"
        f"<｜tool▁calls▁end｜>",
    ),
    "function-gemma": (
        template("<start_function_call>call:"),
        f"<start_function_call>call:weather{{{_GEMMA.replace('Q', '<escape>')}}}<end_function_call>",
    ),
    "gemma4": (
        template("<|tool_call>call:"), "<|tool_call>call:weather{" + _GEMMA.replace("Q", '<|"|>') + "}<tool_call|>",
    ),
}  # fmt: skip
"""Format -> a template that asks for it, and a call of `weather` with ARGUMENTS."""
