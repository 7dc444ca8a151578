"""The real model, served: a call that is required and a form that is asked for, through HTTP."""

from __future__ import annotations

import json
from typing import Any
from urllib.request import Request, urlopen

import pytest

pytestmark = pytest.mark.model

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather", "description": "The weather in a city now",
        "parameters": {
            "type": "object", "required": ["city"],
            "properties": {"city": {"type": "string", "maxLength": 30}, "unit": {"enum": ["celsius", "fahrenheit"]}},
        },
    },
}  # fmt: skip
CAPITAL = {
    "type": "object",
    "properties": {"country": {"type": "string", "maxLength": 20}, "capital": {"enum": ["Paris", "Rome"]}},
    "required": ["country", "capital"], "additionalProperties": False,
}  # fmt: skip


def ask(url: str, question: str, **body: Any) -> Any:
    asked = {"messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 120, **body}
    request = Request(f"{url}/v1/chat/completions", json.dumps(asked).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=120) as response:
        return json.load(response)["choices"][0]


def test_a_required_call_and_a_form(serve_process, smollm2):
    form = {"type": "json_schema", "json_schema": {"name": "capital", "schema": CAPITAL}}
    with serve_process(smollm2, "--server", "aiohttp") as url:
        called = ask(url, "What is the weather in Paris?", tools=[WEATHER], tool_choice="required")
        formed = ask(url, "What is the capital of France?", response_format=form)
    assert called["finish_reason"] == "tool_calls"
    arguments = [json.loads(call["function"]["arguments"]) for call in called["message"]["tool_calls"]]
    assert arguments[0]["city"].startswith("Paris")
    assert {call["function"]["name"] for call in called["message"]["tool_calls"]} == {"get_weather"}
    assert json.loads(formed["message"]["content"])["capital"] == "Paris"
