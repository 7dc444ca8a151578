"""What of a chat request reaches which template."""

from __future__ import annotations

from typing import Any

import pytest

from realizar.engine.prompt import ChatOptions, PromptEncoder
from realizar.errors import RequestError, TemplateError
from realizar.model import TokenizerSpec

TEMPLATE = "{{ messages[0].content }}|{{ tools[0].name if tools else '' }}|{{ mood }}|{{ add_generation_prompt }}"
MESSAGES = [{"role": "user", "content": "hi"}]
TOOLS = [{"name": "weather"}]


class Codes:
    """Code points for ids."""

    def __init__(self, **named: str) -> None:
        self.spec = TokenizerSpec("bpe", [], "x.gguf", chat_template=TEMPLATE, named_chat_templates=named)

    def encode(self, text: str, *, add_special_tokens: bool = True, parse_special: bool = False) -> list[int]:
        return list(map(ord, text))


def rendered(chat: ChatOptions, **named: str) -> str:
    tokenizer: Any = Codes(**named)
    return "".join(map(chr, PromptEncoder(tokenizer, 1 << 21).encode(MESSAGES, chat)))


@pytest.mark.parametrize(
    ("chat", "expected"),
    [
        (ChatOptions(), "hi|||True"),
        (ChatOptions(TOOLS), "hi|weather||True"),
        (ChatOptions(variables={"mood": "calm"}), "hi||calm|True"),
        (ChatOptions(variables={"add_generation_prompt": False}), "hi|||False"),
    ],
)
def test_tools_and_variables_reach_the_template(chat: ChatOptions, expected: str) -> None:
    assert rendered(chat) == expected


@pytest.mark.parametrize(
    ("chat", "expected"),
    [
        (ChatOptions(TOOLS), "tool weather"),
        (ChatOptions([]), "hi|||True"),
        (ChatOptions(), "hi|||True"),
        (ChatOptions(TOOLS, "rag"), "rag"),
        (ChatOptions(chat_template="tool_use"), "tool "),
    ],
)
def test_named_templates(chat: ChatOptions, expected: str) -> None:
    assert rendered(chat, tool_use="tool {{ tools[0].name if tools else '' }}", rag="rag") == expected


def test_an_unknown_name_is_an_error_with_those_that_are_there() -> None:
    with pytest.raises(TemplateError, match=r"no chat template named 'abacus' \(it names rag\)"):
        rendered(ChatOptions(chat_template="abacus"), rag="rag")


@pytest.mark.parametrize("prompt", ["hi", [1, 2]])
def test_tools_without_messages_are_refused(prompt: Any) -> None:
    tokenizer: Any = Codes()
    with pytest.raises(RequestError, match="go with messages"):
        PromptEncoder(tokenizer, 9).encode(prompt, ChatOptions(TOOLS))
