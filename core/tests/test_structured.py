"""Structures against what JSON Schema, regular expressions and grammars say, one byte a token."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realizar.errors import RequestError
from realizar.sampling import SamplingParams
from realizar.selection import build_tokenizer
from realizar.structured import Choice, Grammar, JsonSchema, Regex
from realizar.structured import matcher as matching
from realizar.structured.byte_stream import ByteStream
from realizar.structured.json_schema import MAX_DEPTH, MAX_NODES
from realizar.testing.vocabulary import tiny_tokenizer

pytest.importorskip("llguidance")

EOS, FIRST_BYTE = 2, 3


def accepts(structure, text: str, tokenizer) -> bool:
    """Whether a whole text can be generated: each byte is allowed, and then the end token or nothing."""
    matcher = matching.start(structure, tokenizer)
    for byte in text.encode():
        if matcher.ended or not matcher.allowed()[FIRST_BYTE + byte]:
            return False
        matcher.accept(FIRST_BYTE + byte)
    return matcher.ended or bool(matcher.allowed()[EOS])


def random_text(structure, tokenizer, seed: int, limit: int = 400) -> str | None:
    """A text of uniformly drawn tokens, None if it does not end in time."""
    rng, matcher, data = np.random.default_rng(seed), matching.start(structure, tokenizer), bytearray()
    for _ in range(limit):
        if matcher.ended:
            return data.decode()
        token_id = int(rng.choice(np.flatnonzero(matcher.allowed()[:300])))
        matcher.accept(token_id)
        if token_id == EOS:
            return data.decode()
        data += tokenizer.token_bytes(token_id)
    return None


KEYWORDS = [
    ({"type": "object"}, ["{}", '{"a": 1}'], ["[]", "1"]),
    ({"type": ["integer", "null"]}, ["12", "-3", "null"], ['"12"', "true"]),
    ({"type": "number", "minimum": 1, "exclusiveMaximum": 2.5}, ["1", "2.49", "1.0"], ["2.5", "0.9", "3"]),
    ({"type": "integer", "exclusiveMinimum": 3, "maximum": 11, "multipleOf": 4}, ["4", "8"], ["3", "5", "12"]),
    ({"type": "string", "minLength": 2, "maxLength": 3}, ['"ab"', '"a\u00e9c"', '"\\n\\""'], ['"a"', '"abcd"']),
    ({"type": "string", "pattern": "^[a-c]+$"}, ['"abc"'], ['"d"', '""']),
    ({"type": "string", "pattern": "b"}, ['"abc"', '"b"'], ['"ac"']),
    ({"type": "string", "format": "time"}, ['"21:14:59+05:14"'], ['"21:14:60+05:14"', '"24:00:00Z"']),
    (
        {"type": "string", "format": "date-time"},
        ['"2024-02-29T00:00:09Z"'], ['"0000-01-01T00:00:00Z"', '"2024-02-29T23:59:60Z"'],
    ),  # fmt: skip
    ({"type": "string", "format": "date"}, ['"2024-02-29"'], ['"2024-13-01"', '"x"', '"0000-01-01"']),
    ({"type": "string", "format": "uuid"}, ['"123e4567-e89b-42d3-a456-426614174000"'], ['"123e4567"']),
    ({"enum": ["a", 1, None]}, ['"a"', "1", "null"], ['"b"', "2"]),
    ({"const": {"a": [1]}}, ['{"a":[1]}'], ['{"a":[2]}', "1"]),
    ({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
     ["[1]", "[1, 2]"], ["[]", "[1,2,3]"]),
    ({"type": "array", "prefixItems": [{"const": 1}], "items": {"type": "null"}},
     ["[]", "[1, null]"], ["[2]", "[1,1]"]),
    ({"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}, "required": ["a"],
      "additionalProperties": False}, ['{"a":1}', '{"a":1,"b":[]}'], ["{}", '{"b":1}', '{"a":1,"c":1}', '{"a":"x"}']),
    ({"type": "object", "additionalProperties": {"type": "boolean"}, "minProperties": 1},
     ['{"x":true}'], ["{}", '{"x":1}']),
    ({"type": "object", "patternProperties": {"^n": {"type": "integer"}}, "additionalProperties": False},
     ['{"n1":1}', "{}"], ['{"n1":"x"}', '{"m":1}']),
    ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, ['"a"', "1"], ["null"]),
    ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, ['"a"', "1"], ["null"]),
    ({"allOf": [{"type": "string"}, {"minLength": 2}]}, ['"ab"'], ['"a"', "1"]),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}},
     ["[]", "[[],[[]]]"], ["[1]"]),
    (True, ["1", '{"a": [null, true]}'], ["x"]),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "valid", "invalid"), KEYWORDS, ids=lambda value: str(value)[:40])
def test_each_keyword_admits_what_is_valid_and_nothing_else(tokenizer, schema, valid, invalid):
    structure = JsonSchema(schema)
    assert [text for text in valid if not accepts(structure, text, tokenizer)] == []
    assert [text for text in invalid if accepts(structure, text, tokenizer)] == []


@pytest.mark.parametrize("schema", [schema for schema, _, _ in KEYWORDS], ids=lambda value: str(value)[:40])
def test_random_texts_are_json(tokenizer, schema):
    texts = [random_text(JsonSchema(schema), tokenizer, seed) for seed in range(5)]
    for text in texts:
        if text is not None:
            json.loads(text)


def test_whitespace_is_bounded(tokenizer):
    schema = JsonSchema({"type": "array", "items": {"const": 1}, "minItems": 1})
    assert accepts(schema, "[\n    1,\n    1\n]", tokenizer)
    assert accepts(schema, "[1, 1]", tokenizer)
    assert not accepts(schema, "[  1]", tokenizer)
    assert not accepts(schema, " [1]", tokenizer)


def test_a_schema_may_be_json_text_and_equal_ones_are_equal():
    assert JsonSchema('{"type": "null"}') == JsonSchema({"type": "null"})
    assert hash(Regex("a")) == hash(Regex("a"))


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ({"type": "array", "uniqueItems": True}, "#/uniqueItems"),
        ({"properties": {"a/b": {"not": {}}}}, "#/properties/a~1b/not"),
        ({"anyOf": [{}, {"if": {}}]}, "#/anyOf/1/if"),
        ({"$defs": {"x": {"items": {"contains": {}}}}}, "#/$defs/x/items/contains"),
        ({"additionalProperties": {"nullable": True}}, "#/additionalProperties/nullable"),
        ({"x-guidance": {"lenient": True}}, "#/x-guidance"),
        ({"patternProperties": {"a": {"propertyNames": {}}}}, "#/patternProperties/a/propertyNames"),
        ({"prefixItems": [{"format": "regex"}]}, "#/prefixItems/0/format"),
        ({"$ref": "https://example.com/x"}, "#/$ref"),
        ({"items": [{}]}, "#/items"),
        ({"allOf": {}}, "#/allOf"),
        ({"properties": []}, "#/properties"),
        ({"properties": {"a": 5}}, "#/properties/a"),
        ({"minProperties": 2}, "#/minProperties"),
        ({"properties": {"a": {"multipleOf": 0}}}, "#/properties/a/multipleOf"),
        ({"multipleOf": 999983}, "multipleOf"),
        ({"allOf": [{"multipleOf": 0.07}, {"multipleOf": 991}]}, "multipleOf"),
        (5, "#: found 5"),
    ],
    ids=str,
)  # fmt: skip
def test_a_keyword_that_could_not_be_kept_is_refused_by_its_path(schema, where):
    with pytest.raises(RequestError, match=re.escape(where)):
        JsonSchema(schema)


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ({"properties": {"a": {"type": "string", "pattern": "(?=x)"}}}, "#/properties/a: "),
        ({"items": {"oneOf": [{"type": "number"}, {"type": "integer"}]}}, "#/items: "),
        ({"items": {"type": "strin"}}, "#/items: "),
        ({"$ref": "#/$defs/gone"}, "#: "),
        (False, "#: "),
        ({"$ref": "#"}, "no text satisfies it"),
        ({"anyOf": [{"$ref": "#/$defs/s"}], "$defs": {"s": {"minLength": "x"}}}, "#/$defs/s"),
    ],
    ids=str,
)
def test_what_only_compiling_shows_is_refused_with_a_path_too(tokenizer, schema, where):
    with pytest.raises(RequestError, match=re.escape(where)):
        matching.prove(JsonSchema(schema), tokenizer)


def nested(depth: int):
    schema: dict = {}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: JsonSchema(nested(MAX_DEPTH)), "nests deeper"),
        (lambda: JsonSchema(nested(100_000)), "nests deeper"),
        (lambda: JsonSchema("[" * 100_000), "not JSON"),
        (lambda: JsonSchema("{"), "not JSON"),
        (lambda: JsonSchema({"enum": list(range(MAX_NODES))}), "more than"),
        (lambda: JsonSchema({"const": float("nan")}), "not JSON"),
        (lambda: JsonSchema({"const": {1, 2}}), "not JSON"),
        (lambda: JsonSchema({"description": "x" * 300_000}), "characters"),
        (lambda: Regex("a" * 5000), "at most 4096"),
        (lambda: Regex(5), "expected text"),
        (lambda: Regex("\ud800"), "surrogate"),
        (lambda: Choice([]), "found 0 texts"),
        (lambda: Choice("abc"), "a list of texts"),
        (lambda: Choice(["a", ""]), "not empty"),
        (lambda: Choice(["a"] * 5000), "found 5000 texts"),
        (lambda: Grammar("x" * 70_000), "characters"),
        (lambda: Grammar('start: %json {"foo": 1}'), "%json"),
        (lambda: SamplingParams(structured="[0-9]+"), "structured"),
        (lambda: SamplingParams(structured=Regex("a"), min_tokens=1), "min_tokens"),
        (lambda: SamplingParams(structured=Regex("a"), ignore_eos=True), "ignore_eos"),
    ],
)
def test_what_is_too_large_or_no_structure_is_refused_at_once(make, message):
    with pytest.raises(RequestError, match=message):
        make()


@pytest.mark.parametrize(
    "structure",
    [
        Regex("(" * 2000 + "a" + ")" * 2000), Regex(r"(a)\1"), Regex("["),
        Grammar("start: (((" * 40), Grammar('start: "a" missing'), Grammar("nothing"), Grammar("root ::= ("),
    ],
    ids=lambda structure: str(structure)[:30],
)  # fmt: skip
def test_what_cannot_be_compiled_costs_one_typed_error(tokenizer, structure):
    with pytest.raises(RequestError):
        matching.prove(structure, tokenizer)


@pytest.mark.parametrize(
    ("pattern", "valid", "invalid"),
    [
        (r"\d{3}-[a-z]+", ["123-ab"], ["12-ab", "123-"]),
        ("a/b", ["a/b"], ["ab"]),
        (r"a\/b\\/", ["a/b\\/"], ["a/b/"]),
        ("a\nb", ["a\nb"], ["ab"]),
        ("a\\\nb", ["a\nb"], ["ab"]),
        ("(yes|no)?", ["", "yes"], ["maybe"]),
        ("", [""], ["a"]),
        ("[é-ü]+", ["éü"], ["e"]),
    ],
)
def test_regex(tokenizer, pattern, valid, invalid):
    assert all(accepts(Regex(pattern), text, tokenizer) for text in valid)
    assert not any(accepts(Regex(pattern), text, tokenizer) for text in invalid)


@given(seed=st.integers(0, 2**32), pattern=st.sampled_from([r"[a-f]{2,5}\.[0-9]+", "(ab|c)*d", "x(y?z){1,3}"]))
def test_random_texts_match_the_pattern(seed, pattern):
    text = random_text(Regex(pattern), TOKENIZER, seed)
    assert text is None or re.fullmatch(pattern, text)


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), min_size=1, max_size=5))
def test_a_choice_is_one_of_its_texts(choices):
    structure = Choice(choices)
    assert all(accepts(structure, choice, TOKENIZER) for choice in choices)
    assert random_text(structure, TOKENIZER, len(choices)) in choices


@pytest.mark.parametrize(
    "text", ['start: "(" start ")" | /[0-9]/', 'root ::= "(" root ")" | [0-9]'], ids=["lark", "gbnf"]
)
def test_grammar(tokenizer, text):
    assert all(accepts(Grammar(text), valid, tokenizer) for valid in ["1", "((2))"])
    assert not any(accepts(Grammar(text), invalid, tokenizer) for invalid in ["(1", "12", ""])


def test_control_tokens_are_never_part_of_a_text(tokenizer):
    allowed = matching.start(Regex("(?s:.)*"), tokenizer).allowed()
    assert list(np.flatnonzero(allowed[:FIRST_BYTE])) == [EOS]


def test_a_vocabulary_without_an_end_token(plugins):
    spec = tiny_tokenizer()
    tokenizer = build_tokenizer(attrs.evolve(spec, eos_token_ids=()))
    matcher = matching.start(Regex("ab"), tokenizer)
    for byte in b"ab":
        assert not matcher.ended
        matcher.accept(FIRST_BYTE + byte)
    assert matcher.ended


def test_generate(llm):
    schema = JsonSchema({"type": "object", "properties": {"n": {"type": "integer", "maximum": 99, "minimum": 0}},
                         "required": ["n"], "additionalProperties": False})  # fmt: skip
    params = SamplingParams(structured=schema, max_tokens=100, seed=3, temperature=1.5)
    completions = llm.generate(["one", "two two", "three"], params)
    assert [completion.finish_reason for completion in completions] == ["stop"] * 3
    for completion in completions:
        value = json.loads(completion.text)
        assert list(value) == ["n"] and 0 <= value["n"] <= 99


def test_each_sequence_of_a_batch_has_its_own_structure(llm):
    structures = [Choice(["red", "green"]), Regex("[0-9]{4}"), None]
    streams = [llm.stream("x", SamplingParams(structured=s, max_tokens=8, seed=1)) for s in structures]
    texts = [stream.completion().text for stream in streams]
    alone = [llm.generate("x", SamplingParams(structured=s, max_tokens=8, seed=1)).text for s in structures]
    assert texts == alone
    assert texts[0] in ("red", "green") and re.fullmatch("[0-9]{4}", texts[1])


def test_drafts_and_several_choices_change_nothing(open_llm):
    """With guesses or without: the same tokens; each of several choices is a whole of its own."""
    schema = JsonSchema({"type": "array", "items": {"enum": ["abab", "cdcd"]}, "minItems": 3, "maxItems": 5})
    params = SamplingParams(structured=schema, max_tokens=150, seed=4, n=3)
    texts = [
        [completion.text for completion in llm.choices('["abab", "cdcd"]', params)]
        for llm in (open_llm(), open_llm(draft="prompt-lookup"))
    ]
    assert texts[0] == texts[1]
    assert all(3 <= len(json.loads(text)) <= 5 for text in texts[0])


def test_greedy_takes_the_likeliest_of_what_is_allowed(llm):
    completion = llm.generate("x", SamplingParams(structured=Regex("[ab]"), temperature=0, logprobs=256))
    best = next(i for i, _ in completion.logprobs[0].top if i in (FIRST_BYTE + 97, FIRST_BYTE + 98))
    assert completion.token_ids == (best,)


def test_the_limit_leaves_the_text_unfinished(llm):
    completion = llm.generate("x", SamplingParams(structured=Regex("[a-c]{50}"), max_tokens=5))
    assert completion.finish_reason == "length"
    assert re.fullmatch("[a-c]{5}", completion.text)


def test_a_bias_against_all_that_is_allowed_is_an_error(llm):
    banned = {FIRST_BYTE + 97: float("-inf")}
    with pytest.raises(RequestError, match="structure"):
        llm.generate("x", SamplingParams(structured=Regex("a"), logit_bias=banned))


def test_a_refused_structure_is_refused_before_anything_is_generated(llm):
    with pytest.raises(RequestError, match="regex: "):
        llm.stream("x", SamplingParams(structured=Regex("[")))


def test_running_out_of_fuel_ends_that_request(tokenizer):
    matcher = matching.start(Regex(r"\p{L}{1,1000}" * 20), tokenizer)
    with pytest.raises(RequestError, match="after [0-9]+ tokens no token can follow"):
        for _ in range(300):
            matcher.allowed()
            matcher.accept(FIRST_BYTE + 97)


def test_a_vocabulary_that_cannot_spell_what_must_come():
    """As WordPiece, which has no token for a space."""

    class Spaceless(_Bytes):
        def token_bytes(self, token_id: int) -> bytes:
            return super().token_bytes(token_id).strip(b" ")

    tokenizer = Spaceless()
    with pytest.raises(RequestError, match="no text satisfies it"):
        matching.start(Regex(" a"), tokenizer)
    matcher = matching.start(Regex("a|b c"), tokenizer)
    matcher.accept(FIRST_BYTE + ord("b"))
    with pytest.raises(RequestError, match="cannot spell"):
        matcher.allowed()


def test_the_text_is_the_bytes_of_the_tokens(tokenizer):
    stream = ByteStream(tokenizer)
    pushed = [stream.push(FIRST_BYTE + byte) for byte in " é".encode()]
    assert pushed == [" ", "", "é"]
    stream.push(FIRST_BYTE + 0xC3)
    assert stream.finish() == "\ufffd"


def test_without_the_library_the_error_says_what_to_install(monkeypatch, plugins):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(RequestError, match=r"pip install 'realizar\[structured\]'"):
        matching.Vocabulary(build_tokenizer(tiny_tokenizer()))


def test_the_library_is_not_loaded_without_need():
    code = "import sys, realizar.cli.main, realizar.engine, realizar.sampling; print('llguidance' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


class _Bytes:
    """One token a byte, for tests that hypothesis repeats."""

    spec = tiny_tokenizer()

    def token_bytes(self, token_id: int) -> bytes:
        return bytes([token_id - FIRST_BYTE]) if FIRST_BYTE <= token_id < FIRST_BYTE + 256 else b""


TOKENIZER = _Bytes()
