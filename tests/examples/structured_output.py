"""Hold answers to a form, and read a tool call while it is written, with SmolLM2 (or the model named first)."""

from __future__ import annotations

import json
import sys

from realizar import LLM, SamplingParams
from realizar.errors import RequestError
from realizar.structured import Choice, JsonSchema, Regex
from realizar.tool_calls import CallArguments, CallBegin, ToolCallParser, call_structure, tool_format

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 0, "maximum": 120},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}  # fmt: skip
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]}}}]  # fmt: skip


def main(model: str = "smollm2") -> None:
    """Three forms, a refusal and a call."""
    with LLM(model) as llm:

        def ask(question: str, structured: JsonSchema | Regex | Choice) -> str:
            params = SamplingParams(structured=structured, temperature=0, max_tokens=64)
            return llm.chat([{"role": "user", "content": question}], params).text

        print("person:", json.loads(ask("Describe a person as JSON.", JsonSchema(PERSON))))
        print("choice:", ask("Is the sky blue?", Choice(["yes", "no"])))
        print("regex:", ask("When did Apollo 11 land on the Moon?", Regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")))

        # A keyword that cannot be kept is refused by its path, before anything is generated.
        try:
            JsonSchema({"properties": {"tags": {"type": "array", "uniqueItems": True}}})
        except RequestError as error:
            print("refused:", error)

        # The answer must be a call; its arguments are JSON however the stream is cut.
        form = tool_format(llm.tokenizer.spec.chat_template)
        structure = call_structure(form, TOOLS, llm.tokenizer, parallel=False)
        params = SamplingParams(structured=structure, temperature=0, max_tokens=64)
        parser, arguments = ToolCallParser(form), ""
        for piece in llm.stream([{"role": "user", "content": "What is the weather in Paris?"}], params):
            deltas = parser.push(piece.text) + (parser.finish() if piece.completion is not None else [])
            for delta in deltas:
                if isinstance(delta, CallBegin):
                    print("call:", delta.name)
                elif isinstance(delta, CallArguments):
                    arguments += delta.text
        print("arguments:", json.loads(arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
