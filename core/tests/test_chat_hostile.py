"""Templates that try to leave the sandbox, to burn the processor or to fill the memory: each ends in TemplateError."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from realizar.chat import ChatTemplate, RenderLimits
from realizar.errors import TemplateError

MESSAGES = [{"role": "user", "content": "hi"}]
LIMITS = RenderLimits(seconds=1.0)

HOSTILE = [
    r'{{ lipsum.__globals__["os"].popen("id").read() }}',
    r"{{ lipsum(n=100000000) }}",
    r"{{ ''.__class__.__mro__[1].__subclasses__() }}",
    r"{{ cycler.__init__.__globals__.os }}",
    r"{{ '{0.__class__.__mro__}'.format('') }}",
    r"{{ messages.append({'role':'x'}) }}",
    r"{{ messages[0].update({'role':'x'}) }}",
    r"{{ messages[0].pop('role') }}",
    r"{% set ns = namespace(__class__=1) %}",
    r"{% set ns = namespace() %}{{ ns }}",
    r"{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns.a }}",
    r"{% for x in range(1000000000) %}{% endfor %}",
    r"{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    r"{% for a in range(100000) %}{% for b in range(100000) %}{{ a }}{% endfor %}{% endfor %}",
    r"{% for a in range(100000) if not range(100000)|select('eq', -1)|list %}{% endfor %}",
    r"{{ 'a' * 1000000000 }}",
    r"{{ 1000000000 * 'a' }}",
    r"{{ [0] * 1000000000 }}",
    r"{{ (0,) * 1000000000 }}",
    r"{{ 2 ** -1000 }}{{ 10 ** 1000000 }}",
    r"{% set ns = namespace(s='a' * 1000) %}{% for i in range(100000) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    r"{% set ns = namespace(s='a' * 1000) %}{% for i in range(100000) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    r"{% set ns = namespace(s=7) %}{% for i in range(100000) %}{% set ns.s = ns.s * ns.s %}{% endfor %}",
    r"{% set ns = namespace(s=[]) %}{% for i in range(100000) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
    (
        r"{% set ns = namespace(s=[], t=[]) %}{% for i in range(70) %}{% set ns.s = [ns.s, ns.s] %}"
        r"{% set ns.t = [ns.t, ns.t] %}{% endfor %}{{ ns.s == ns.t }}"
    ),
    r"{% set ns = namespace(s=()) %}{% for i in range(70) %}{% set ns.s = (ns.s, ns.s) %}{% endfor %}{{ {ns.s: 1} }}",
    r"{% set ns = namespace(s=[]) %}{% for i in range(90000) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s|tojson }}",
    r"{% set ns = namespace(s=[]) %}{% for i in range(90000) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}",
    r"{% set ns = namespace(s={}) %}{% for i in range(100000) %}{% set ns.s = dict(a=ns.s, b=ns.s) %}{% endfor %}",
    r"{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    r"{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    (
        r"{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% else %}{{ 'a' * 1000 }}{% endif %}"
        r"{% endmacro %}{{ f(60) }}"
    ),
    r"{% block a %}{{ self.a() }}{% endblock %}",
    r"{% for x in [[1],[2]] recursive %}{{ loop([[1],[2]]) }}{% endfor %}",
    r"{{ 'a'.ljust(1000000000) }}",
    r"{{ 'a'|center(1000000000) }}",
    r"{{ 'a'.center(1000000000) }}{{ 'a'.zfill(10**9) }}",
    r"{{ ('a\n' * 1000000)|indent(1000000) }}",
    r"{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}",
    r"{{ ('a' * 1000000)|replace('a', 'b' * 1000000) }}",
    r"{{ ('a' * 1000000)|replace('', 'b' * 1000000) }}",
    r"{{ ('a' * 1000000).replace('', 'b' * 1000000) }}",
    r"{{ ('a' * 1000000).join('b' * 1000000) }}",
    r"{{ ('b' * 1000000)|join('a' * 1000000) }}",
    r"{{ (range(100000)|map('string'))|join('a' * 1000000) }}",
    r"{{ ('a' * 1000000).join(range(100000)|map('string')) }}",
    r"{{ '%1000000000d' % 1 }}",
    r"{{ '%*d' % (1000000000, 1) }}",
    r"{{ '%.1000000000f' % 1 }}",
    r"{{ ('%9999d' * 100000) % 1 }}",
    r"{{ ('%(a)s' * 100000) % {'a': 'a' * 100000} }}",
    r"{{ '%1000000000d'|format(1) }}",
    r"{{ '{:1000000000}'.format(1) }}",
    r"{{ '{:{}}'.format(1, 1000000000) }}",
    r"{{ ('{0}' * 100000).format('a' * 1000000) }}",
    r"{{ ('{0!r}' * 100000).format('a' * 1000000) }}",
    r"{{ ('\t' * 100000).expandtabs(100000) }}",
    r"{{ ('a' * 1000000).translate({97: 'b' * 1000000}) }}",
    r"{{ ('a' * 4000000).rfind('b' + 'a' * 2000000) }}",
    r"{{ ('a' * 4000000).strip('b' * 4000000 ~ 'a') }}",
    r"{{ (5).to_bytes(1000000000, 'big') }}",
    r"{{ ('<!---->' * 500000)|striptags }}",
    r"{{ (('<!---->' * 500000)|safe).striptags() }}",
    r"{{ ('a ' * 1000000)|wordwrap(1, wrapstring='b' * 1000000) }}",
    r"{{ ('http://a.b ' * 100000)|urlize(target='b' * 100000) }}",
    r"{{ range(100000)|batch(1000000000, 'x')|list }}",
    r"{{ [1]|slice(1000000000)|list }}",
    r"{{ 1|round(-1000000000) }}",
    r"{{ 1|round(1000000000, 'ceil') }}",
    r"{{ 10 ** (10 ** 10) }}",
    r"{% set a = range(100000)|map('list') %}{{ ([[1] * 30] * 10000)|sum(start=[])|length }}",
    r"{{ [1,2,3]|tojson(indent=1000000000) }}",
    r"{{ ([1]*100000)|tojson(separators=('a' * 100000, 'b')) }}",
    (
        r"{% set ns = namespace(s=[]) %}{% for i in range(900) %}{% set ns.s = [ns.s] %}{% endfor %}"
        r"{{ ([ns.s] * 400)|tojson(indent=64) }}"
    ),
    r"{% for i in range(100000) %}{% set x = ('aa ' * 1000000).split() %}{% endfor %}",
    (
        r"{% set ns = namespace(p=none, s='a' * 4000000) %}{% for i in range(100000) %}"
        r"{% set ns.p = namespace(p=ns.p, s=ns.s[1:]) %}{% endfor %}"
    ),
    (
        r"{% set ns = namespace(p=none) %}{% for i in range(100000) %}{% for j in range(100000) %}"
        r"{% set ns.p = namespace(p=ns.p) %}{% endfor %}{% endfor %}"
    ),
    (
        r"{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = ns.l + [i] %}"
        r"{% endfor %}{{ ns.l|length }}"
    ),
    r"{% set s = 'a' * 4000000 %}{% for i in range(100000) %}{{ s }}{% endfor %}",
    (
        r"{% set s %}"
        r"{% for i in range(100000) %}AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
        r"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA{% endfor %}{% endset %}{{ s|length }}"
    ),
    r"{{ strftime_now('%Y' * 100000) }}",
    r"{% for x in range(100000)|map('string')|map('center', 4000000) %}{% endfor %}",
    r"{% include 'etc/passwd' %}",
    r"{% import 'os' as os %}{{ os }}",
    r"{% extends 'x' %}",
    r"{{ (range(3)|map('string')).gi_frame.f_back }}",
    r"{{ joiner.__init__.__globals__ }}",
    r"{{ 'a'.encode().join([('b' * 4000000).encode()] * 100) }}",
    r"{% autoescape 'a'|center(1000000000) %}{% endautoescape %}",
    r"{{ raise_exception([['a' * 4000000]*1000]*1000) }}",
    r"{% filter center(1000000000) %}a{% endfilter %}",
    r"{{ dict.fromkeys(range(100000), 'a' * 1000000) }}",
    r"{{ [range(100000)|list] * 1000 }}",
]

HARMLESS = {  # what the sandbox shows of its inside: nothing
    "{{ ''|attr('__class__')|attr('__mro__') }}": "",
    "{{ self.__init__ }}{{ self._TemplateReference__context }}": "",
    "{{ raise_exception.__globals__ }}{{ {}.__class__ }}{{ [].sort }}": "",
    "{{ 'a'|center(1000000000) if false else 'fine' }}": "fine",
}


@pytest.mark.parametrize("source", HOSTILE, ids=lambda source: source[:60])
def test_hostile_template_is_refused_in_time(source):
    begin = time.monotonic()
    with pytest.raises(TemplateError):
        ChatTemplate(source, limits=LIMITS).render(MESSAGES)
    assert time.monotonic() - begin < 3


@pytest.mark.parametrize(("source", "expected"), HARMLESS.items())
def test_the_inside_is_empty(source, expected):
    assert ChatTemplate(source).render(MESSAGES) == expected


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' * 1000000000 }}",
        "{% set ns = namespace(p=none, s='a' * 1000000) %}{% for i in range(100000) %}"
        "{% set ns.p = namespace(p=ns.p, s=ns.s[1:]) %}{% endfor %}",
        "{% for i in range(100000) %}{% set x = ('aa ' * 50000).split() %}{% endfor %}",
        "{% set ns = namespace(p=none) %}{% for i in range(100000) %}{% set ns.p = namespace(p=ns.p) %}{% endfor %}"
        * 9,
    ],
)
def test_memory_is_bounded_by_the_work(source):
    limits = RenderLimits(seconds=30, max_chars=1 << 20, max_work=4 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(TemplateError, match="it may be hostile"):
            ChatTemplate(source, limits=limits).render(MESSAGES)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "source",
    [
        "{{a}}" * 13000,
        "{{" + "a~" * 16000 + "a}}",
        "{{" + "a<" * 16000 + "a}}",
        "{% if a %}" * 6000,
        "{{ a" + ".a" * 32000 + "}}",
    ],
    ids=["outputs", "concat", "compare", "nesting", "attributes"],
)
def test_compiling_a_hostile_template_ends(source):
    begin = time.monotonic()
    try:
        ChatTemplate(source).render(MESSAGES)
    except TemplateError:
        pass  # to be refused is one good end, to be rendered another
    assert time.monotonic() - begin < 20
