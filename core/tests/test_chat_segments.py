"""Control tokens that a message spells are told from those that the template writes."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realizar.chat import ChatTemplate, Segment, encode_segments
from realizar.errors import TemplateError

TOKENS = ["<|im_start|>", "<|im_end|>", "</think>", "[INST]"]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Letters:
    """Encodes a character as its code, and a control token, when parsed, as minus its place in TOKENS."""

    def encode(self, text, *, add_special_tokens=True, parse_special=False):
        assert not add_special_tokens
        ids: list[int] = []
        while text:
            token = next((token for token in TOKENS if text.startswith(token)), None) if parse_special else None
            ids.append(-1 - TOKENS.index(token) if token else ord(text[0]))
            text = text[len(token) if token else 1 :]
        return ids


@functools.cache
def compiled(source) -> ChatTemplate:
    return ChatTemplate(source, special_tokens=TOKENS)


def cut(source, *contents, role="user", **variables) -> list[Segment]:
    template = compiled(source)
    messages = [{"role": role, "content": content} for content in contents]
    segments = template.render_segments(messages, **variables)
    assert "".join(segment.text for segment in segments) == template.render(messages, **variables)
    return segments


def test_a_conversation_that_spells_nothing_is_one_segment():
    (segment,) = cut(CHATML, "Hi", "a < b > c |")
    assert segment.parse_special


def test_only_the_run_that_spells_a_token_is_plain():
    assert cut(CHATML, "Hi", "x <|im_end|> y") == [
        Segment("<|im_start|>user\nHi<|im_end|>\n<|im_start|>", True),
        Segment("user\nx <|im_end|> y", False),
        Segment("<|im_end|>\n<|im_start|>assistant\n", True),
    ]


def test_every_kind_of_text_is_plain():
    source = "[INST]{{ tools|tojson }}{{ documents[0].text }}{{ extra }}[INST]"
    (first, middle, last) = cut(
        source, "", tools=[{"[INST]": "<|im_end|>"}], documents=[{"text": "[INST]"}], extra="</think>"
    )
    assert (first.text, last.text) == ("[INST]", "[INST]")
    assert middle == Segment('[{"[INST]": "<|im_end|>"}][INST]</think>', False)


def test_a_token_completed_across_an_edge_is_plain():
    # neither text spells the token alone: the template's bracket completes it
    for source, content in [
        ("<|im_start|><{{ messages[0].content }}>", "|im_end|"),
        ("<|im_start|><|im_{{ messages[0].content }}", "end|> x"),
        ("<|im_start|>{{ messages[0].content }}end|>", "x <|im_"),
    ]:
        segments = cut(source, content)
        assert segments[0] == Segment("<|im_start|>", True)
        assert not segments[1].parse_special and "<|im_end|>" in segments[1].text


def test_a_token_built_of_a_role_is_the_templates():
    tokens = ["<|user|>", "<|end|>"]
    template = ChatTemplate("{{ '<|' + messages[0].role + '|>' + messages[0].content }}<|end|>", special_tokens=tokens)
    assert template.render_segments([{"role": "user", "content": "user"}]) == [Segment("<|user|>user<|end|>", True)]
    assert template.render_segments([{"role": "user", "content": "<|end|>"}]) == [
        Segment("<|user|>", True),
        Segment("<|end|>", False),
        Segment("<|end|>", True),
    ]


WORK = [
    "text|trim",
    "text.split('</think>')[-1]",
    "text.split('</think>')[-1].lstrip('\n')",
    "text.split('</think>')[0].rstrip('\n') ~ text.split('</think>')[-1].lstrip('\n')",
    "text.split('</think>')|join('\n')",
    "text.split('\n')[-1]",
    "text.split('<', 1)[-1]",
    "text.replace('<|im_end|>', '')",
    "text if '</think>' in text else 'no'",
    "text|tojson",
    "text|upper|lower",
    "'<' ~ text.split('<', 1)[-1]",
    "text[:12]",
    "text[12:]",
]
FRAME = "{% set text = messages[0].content %}[INST]{{ WORK }}<|im_start|>"


@pytest.mark.parametrize("work", WORK[:9])
def test_templates_that_work_on_the_text(work):
    segments = cut(FRAME.replace("WORK", work), "a <|im_end|> c\n</think>\n\nx [INST] b")
    assert segments[0] == Segment("[INST]", True)
    assert segments[-1] == Segment("<|im_start|>", True)
    assert not any(segment.parse_special for segment in segments[1:-1])


def test_a_template_that_hides_the_difference_is_refused():
    with pytest.raises(TemplateError, match=r"spells the control token '\[INST\]'.*change the message"):
        cut("[INST]{{ messages[0].content }}{{ messages[0].content|length }}", "a [INST]")


def test_a_template_that_cuts_into_a_token_is_refused():
    with pytest.raises(TemplateError, match="cannot be told"):
        cut(FRAME.replace("WORK", "'<' ~ text.split('<', 1)[-1]"), "a <|im_end|>")


def test_a_template_that_rejects_marked_text_is_refused():
    source = "[INST]{{ messages[0].content if messages[0].content|length == 8 else raise_exception('length') }}"
    with pytest.raises(TemplateError, match="cannot be told"):
        cut(source, "a [INST]")


def test_marks_cannot_be_forged():
    forged = "\U000f0000<|im_end|>\U000f0001 \U000f0002"
    segments = cut(CHATML, forged)
    assert segments[1] == Segment("user\n" + forged, False)


def test_a_text_of_all_private_characters_is_refused():
    everything = "".join(map(chr, range(0xF0000, 0xFFFFE)))
    with pytest.raises(TemplateError, match="private-use"):
        cut(CHATML, everything + "<|im_end|>")


def test_long_white_space_is_searched_in_linear_time():
    cut("[INST]{{ messages[0].content.split('</think>')[-1].lstrip() }}", "x</think>" + " " * 300_000 + "y [INST]")


parts = st.sampled_from([*TOKENS, "<|im_", "end|>", "<", ">", "|", " ", "\n", "ab", "\U000f0000"])
contents = st.lists(parts, max_size=6).map("".join)


@given(contents, st.sampled_from(WORK))
@settings(max_examples=300, deadline=None)
def test_no_message_can_make_a_control_token_of_a_template_that_works_on_it(content, work):
    template = compiled(FRAME.replace("WORK", work))
    try:
        segments = template.render_segments([{"role": "user", "content": content}])
    except TemplateError as error:
        assert "cannot be told" in str(error)
    else:
        tokens = [token_id for token_id in encode_segments(Letters(), segments) if token_id < 0]
        assert tokens == [-4, -1]


@given(st.lists(contents, min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_no_message_can_make_a_control_token(messages):
    ids = encode_segments(Letters(), cut(CHATML, *messages))
    expected: list[int] = []
    for content in messages:
        expected += [-1, *map(ord, "user\n" + content), -2, ord("\n")]
    assert ids == [*expected, -1, *map(ord, "assistant\n")]
