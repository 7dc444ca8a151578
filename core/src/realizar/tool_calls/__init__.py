"""Tool calls and reasoning in what a model writes, read piece by piece; and outputs that must be calls.

    from realizar.tool_calls import CallArguments, CallBegin, CallEnd, Content, ToolCallParser, tool_format

    form = tool_format(tokenizer.spec.named_chat_templates.get("tool_use") or tokenizer.spec.chat_template)
    parser = ToolCallParser(form)                                  # one for each answer
    params = SamplingParams(skip_special_tokens=False)             # some formats mark calls with control tokens
    for piece in llm.stream(messages, params, tools=tools):
        for delta in parser.push(piece.text): ...
    for delta in parser.finish(): ...

Deltas: `Content(text)`; then for each call `CallBegin(index, id, name)` once, `CallArguments(index, text)` any number
of times, `CallEnd(index, complete)`. The argument pieces of a call always concatenate to a JSON object: where the model
was cut or wrote no JSON, it is closed at the last whole value and `complete` is False (keep finish_reason "length").
What looks like a call but names no function is content, to the character.

`call_structure(form, tools, tokenizer, name=None, parallel=True)` is the structure for tool_choice "required" (or of
the tool `name`): `SamplingParams(structured=...)`; keywords of a tool's parameters that cannot be kept are refused by
their path (`tools/0/function/parameters: #/properties/x/not`). The same parser reads the answer.

`ReasoningSplitter.for_prompt(template, prompt)` comes before the parser: `push` and `finish` give `Reasoning(text)` and
`Content(text)`; feed the parser with the texts of the latter. prompt: the rendered prompt, or its last characters with
control tokens spelled; it tells whether the answer begins inside the reasoning. `call_structure(..., thinks=splitter)`
lets such an answer think first.
"""

from realizar.tool_calls.constraint import call_structure
from realizar.tool_calls.deltas import CallArguments, CallBegin, CallEnd, Content, Delta, Reasoning
from realizar.tool_calls.parser import ToolCallParser
from realizar.tool_calls.reasoning import ReasoningSplitter
from realizar.tool_calls.recognition import tool_format

__all__ = [
    "CallArguments", "CallBegin", "CallEnd", "Content", "Delta", "Reasoning", "ReasoningSplitter", "ToolCallParser",
    "call_structure", "tool_format",
]  # fmt: skip
