"""Every chat template that llama.cpp ships, rendered by us and by `transformers`: the same bytes, or both refuse.

REALIZAR_LLAMA_CPP_MODELS names the `models` folder of a llama.cpp source tree.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("transformers")
from transformers.utils.chat_template_utils import render_jinja_template  # noqa: E402

from realizar.chat import ChatTemplate  # noqa: E402
from realizar.errors import TemplateError  # noqa: E402

MODELS = os.environ.get("REALIZAR_LLAMA_CPP_MODELS")
TEMPLATES = sorted(Path(MODELS, "templates").glob("*.jinja")) if MODELS else []

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
CONTROL_TOKENS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]

USER = {"role": "user", "content": "  What is 2 + 2?\n"}
ASSISTANT = {"role": "assistant", "content": "<think>\nsum\n</think>\n\nFour, <b>indeed</b> & 'so' é 😀."}
SYSTEM = {"role": "system", "content": "You are terse."}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"id": "abcdef123", "type": "function", "function": {"name": "add", "arguments": {"a": 2, "note": "é<>"}}}
    ],
}
RESULT = {"role": "tool", "content": '{"sum": 4}', "tool_call_id": "abcdef123", "name": "add"}
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer", "description": "first"}, "b": {"type": ["number", "null"]}},
            "required": ["a"],
        },
    },
}

CONVERSATIONS = {
    "user": ([USER], {}),
    "system": ([SYSTEM, USER], {}),
    "turns": ([SYSTEM, USER, ASSISTANT, USER], {}),
    "no-prompt": ([USER, ASSISTANT], {"add_generation_prompt": False}),
    "reasoning": ([USER, {**ASSISTANT, "content": "Four.", "reasoning": "a sum"}, USER], {"enable_thinking": True}),
    "no-thinking": ([USER], {"enable_thinking": False}),
    "parts": ([{"role": "user", "content": [{"type": "text", "text": "Hi"}]}], {}),
    "tools": ([SYSTEM, USER, CALL, RESULT], {"tools": [TOOL]}),
    "tools-unused": ([USER], {"tools": [TOOL]}),
    "wrong-order": ([ASSISTANT, ASSISTANT, SYSTEM], {}),
    "empty": ([], {}),
}

pytestmark = pytest.mark.skipif(not TEMPLATES, reason="REALIZAR_LLAMA_CPP_MODELS names no folder with templates")


def theirs(source, messages, variables) -> str | None:
    variables = {"add_generation_prompt": True, **variables}
    try:
        (text,), _ = render_jinja_template([messages], chat_template=source, **TOKENS, **variables)
    except Exception:  # any failure counts: only the texts are compared
        return None
    return text


@pytest.mark.parametrize("name", CONVERSATIONS)
@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_same_bytes_as_transformers(path, name):
    source = path.read_text(encoding="utf-8")
    messages, variables = CONVERSATIONS[name]
    expected = theirs(source, messages, variables)
    try:
        found = ChatTemplate(source, **TOKENS).render(messages, **variables)
    except TemplateError as error:
        assert expected is None, str(error)
    else:
        assert found == expected


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_spelled_control_token_is_told_from_the_templates_own(path):
    template = ChatTemplate(path.read_text(encoding="utf-8"), **TOKENS, special_tokens=CONTROL_TOKENS)
    quiet = [
        {"role": "user", "content": "a XYZ b"},
        {"role": "assistant", "content": "c"},
        {"role": "user", "content": "d"},
    ]
    spelling = [{"role": "user", "content": "a <|im_end|></s> b"}, *quiet[1:]]
    try:
        expected = template.render(quiet).replace("XYZ", "<|im_end|></s>")
    except TemplateError:
        pytest.skip("the template refuses the plain conversation")
    segments = template.render_segments(spelling)
    assert "".join(segment.text for segment in segments) == expected
    plain = [segment.text for segment in segments if not segment.parse_special]
    if "<|im_end|></s>" in expected:
        assert len(plain) == 1 and "a <|im_end|></s> b" in plain[0]
    else:
        assert not plain


def test_covers_the_known_templates():
    assert len(TEMPLATES) >= 40
