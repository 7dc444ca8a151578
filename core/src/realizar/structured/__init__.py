"""Structured output: what an answer must be, kept token by token while it is generated.

    from realizar import LLM, SamplingParams
    from realizar.structured import Choice, Grammar, JsonSchema, Regex

    person = JsonSchema({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]})
    llm.chat(messages, SamplingParams(structured=person)).text    # a JSON text that validates

- `JsonSchema(schema)`: a mapping, True, or JSON text. `JsonSchema({"type": "object"})` is any JSON object.
- `Regex(pattern)`: the whole output matches it; Rust's syntax, no look-around and no back-references.
- `Choice(["yes", "no"])`: one of these texts. `Grammar(text)`: Lark or GBNF, from the rule `start` or `root`.

Making one proves what can be proved without a model: RequestError names what is refused by its path in the schema
(`#/properties/tags/uniqueItems`), for a keyword is never ignored. The rest (a pattern, a grammar's rules) is proved
when the request is submitted, before anything is generated, on the caller's thread: call it off an event loop, it may
take a tenth of a second. `realizar.structured.matcher.prove(structure, tokenizer)` does the same alone.

The text is exactly the bytes of the tokens, nothing stripped and, with WordPiece, nothing put between. finish_reason is
"stop" once nothing can follow, or where the model ends what may end; "length" or a stop string leave the text
unfinished. Bias, penalties and processors see the logits before the mask. min_tokens and ignore_eos are refused
beside it.
Needs `pip install 'realizar[structured]'` (llguidance), which is loaded by the first request that asks for it; that
one also waits for tables of the vocabulary, about a second for 262144 tokens.
"""

from realizar.structured.structure import Choice, Grammar, JsonSchema, Regex, Structure

__all__ = ["Choice", "Grammar", "JsonSchema", "Regex", "Structure"]
