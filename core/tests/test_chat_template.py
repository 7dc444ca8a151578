"""Rendering: expected texts are written out, as `transformers` renders them (compared in tests/oracles)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from realizar.chat import ChatTemplate, RenderLimits
from realizar.errors import TemplateError
from realizar.model import CONTROL, NORMAL, TokenizerSpec

CHATML = (
    "{% for message in messages %}\n"
    "    {% if loop.first and message.role != 'system' %}\n"
    "<|im_start|>system\nBe kind.<|im_end|>\n"
    "    {% endif %}\n"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' }}\n"
    "{% endfor %}\n"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HI = [{"role": "user", "content": "Hi"}]


def render(source, messages=HI, **variables) -> str:
    return ChatTemplate(source, bos_token="<s>").render(messages, **variables)


def test_chatml():
    expected = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    assert render(CHATML) == expected + "<|im_start|>assistant\n"
    assert render(CHATML, add_generation_prompt=False) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("  {% if true %}\n  x\n  {% endif %}\ny\n", "  x\ny"),  # trim_blocks, lstrip_blocks, one final newline
        ("{{ bos_token }}|{{ eos_token is defined }}", "<s>|False"),
        ("{{ tools is none and documents is none }}", "True"),
        ("{{ {'b': '<é😀>', 'a': none}|tojson }}", '{"b": "<é😀>", "a": null}'),
        ("{{ 'é'|tojson(ensure_ascii=true) }}", '"\\u00e9"'),
        ("{{ {'b': 1, 'a': [2]}|tojson(indent=1, sort_keys=true) }}", '{\n "a": [\n  2\n ],\n "b": 1\n}'),
        ("{{ [1, 2]|tojson(separators=(',', ':')) }}", "[1,2]"),
        (
            "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}"
            "{% if i > 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
            "023",
        ),
        ("{% generation %}a{% set x = 1 %}{{ x }}{% endgeneration %}{{ x }}", "a1"),
        ("{% set ns = namespace(a=1) %}{% for i in [1, 2] %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}", "4"),
        ("{{ dict(a=1).a }}{{ dict.fromkeys('ab', 0) }}", "1{'a': 0, 'b': 0}"),
        ("{% for i in [3, 1] if i > 1 %}{{ loop.length }}{{ loop.last }}{% else %}none{% endfor %}", "1True"),
        ("{% for i in missing %}x{% else %}none{% endfor %}", "none"),
        ("{% macro f(x, y='d') %}[{{ x }}{{ y }}]{% endmacro %}{{ f('a') ~ f(1, y=2) }}", "[ad][12]"),
        ("{% call(x) f() %}<{{ x }}>{% endcall %}", None),
        ("{% for x in [[1, [2]]] recursive %}{{ x if x is number else loop(x) }}{% endfor %}", "12"),
        ("{{ 'a-b-c'.split('-')[-1] }}{{ 'xax'.strip('x') }}{{ ' a '|trim }}{{ 'a,b'.replace(',', ';') }}", "caaa;b"),
        ("{{ '%s=%03d' % ('a', 7) }} {{ '%(k)s' % {'k': 1} }} {{ '%s'|format(2) }}", "a=007 1 2"),
        ("{{ '{:>4}{0}'.format('a') if false else '{0:>4}{1!r}'.format('a', 'b') }}", "   a'b'"),
        ("{{ '{k}'.format_map({'k': 1}) }}{{ ('<'|safe).upper() }}{{ ('{}'|safe).format('<') }}", "1<&lt;"),
        (
            "{{ '-'.join(messages|map(attribute='role')) }}{{ [1, 2, 3]|sum }}{{ [[1], [2]]|sum(start=[]) }}",
            "user6[1, 2]",
        ),
        (
            "{{ 'ab'|list|join('+') }}{{ 'ab'[1:] }}{{ [1, 2][::-1] }}{{ 'a' in 'cab' }}{{ (1, 2) == (1, 2) }}",
            "a+bb[2, 1]TrueTrue",
        ),
        (
            "{{ 1 < 2 < 3 }}{{ 2 ** 10 }}{{ 7 % 3 }}{{ 'ab' * 2 }}{{ [0] * 2 }}{{ 2 * 'x' }}{{ -3 * 4 }}",
            "True10241abab[0, 0]xx-12",
        ),
        (
            "{{ 'a'|center(5) }}|{{ 'a\nb'|indent(2) }}|{{ 'ab'.center(4) }}|{{ 'a\tb'.expandtabs(2) }}",
            "  a  |a\n  b| ab |a b",
        ),
        (
            "{{ [1, 2, 3]|batch(2, 'x')|list }}{{ 2.567|round(1) }}{{ [3, 1]|sort|first }}{{ 'x'|replace('x', 'yy') }}",
            "[[1, 2], [3, 'x']]2.61yy",
        ),
        ("{% filter upper %}a{{ 'b' }}{% endfilter %}{% set x %}c{% endset %}{{ x }}", "ABc"),
        ("{{ '<b>hi</b>'|striptags }}{{ 'abc'.encode().hex() }}{{ (5).to_bytes(2, 'big') }}", "hi616263b'\\x00\\x05'"),
        ("{{ 'abcabc'.translate({97: 'x'}) }}{{ [1, 2].index(2) }}{{ 'abc'.rfind('c') }}", "xbcxbc12"),
        ("{{ missing }}{{ none }}{{ true }}{{ missing|default('d') }}", "NoneTrued"),
    ],
)
def test_the_language(source, expected):
    if expected is None:
        with pytest.raises(TemplateError, match="'f' is undefined"):
            render(source)
    else:
        assert render(source) == expected


def test_strftime_now():
    before = datetime.now().strftime("%d %B %Y")
    assert render("{{ strftime_now('%d %B %Y') }}") in (before, datetime.now().strftime("%d %B %Y"))


def test_variables_reach_the_template():
    assert render("{{ enable_thinking }}{{ tools[0].name }}", enable_thinking=False, tools=[{"name": "f"}]) == "Falsef"


def test_reasoning_has_one_name():
    source = "{{ messages[0].reasoning_content }}{{ messages[0].thinking }}"
    for name in ("reasoning", "thinking", "reasoning_content"):
        assert render(source, [{"role": "assistant", "content": "", name: "r"}]) == "rr"


def test_messages_are_plain_data_and_stay_unchanged():
    class Text(str):
        def evil(self):
            return "evil"

    class Number(int):
        pass

    class Real(float):
        pass

    message = {"role": Text("user"), "content": Text("Hi"), "n": Number(3), "x": Real(0.5), "t": (1, None)}
    source = "{{ messages[0].content.evil is defined }}{{ messages[0] }}"
    expected = "False{'role': 'user', 'content': 'Hi', 'n': 3, 'x': 0.5, 't': (1, None)}"
    assert render(source, [message]) == expected
    assert isinstance(message["content"], Text)


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([{"role": "user", "content": object()}], r"messages\[0\]\.content: found a object, expected text"),
        ([{"role": "user", "content": b"x"}], "found a bytes"),
        (["Hi"], r"messages\[0\]: found a str, expected a mapping"),
    ],
)
def test_bad_messages_are_named(messages, problem):
    with pytest.raises(TemplateError, match=problem):
        render("", messages)


def test_deep_messages_are_refused():
    nested: list[object] = []
    for _ in range(5000):
        nested = [nested]
    with pytest.raises(TemplateError, match="nest deeper than 100"):
        render("", [{"role": "user", "content": nested}])


def test_raise_exception():
    with pytest.raises(TemplateError, match="rejects this conversation: roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("\n{% if %}", "not valid at line 2: TemplateSyntaxError"),
        ("{{ 'a'|nosuch }}", "not valid at line 1: .*nosuch"),
        ("{{ " + "(" * 9000, "not valid: RecursionError"),
        ("\n\n{{ missing.attribute }}", "fails at line 3: UndefinedError: 'missing' is undefined"),
        ("{{ 1 / 0 }}", "fails at line 1: ZeroDivisionError"),
        ("{% call dict() %}{% endcall %}", "fails: TypeError"),
        ("x" * 70000, "has 70000 characters, expected at most 65536"),
    ],
)
def test_a_bad_template_is_named(source, problem):
    with pytest.raises(TemplateError, match=problem):
        render(source)


def test_one_template_serves_many_threads():
    template = ChatTemplate("{% for m in messages %}{{ m.content * 3 }}{% endfor %}")
    with ThreadPoolExecutor(8) as pool:
        texts = pool.map(lambda i: template.render([{"role": "user", "content": str(i)}] * 20), range(64))
    assert list(texts) == [str(i) * 60 for i in range(64)]


def spec(**fields) -> TokenizerSpec:
    return TokenizerSpec(
        model="bpe",
        tokens=["<unk>", "<s>", "</s>", "a"],
        token_types=[CONTROL, CONTROL, CONTROL, NORMAL],
        source="tiny.gguf",
        **fields,
    )


def test_from_spec_takes_the_tokens_of_the_file():
    template = ChatTemplate.from_spec(
        spec(
            chat_template="{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", bos_token_id=1, eos_token_ids=(2,)
        )
    )
    assert template.render(HI) == "<s>Hi</s>"
    cut = template.render_segments([{"role": "user", "content": "a</s>b"}])
    assert [(piece.text, piece.parse_special) for piece in cut] == [("<s>", True), ("a</s>b", False), ("</s>", True)]


def test_a_template_is_never_guessed():
    with pytest.raises(TemplateError, match=r"tiny.gguf: has no chat template, and one is never guessed.*--raw"):
        ChatTemplate.from_spec(spec())
    named = spec(named_chat_templates={"tool_use": "T", "rag": "R"})
    with pytest.raises(TemplateError, match=r"no chat template \(it names rag, tool_use\)"):
        ChatTemplate.from_spec(named)
    assert ChatTemplate.from_spec(named, name="tool_use").render(HI) == "T"
    with pytest.raises(TemplateError, match="named 'x'"):
        ChatTemplate.from_spec(named, name="x")


def test_limits_can_be_set():
    template = ChatTemplate("{{ messages[0].content }}", limits=RenderLimits(max_chars=300))
    assert template.render([{"role": "user", "content": "x" * 100}]) == "x" * 100
    with pytest.raises(TemplateError, match="more than 300 characters"):
        template.render([{"role": "user", "content": "x" * 301}])
