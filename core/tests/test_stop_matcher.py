"""Stop strings in pieces against `str.find` on the whole text."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from realizar.sampling import StopMatcher


def feed(stops, pieces) -> tuple[str, str | None]:
    matcher = StopMatcher(stops)
    text = ""
    for piece in pieces:
        emitted, matched = matcher.push(piece)
        text += emitted
        if matched is not None:
            return text, matched
    return text + matcher.finish(), None


def whole(stops, text) -> tuple[str, str | None]:
    """By definition: the stop that is complete first, and of those the longest."""
    ends = [(text.find(stop) + len(stop), -len(stop), stop) for stop in stops if stop in text]
    if not ends:
        return text, None
    end, _, stop = min(ends)
    return text[: end - len(stop)], stop


def test_holds_back_only_what_may_become_a_stop():
    matcher = StopMatcher(["</s>"])
    assert matcher.push("ab<") == ("ab", None)
    assert matcher.push("/x") == ("</x", None)
    assert matcher.push("</s") == ("", None)
    assert matcher.push("> tail") == ("", "</s>")
    assert matcher.finish() == ""


def test_a_held_beginning_is_flushed_at_the_end():
    matcher = StopMatcher(["###"])
    assert matcher.push("a##") == ("a", None)
    assert matcher.finish() == "##"
    assert matcher.finish() == ""


def test_no_stops_hold_nothing_back():
    assert StopMatcher([]).push("text") == ("text", None)


def test_overlapping_stops_do_not_depend_on_the_cut():
    for pieces in (["abcd"], ["abc", "d"], list("abcd")):
        assert feed(["abcd", "bc"], pieces) == ("a", "bc")
    assert feed(["b", "ab"], ["a", "b"]) == ("", "ab")


small = st.text("ab", max_size=12)


@given(st.lists(st.text("ab", min_size=1, max_size=4), max_size=3), st.lists(small, max_size=6))
@settings(max_examples=500, deadline=None)
def test_pieces_equal_the_whole_text(stops, pieces):
    assert feed(stops, pieces) == whole(stops, "".join(pieces))
