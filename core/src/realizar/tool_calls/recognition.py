"""Which format a chat template asks for."""

from __future__ import annotations

from realizar.tool_calls.bare_json import BareJson
from realizar.tool_calls.deepseek import DeepSeek, FencedDeepSeek
from realizar.tool_calls.format import ToolFormat
from realizar.tool_calls.gemma import FUNCTION_GEMMA, GEMMA4
from realizar.tool_calls.hermes import Hermes
from realizar.tool_calls.llama3 import Llama3
from realizar.tool_calls.mistral import Mistral, NamedMistral

FORMATS: tuple[ToolFormat, ...] = (
    FUNCTION_GEMMA, GEMMA4, FencedDeepSeek(), DeepSeek(), NamedMistral(), Mistral(), Hermes(), Llama3(), BareJson(),
)  # fmt: skip
"""The most particular first."""


def tool_format(template: str | None) -> ToolFormat:
    """The format that the text of a template names by its marks; bare JSON where it names none."""
    return next(form for form in FORMATS if form.recognizes(template or ""))
