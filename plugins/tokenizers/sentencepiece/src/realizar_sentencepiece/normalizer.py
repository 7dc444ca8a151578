"""What a text becomes before it is segmented: characters replaced, spaces thinned out, added and escaped.

Source: SentencePiece's `normalizer.cc`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from realizar.added_tokens import AddedTokens
from realizar.model import TokenizerSpec
from realizar.pipeline.charsmap import read_rules
from realizar_sentencepiece.words import SPACE

_RUN_OF_SPACES = re.compile("  +")

_FIRST_BEYOND_BMP = "\U00010000"
"""`re` looks up characters before this one in a table; from it on, it tries ranges one after the other."""


class Normalizer:
    """The normalization that a specification asks for. user_defined: text -> id of what it must leave alone."""

    def __init__(self, spec: TokenizerSpec, user_defined: Mapping[str, int]) -> None:
        self._spec = spec
        self._user_defined = AddedTokens(user_defined, spec.source)
        rules = read_rules(spec.precompiled_charsmap or b"", spec.source)
        self._replacements = Replacements(rules)
        spaces = {" ", *(key for key, text in rules.items() if text == " ")} if spec.remove_extra_whitespaces else set()
        self._nothing = re.compile(f"(?:{_any_of(spaces)})*+")

    def __call__(self, text: str, *, prefix: bool) -> str:
        """`text` with its spaces escaped. prefix: add the space of `add_space_prefix` if the file asks for it."""
        if self._nothing.fullmatch(text):
            return ""
        parts = self._thinned(text) if self._spec.remove_extra_whitespaces else self._replaced(text)
        body = "".join(parts).replace(" ", SPACE)
        space = SPACE if prefix and self._spec.add_space_prefix else ""
        is_suffix = self._spec.treat_whitespace_as_suffix
        normalized = body if is_suffix else space + body
        if self._spec.remove_extra_whitespaces:
            normalized = normalized.rstrip(SPACE)
        return normalized + space if is_suffix else normalized

    def _replaced(self, text: str) -> Iterator[str]:
        """The parts of `text`, all but user-defined tokens normalized."""
        for part in self._user_defined.split(text):
            yield self._spec.tokens[part] if isinstance(part, int) else self._replacements(part)

    def _thinned(self, text: str) -> Iterator[str]:
        """The same without spaces at the start or after spaces."""
        after_space = True
        for part in self._user_defined.split(text):
            if isinstance(part, int):
                piece = self._spec.tokens[part]
            else:
                piece = _RUN_OF_SPACES.sub(" ", self._replacements(part))
            if after_space:
                piece = piece.lstrip(" ")
            if piece:
                yield piece
                after_space = piece.endswith(" ")


class Replacements:
    """Replaces, at each place in turn, the longest text for which there is a rule.

    There may be 200,000 rules, few of which a text can meet: the pattern is made of those whose characters it has.
    Most short texts have no character that is alone, or second, in a rule, and so nothing to replace.
    """

    def __init__(self, rules: Mapping[str, str]) -> None:
        self._rules = rules
        self._single = {key for key in rules if len(key) == 1}
        self._longer: dict[str, list[str]] = {}
        for key in rules:
            if len(key) > 1:
                self._longer.setdefault(key[1], []).append(key)
        telling = {min(char, _FIRST_BEYOND_BMP) for char in self._single | self._longer.keys()}
        beyond = f"{_FIRST_BEYOND_BMP}-\U0010ffff" if _FIRST_BEYOND_BMP in telling else ""
        self._telling = re.compile(f"[{re.escape(''.join(sorted(telling)))}{beyond}]" if telling else "(?!)")

    def __call__(self, text: str) -> str:
        """`text` with everything replaced; linear in its length."""
        if not self._telling.search(text):
            return text
        present = set(text)
        longer = (key for char in present & self._longer.keys() for key in self._longer[char])
        found = [*filter(present.issuperset, longer), *(present & self._single)]
        if not found:
            return text
        return re.compile(_any_of(found)).sub(lambda match: self._rules[match.group()], text)


def _any_of(texts: Collection[str]) -> str:
    """A pattern for the longest of `texts` that matches; the single characters in one class, which is fastest."""
    choices = [re.escape(text) for text in sorted(texts, key=len, reverse=True) if len(text) > 1]
    single = "".join(sorted(text for text in texts if len(text) == 1))
    if single:
        choices.append(f"[{re.escape(single)}]")
    return "|".join(choices)
