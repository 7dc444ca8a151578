"""Which control tokens of a rendered prompt the template wrote, and which a message only spells.

The conversation is rendered a second time with marks around what spells a control token. Tokens that then stand in
the output without marks are the template's own. Marks that change anything but themselves are not trusted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from realizar.errors import TemplateError
from realizar.tokenizers import Tokenizer

_PRIVATE_USE = range(0xF0000, 0xFFFFE)
"""Unicode plane 15: characters without meaning, of which some that occur nowhere become the marks."""


@attrs.frozen
class Segment:
    """A piece of a prompt; with `parse_special`, a control token spelled in it becomes that token."""

    text: str
    parse_special: bool


def encode_segments(tokenizer: Tokenizer, segments: Sequence[Segment]) -> list[int]:
    """The ids of a rendered prompt; no BOS is added, since a chat template writes its own."""
    return [
        token_id
        for piece in segments
        for token_id in tokenizer.encode(piece.text, add_special_tokens=False, parse_special=piece.parse_special)
    ]


class Spellings:
    """The spellings of a vocabulary's control tokens, and how to find them, whole or cut, in a text."""

    def __init__(self, special_tokens: Sequence[str]) -> None:
        tokens = sorted({token for token in special_tokens if token}, key=len, reverse=True)
        self.any = "(?:" + "|".join(map(re.escape, tokens)) + ")" if tokens else "(?!)"
        self.whole = re.compile(self.any)
        self._tokens = tokens
        self._longest = max(map(len, tokens), default=0)
        self._beginnings = {token[:i] for token in tokens for i in range(1, len(token)) if _has_mark(token[:i])}
        self._endings = {token[i:] for token in tokens for i in range(1, len(token)) if _has_mark(token[i:])}

    def begins_inside(self, text: str) -> bool:
        """Whether `text` begins with the end of a control token, which text before it could complete."""
        return self._is_inside(text) or any(text[:size] in self._endings for size in range(1, self._longest))

    def ends_inside(self, text: str) -> bool:
        """Whether `text` ends with the beginning of a control token."""
        return self._is_inside(text) or any(text[-size:] in self._beginnings for size in range(1, self._longest))

    def _is_inside(self, text: str) -> bool:
        return len(text) < self._longest and _has_mark(text) and any(text in token for token in self._tokens)


def _has_mark(text: str) -> bool:
    """Whether punctuation is part of `text`: a mere word may be part of a token's name, but is a role or a type too."""
    return any(not character.isalnum() and character not in "_ " for character in text)


@attrs.frozen
class Marks:
    """Characters that occur nowhere else, and where they are set.

    pairs: by control token, the marks before and after it. cut: set, with edges, where a text begins or ends inside a
    token. wide: marks stand outside the white space around a token rather than next to it, so that a template that
    splits there and trims finds what it expects.
    """

    pairs: Mapping[str, tuple[str, str]]
    cut: str
    edges: bool
    wide: bool
    spellings: Spellings

    def mark(self, value: Any) -> Any:
        """Plain data with marks in its texts."""
        if isinstance(value, str):
            return self._mark_text(value)
        if isinstance(value, dict):
            return {self.mark(key): self.mark(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(map(self.mark, value))
        return value

    def _mark_text(self, text: str) -> str:
        token = f"(?P<token>{self.spellings.any})"
        # each token by itself: a template may cut between two
        marked = re.sub(rf"(?:(?<!\s)\s++)?+{token}\s*+" if self.wide else token, self._enclose, text)
        if self.edges and self.spellings.begins_inside(text):
            marked = self.cut + marked
        if self.edges and self.spellings.ends_inside(text):
            marked = marked + self.cut
        return marked

    def _enclose(self, found: re.Match[str]) -> str:
        before, after = self.pairs[found["token"]]
        return before + found[0] + after

    def unmark(self, text: str) -> str:
        """`text` without marks."""
        marks = self.cut + "".join(before + after for before, after in self.pairs.values())
        return text.translate(dict.fromkeys(map(ord, marks)))

    def unmarked_tokens(self, text: str) -> list[tuple[int, int]] | None:
        """Where in `unmark(text)` control tokens stand that their marks do not enclose, as (start, end).

        None if a token has only one of its marks beside it: the template cut there, and either reading is a guess.
        """
        gap = r"\s*+" if self.wide else ""
        befores, afters = ("".join(pair[side] for pair in self.pairs.values()) + self.cut for side in (0, 1))
        token = rf"(?:(?P<before>[{befores}]){gap})?(?P<token>{self.spellings.any})(?:{gap}(?P<after>[{afters}]))?"
        tokens, num_marks = [], 0
        for found in re.finditer(rf"{token}|[{befores}{afters}]", text):
            if found["token"] is None:
                num_marks += 1
                continue
            start = found.start("token") - num_marks - (found["before"] is not None)
            num_marks += (found["before"] is not None) + (found["after"] is not None)
            before, after = self.pairs.get(found["token"], ("", ""))
            begins, ends = found["before"] == before, found["after"] == after
            if begins != ends:
                return None
            if not begins:
                tokens.append((start, start + len(found["token"])))
        return tokens


def segment(
    context: Mapping[str, Any], render: Callable[[Mapping[str, Any]], str], spellings: Spellings
) -> list[Segment]:
    """The rendering of `context`, cut so that control tokens spelled by the context's texts are not parsed.

    Where nothing of the kind is spelled, that is one segment. Otherwise a run between two tokens of the template that
    spells one is a segment of its own: the tokenizer sees the message as whole as it would see any.
    """
    plain = render(context)
    if not spellings.whole.search(plain) or not any(map(_suspects(spellings), _texts(context))):
        return [Segment(plain, parse_special=True)]
    spelled = sorted({token for text in _texts(context) for token in spellings.whole.findall(text)})
    cut, *marks = _unused_characters(1 + 2 * len(spelled), plain, *_texts(context))
    pairs = dict(zip(spelled, zip(marks[::2], marks[1::2], strict=True), strict=True))
    for edges, wide in ((True, False), (False, False), (False, True)):
        placement = Marks(pairs, cut, edges, wide, spellings)
        try:
            marked = render(placement.mark(dict(context)))
        except TemplateError:
            continue  # the template took offence at these marks; another placement may not disturb it
        tokens = placement.unmarked_tokens(marked)
        if tokens is not None and placement.unmark(marked) == plain:
            return list(_cut(plain, tokens, spellings))
    raise TemplateError(
        f"the text of a message spells the control token {spelled[0]!r}, and this chat template rewrites that text, so "
        f"that it cannot be told from the template's own; change the message"
    )


def _cut(plain: str, tokens: Sequence[tuple[int, int]], spellings: Spellings) -> Iterator[Segment]:
    """Cut out each run between `tokens` that spells a control token."""
    parsed_from = run_from = 0
    for start, end in (*tokens, (len(plain), len(plain))):
        if spellings.whole.search(plain, run_from, start):
            if parsed_from < run_from:
                yield Segment(plain[parsed_from:run_from], parse_special=True)
            yield Segment(plain[run_from:start], parse_special=False)
            parsed_from = start
        run_from = end
    if parsed_from < len(plain):
        yield Segment(plain[parsed_from:], parse_special=True)


def _suspects(spellings: Spellings) -> Callable[[str], bool]:
    def suspect(text: str) -> bool:
        return bool(spellings.whole.search(text)) or spellings.begins_inside(text) or spellings.ends_inside(text)

    return suspect


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def _unused_characters(count: int, *texts: str) -> list[str]:
    used = {character for text in texts for character in text if ord(character) >= _PRIVATE_USE.start}
    unused = [chr(code) for code in _PRIVATE_USE if chr(code) not in used][:count]
    if len(unused) < count:
        raise TemplateError(
            f"{count} private-use characters are needed that the conversation does not use; remove some"
        )
    return unused
