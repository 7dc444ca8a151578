"""Tool calls of every format: read whole, in pieces and cut, and written under a structure."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realizar.errors import RequestError
from realizar.sampling import SamplingParams
from realizar.tool_calls import (
    CallArguments,
    CallBegin,
    CallEnd,
    Content,
    Reasoning,
    ReasoningSplitter,
    ToolCallParser,
    call_structure,
    tool_format,
)
from realizar.tool_calls.format import MAX_CALLS
from realizar.tool_calls.reasoning import ThinkMarks
from realizar.tool_calls.recognition import FORMATS

BY_NAME = {form.name: form for form in FORMATS}
ARGUMENTS = {"city": 'Zürich "old"\n', "days": 3, "units": ["C", None, True], "at": {"x": -1.5e3, "y": {}}}
DUMPED = json.dumps(ARGUMENTS, ensure_ascii=False)
GEMMA = "city:Q{city}Q,days:3,units:[QCQ,null,true],at:{QxQ:-1.5e3,QyQ:{}}".replace("{city}", ARGUMENTS["city"])


def deepseek(call: str) -> str:
    return f"<｜tool▁calls▁begin｜>{call}<｜tool▁calls▁end｜>"


WRITTEN = [
    ("hermes", f'<tool_call>\n{{"name": "f", "arguments": {DUMPED}}}\n</tool_call>'),
    ("hermes", f'<tool_call>{{"arguments": {DUMPED}, "name": "f"}}</tool_call>'),
    ("hermes", f'<tool_call>{{"id": [1], "name": "f", "arguments": {DUMPED}, "more": "}}"}}</tool_call>'),
    ("hermes", f'<tool_call>{{"name": "f", "arguments": {json.dumps(DUMPED)}}}</tool_call>'),
    ("llama3", f'{{"name": "f", "parameters": {DUMPED}}}'),
    ("llama3", f'<|python_tag|>{{"type": "function", "name": "f", "parameters": {DUMPED}}}'),
    ("json", f' \n{{"name": "f", "arguments": {DUMPED}}}'),
    ("mistral", f'[TOOL_CALLS][{{"name": "f", "arguments": {DUMPED}}}]'),
    ("mistral", f'[TOOL_CALLS] {{"name": "f", "arguments": {DUMPED}}}'),
    ("mistral-args", f"[TOOL_CALLS]f[ARGS]{DUMPED}"),
    ("mistral-args", f"[TOOL_CALLS]f{DUMPED}"),
    ("deepseek", deepseek(f"<｜tool▁call▁begin｜>f<｜tool▁sep｜>{DUMPED}<｜tool▁call▁end｜>")),
    ("deepseek-fenced", deepseek(
        f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{DUMPED}\n```<｜tool▁call▁end｜>")),
    ("function-gemma", f"<start_function_call>call:f{{{GEMMA.replace('Q', '<escape>')}}}<end_function_call>"),
    ("gemma4", "<|tool_call>call:f{" + GEMMA.replace("Q", '<|"|>') + "}<tool_call|>"),
    ("gemma4", f"<|tool_call>call:f{DUMPED}<tool_call|>"),
]  # fmt: skip
IDS = [f"{name}-{i}" for i, (name, _) in enumerate(WRITTEN)]

TWO = [
    ("hermes", "Let me see.", '<tool_call>\n{"name": "a", "arguments": {}}\n</tool_call>\n<tool_call>\n'
     '{"name": "b", "arguments": {"x": 1}}\n</tool_call>'),
    ("llama3", "", '{"name": "a", "parameters": {}}; {"name": "b", "parameters": {"x": 1}}'),
    ("mistral", "", '[TOOL_CALLS][{"name": "a", "arguments": {}}, {"name": "b", "arguments": {"x": 1}}]'),
    ("mistral-args", "Hm.", '[TOOL_CALLS]a[ARGS]{}[TOOL_CALLS]b[ARGS]{"x": 1}'),
    ("deepseek", "I look.", deepseek("".join(
        f"<｜tool▁call▁begin｜>{n}<｜tool▁sep｜>{a}<｜tool▁call▁end｜>" for n, a in [("a", "{}"), ("b", '{"x": 1}')]))),
    ("function-gemma", "", "<start_function_call>call:a{}<end_function_call><start_function_call>call:b{x:1}"
     "<end_function_call>"),
]  # fmt: skip


class Read:
    """What a parser made of an answer: content, and per call its name, arguments and whether it is complete."""

    def __init__(self, form: str, pieces) -> None:
        parser = ToolCallParser(BY_NAME[form])
        self.deltas = [delta for piece in pieces for delta in parser.push(piece)] + parser.finish()
        self.content = "".join(delta.text for delta in self.deltas if isinstance(delta, Content))
        begins = [delta for delta in self.deltas if isinstance(delta, CallBegin)]
        ends = {delta.index: delta.complete for delta in self.deltas if isinstance(delta, CallEnd)}
        assert [begin.index for begin in begins] == list(range(len(begins))) == sorted(ends)
        assert len({begin.id for begin in begins}) == len(begins)
        self.calls = [(b.name, self.arguments(b.index), ends[b.index]) for b in begins]

    def arguments(self, index: int):
        """The arguments, which must be a JSON object."""
        text = "".join(d.text for d in self.deltas if isinstance(d, CallArguments) and d.index == index)
        value = json.loads(text)
        assert isinstance(value, dict)
        return value


@pytest.mark.parametrize(("form", "text"), WRITTEN, ids=IDS)
def test_a_call_is_read(form, text):
    read = Read(form, [text])
    assert (read.calls, read.content.strip()) == ([("f", ARGUMENTS, True)], "")


@pytest.mark.parametrize(("form", "text"), WRITTEN, ids=IDS)
def test_how_the_text_is_cut_does_not_matter(form, text):
    read = Read(form, text)
    assert (read.calls, read.content.strip()) == ([("f", ARGUMENTS, True)], "")


@pytest.mark.parametrize(("form", "text"), WRITTEN, ids=IDS)
def test_arguments_come_while_they_are_written(form, text):
    if '{"arguments"' in text or "\\\\" in text:
        pytest.skip("the name comes last, or the arguments are a text: nothing can be given before the end")
    parser = ToolCallParser(BY_NAME[form])
    given = [d for c in text[: text.index("old")] for d in parser.push(c) if isinstance(d, CallArguments)]
    assert "".join(d.text for d in given).startswith('{"city":"Zürich')


@pytest.mark.parametrize(("form", "text"), WRITTEN, ids=IDS)
def test_wherever_the_model_is_cut_the_pieces_are_json(form, text):
    for size in range(len(text)):
        read = Read(form, text[:size])
        for _, arguments, complete in read.calls:
            assert set(arguments) <= set(ARGUMENTS)
            assert not complete or arguments == ARGUMENTS


@pytest.mark.parametrize(("form", "before", "text"), TWO, ids=[form for form, _, _ in TWO])
def test_several_calls_behind_text(form, before, text):
    read = Read(form, before + text)
    assert read.calls == [("a", {}, True), ("b", {"x": 1}, True)]
    assert read.content.strip() == before


NO_CALLS = [
    ("hermes", "a <tool_cal b"), ("hermes", "1 < 2"), ("llama3", '{"city": "Bern"}'), ("llama3", "Hello {x}"),
    ("json", '[{"name": 1}]'), ("json", '{"name": "f" "arguments"'), ("mistral", "[TOOL] x"), ("deepseek", "<｜tool"),
    ("gemma4", "<|tool_c"), ("function-gemma", "call:f{}"), ("json", ""), ("llama3", "{"),
    ("mistral-args", "[TOOL_CALLS] and so on"), ("gemma4", "<|tool_call> call: no"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "text"), NO_CALLS, ids=str)
def test_what_is_no_call_is_content_to_the_character(form, text):
    for pieces in ([text], text):
        read = Read(form, pieces)
        assert read.calls == []
        assert read.content.replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ('{"a": tru]}', {}),
        ('{"a": 1, "b": [1, 2,, 3]}', {"a": 1, "b": [1, 2]}),
        ('{"a": "x\\q"}', {"a": "x"}),
        ('{"a": 01}', {}),
        ("{'a': 1}", {}),
        ("{" * 10, {}),
        ('{"a": ' + "[" * 100, None),
        ('{"a" 1}', {}),
        ('{"a": ' + "1" * 5000 + "}", {}),
    ],
)
def test_what_is_no_json_is_closed_at_the_last_whole_value(arguments, kept):
    read = Read("mistral-args", f"[TOOL_CALLS]f[ARGS]{arguments}")
    ((name, value, complete),) = read.calls
    assert (name, complete) == ("f", False)
    assert kept is None or value == kept


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.text(), JSON, max_size=4), st.data(), st.sampled_from([None, 2]), st.booleans())
def test_any_arguments_survive(arguments, data, indent, ascii_only):
    text = json.dumps({"name": "f", "arguments": arguments}, indent=indent, ensure_ascii=ascii_only)
    cut = data.draw(st.integers(0, len(text)))
    assert Read("json", [text[:cut], text[cut:]]).calls == [("f", arguments, True)]
    for _, value, complete in Read("json", text[:cut]).calls:
        assert value.keys() <= arguments.keys()
        assert not complete or value == arguments


@given(st.sampled_from(sorted(BY_NAME)), st.text('{}[]",:a1\\ntrue<>|call_osfu. TOOLARGS\n'))
def test_any_text_is_read_without_an_error(form, text):
    whole, pieces = Read(form, [text]), Read(form, text)
    assert whole.calls == pieces.calls
    assert whole.content == pieces.content


TEMPLATES = {
    "hermes": 'return {"name": <function-name>, "arguments": <args>} within <tool_call></tool_call>',
    "llama3": "<|start_header_id|> {{ '<|python_tag|>' }}",
    "mistral": '{{ "[TOOL_CALLS][" }}',
    "mistral-args": '{{ "[TOOL_CALLS]" + name + "[ARGS]" + arguments }}',
    "deepseek": "{{'<｜tool▁call▁begin｜>' + name + '<｜tool▁sep｜>' + arguments}}",
    "deepseek-fenced": "{{'<｜tool▁call▁begin｜>' + type + '<｜tool▁sep｜>' + name + '```json'}}",
    "function-gemma": "<start_function_call>call:",
    "gemma4": "<|tool_call>call:",
    "json": "{{ messages }}",
}


@pytest.mark.parametrize(("form", "template"), TEMPLATES.items(), ids=TEMPLATES)
def test_the_template_tells_the_format(form, template):
    assert tool_format(template).name == form


def test_without_a_template_calls_are_bare_json():
    assert tool_format(None).name == "json"
    assert tool_format('<tool_call>\n<function=f> "name": ').name == "json"
    assert tool_format("<|python_tag|> <function=f>").name == "json"


TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": {
        "type": "object", "properties": {"day": {"$ref": "#/$defs/day"}, "days": {"type": "integer", "maximum": 9}},
        "required": ["day"], "$defs": {"day": {"enum": ["today", "tomorrow"]}}}}},
    {"type": "function", "function": {"name": "now"}},
]  # fmt: skip


@pytest.fixture(scope="module")
def byte_tokenizer():
    """One token a byte, as the `tokenizer` of the conftest, for all tests of this module."""
    from realizar.testing.vocabulary import tiny_tokenizer

    class Bytes:
        spec = tiny_tokenizer()

        def token_bytes(self, token_id: int) -> bytes:
            return bytes([token_id - 3]) if 3 <= token_id < 259 else self.spec.tokens[token_id].encode()

    return Bytes()


def generated(structure, tokenizer, seed: int) -> str:
    """An answer of uniformly drawn tokens."""
    matching = pytest.importorskip("realizar.structured.matcher")
    rng, matcher, data = np.random.default_rng(seed), matching.start(structure, tokenizer), bytearray()
    for _ in range(600):
        if matcher.ended:
            break
        ids = np.flatnonzero(matcher.allowed()[:300])
        token_id = int(rng.choice(ids))
        if 2 in ids:
            break
        matcher.accept(token_id)
        data += tokenizer.token_bytes(token_id)
    else:
        raise AssertionError("endless")
    return data.decode()


@pytest.mark.parametrize("form", sorted(BY_NAME))
@pytest.mark.parametrize("parallel", [False, True])
def test_an_answer_that_must_be_a_call_is_one(byte_tokenizer, form, parallel):
    pytest.importorskip("llguidance")
    structure = call_structure(BY_NAME[form], TOOLS, byte_tokenizer, parallel=parallel)
    names = set()
    for seed in range(12):
        text = generated(structure, byte_tokenizer, seed)
        read = Read(form, text)
        assert read.calls and all(complete for *_, complete in read.calls), text
        assert read.content.strip() == ""
        assert parallel or len(read.calls) == 1
        for name, arguments, _ in read.calls:
            names.add(name)
            assert name in ("weather", "now")
            if name == "weather":
                assert arguments["day"] in ("today", "tomorrow")
                assert arguments.keys() <= {"day", "days"} and arguments.get("days", 0) <= 9
            else:
                assert arguments == {}
    assert names == {"weather", "now"}


def test_a_named_tool_is_the_only_one(byte_tokenizer):
    pytest.importorskip("llguidance")
    structure = call_structure(BY_NAME["hermes"], TOOLS, byte_tokenizer, "now", parallel=False)
    text = generated(structure, byte_tokenizer, 0)
    assert re.fullmatch(r'<tool_call>\n\{"name": "now", "arguments": \{\s*\}\}\n</tool_call>', text)


@pytest.mark.parametrize("inside", [False, True])
def test_an_answer_may_think_before_its_call(byte_tokenizer, inside):
    matching = pytest.importorskip("realizar.structured.matcher")
    splitter = ReasoningSplitter.for_prompt("<think></think>", "<think>\n" if inside else "")
    structure = call_structure(BY_NAME["json"], TOOLS[1:], byte_tokenizer, thinks=splitter)
    matcher = matching.start(structure, byte_tokenizer)
    answer = ("" if inside else "<think>") + 'so {x} </thin\n</think>\n\n{"name": "now", "arguments": {}}'
    for byte in answer.encode():
        assert matcher.allowed()[3 + byte], answer
        matcher.accept(3 + byte)
    deltas = splitter.push(answer) + splitter.finish()
    assert "".join(d.text for d in deltas if isinstance(d, Reasoning)) == "so {x} </thin"
    assert Read("json", [d.text for d in deltas if isinstance(d, Content)]).calls == [("now", {}, True)]


def test_marks_that_are_control_tokens_are_written_as_such(byte_tokenizer):
    matching = pytest.importorskip("realizar.structured.matcher")

    class Marked(type(BY_NAME["gemma4"])):
        """Begins with a control token of the tiny vocabulary."""

    form = Marked("marked", "<|im_start|>", "<tool_call|>", "'")
    matcher = matching.start(call_structure(form, TOOLS[1:], byte_tokenizer), byte_tokenizer)
    assert list(np.flatnonzero(matcher.allowed())) == [1]


def test_reasoning_may_end_with_a_control_token(byte_tokenizer):
    matching = pytest.importorskip("realizar.structured.matcher")
    splitter = ReasoningSplitter(ThinkMarks("<|endoftext|>", "<|im_start|>", inside=True))
    structure = call_structure(BY_NAME["json"], TOOLS[1:], byte_tokenizer, thinks=splitter)
    matcher = matching.start(structure, byte_tokenizer)
    for token_id in [3 + ord("h"), 3 + ord("m"), 1, *(3 + b for b in b'{"name": "now"')]:
        assert matcher.allowed()[token_id]
        matcher.accept(token_id)


def test_a_model_that_repeats_itself_comes_to_an_end(byte_tokenizer):
    matching = pytest.importorskip("realizar.structured.matcher")
    matcher = matching.start(call_structure(BY_NAME["json"], TOOLS[1:], byte_tokenizer), byte_tokenizer)
    for byte in ("\n".join(['{"name": "now", "arguments": {}}'] * MAX_CALLS)).encode():
        assert not matcher.ended
        matcher.accept(3 + byte)
    assert matcher.ended


@pytest.mark.parametrize(
    ("tools", "name", "message"),
    [
        ([{"function": {"name": "f", "parameters": {"properties": {"x": {"not": {}}}}}}], None,
         "tools/0/function/parameters: json_schema: #/properties/x/not"),
        ([{"function": {"name": "f", "parameters": {"type": "array"}}}], None, "tools/0/function/parameters"),
        ([{"function": {}}], None, "tools/0: found"),
        ([], None, "tools: found 0"),
        (TOOLS, "gone", "tool_choice: found 'gone', expected one of weather, now"),
    ],
)  # fmt: skip
def test_tools_that_cannot_be_kept_are_refused(byte_tokenizer, tools, name, message):
    with pytest.raises(RequestError, match=re.escape(message)):
        call_structure(BY_NAME["hermes"], tools, byte_tokenizer, name)


def test_generated_by_a_model(llm):
    pytest.importorskip("llguidance")
    structure = call_structure(BY_NAME["hermes"], TOOLS, llm.tokenizer, "weather", parallel=False)
    done = llm.generate("x", SamplingParams(structured=structure, max_tokens=200, seed=1, temperature=1.5))
    ((name, arguments, complete),) = Read("hermes", done.text).calls
    assert (name, complete, done.finish_reason) == ("weather", True, "stop")
    assert arguments["day"] in ("today", "tomorrow")


SPLIT = [
    ("<think></think>", "", "<think>\nhm \n</think>\n\nYes", "hm", "Yes"),
    ("<think></think>", "<|im_start|>assistant\n<think>\n", "hm\nhm</think>Yes", "hm\nhm", "Yes"),
    ("<think></think>", "<think>\n", "<think>hm</think>Yes", "hm", "Yes"),
    ("<think></think>", "", "Yes <think>no</think>", "", "Yes <think>no</think>"),
    ("<think></think>", "<think></think>", "Yes", "", "Yes"),
    ("<think></think>", "<think>", "cut off </th", "cut off </th", ""),
    ("<think></think>", "", "<thin", "", "<thin"),
    ("[THINK]", "", "[THINK]a[/THINK]b", "a", "b"),
    ("<|channel>thought", "", "<|channel>thought\na<channel|>b", "a", "b"),
    ("", "", "<think>a</think>b", "", "<think>a</think>b"),
    (None, "", "b", "", "b"),
]


@pytest.mark.parametrize(("template", "prompt", "answer", "reasoning", "content"), SPLIT)
def test_reasoning(template, prompt, answer, reasoning, content):
    for pieces in ([answer], answer):
        splitter = ReasoningSplitter.for_prompt(template, prompt)
        deltas = [delta for piece in pieces for delta in splitter.push(piece)] + splitter.finish()
        assert "".join(d.text for d in deltas if isinstance(d, Reasoning)) == reasoning
        assert "".join(d.text for d in deltas if isinstance(d, Content)) == content
