"""What every tokenizer must show, on texts made to trip it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from realizar.errors import TokenizerError
from realizar.model import CONTROL
from realizar.testing.strategies import reproducible, token_texts
from realizar.tokenizers import Tokenizer

REPLACEMENT = "\ufffd"

TEXTS = (
    "", " ", "Hello, world!", "  two  spaces\n\n\tand a tab ", "1234567890", "don't we'll I'D",
    "naïve café 漢字かな 한글 हिन्दी العربية", "👩\u200d👩\u200d👧\u200d👦🇩🇪👍🏽", 
    "e\u0301 \u00a0\u2028\ufeff", "\x00\x7f\x1b[0m", "a" * 300,
)  # fmt: skip
"""Texts that every run tries beside the generated ones."""


class TokenizerConformance:
    """Subclass it and give `make_tokenizer`."""

    reversible: ClassVar[bool] = True
    """Whether `decode(encode(text))` is `text`: no normalization, nothing unknown."""

    alphabet: ClassVar[str | None] = None
    """The only characters the vocabulary can spell; None for all of Unicode."""

    max_examples: ClassVar[int] = 100
    """Generated texts that each property is tried on."""

    def make_tokenizer(self) -> Tokenizer:
        """A tokenizer as its plugin builds it."""
        raise NotImplementedError(f"{type(self).__name__} must give make_tokenizer()")

    def test_ids_are_in_the_vocabulary(self) -> None:
        """`encode` gives plain ints from 0 to the vocabulary's size."""
        tokenizer, size = self._tokenizer()

        def check(text: str) -> None:
            for special in (False, True):
                ids = tokenizer.encode(text, parse_special=special)
                assert isinstance(ids, list)
                assert all(type(i) is int and 0 <= i < size for i in ids), (
                    f"{text!r}: ids {ids}, expected 0 to {size - 1}"
                )

        self._for_texts(check)

    def test_round_trip(self) -> None:
        """`decode` undoes `encode`."""
        if not self.reversible:
            pytest.skip("the tokenizer is not declared reversible")
        tokenizer, _ = self._tokenizer()

        def check(text: str) -> None:
            ids = tokenizer.encode(text, add_special_tokens=False)
            decoded = tokenizer.decode(ids)
            assert decoded == text, f"{text!r} came back as {decoded!r}"
            spelled = b"".join(map(tokenizer.token_bytes, ids))
            assert spelled == text.encode(), f"{text!r}: token_bytes give {spelled!r}"

        self._for_texts(check)

    def test_encode_is_a_function(self) -> None:
        """The same text gives the same ids, also from another instance."""
        (tokenizer, _), (other, _) = self._tokenizer(), self._tokenizer()

        def check(text: str) -> None:
            assert tokenizer.encode(text) == tokenizer.encode(text) == other.encode(text)

        self._for_texts(check)

    def test_no_text_no_ids(self) -> None:
        """The empty text has no tokens of its own, and no ids decode to it."""
        tokenizer, _ = self._tokenizer()
        assert tokenizer.encode("", add_special_tokens=False) == []
        assert tokenizer.decode([]) == ""
        assert tokenizer.stream().finish() == ""

    @pytest.mark.parametrize("skip_special_tokens", [True, False])
    def test_stream_equals_whole(self, skip_special_tokens: bool) -> None:
        """Pieces of a stream, the last one from `finish`, join to `decode` of all ids, for any ids."""
        tokenizer, size = self._tokenizer()

        def check(ids: list[int]) -> None:
            pieces = self._pieces(tokenizer, ids, skip_special_tokens)
            assert "".join(pieces) == tokenizer.decode(ids, skip_special_tokens=skip_special_tokens), f"ids {ids}"

        self._examples(st.lists(st.integers(0, size - 1), max_size=20), check)

    def test_stream_never_splits_a_character(self) -> None:
        """Every piece of a streamed text is text: no U+FFFD where a character's bytes lie in several tokens."""
        tokenizer, _ = self._tokenizer()

        def check(text: str) -> None:
            if REPLACEMENT in text:
                return
            ids = tokenizer.encode(text, add_special_tokens=False)
            *pushed, rest = self._pieces(tokenizer, ids, True)
            assert REPLACEMENT not in "".join(pushed) + rest, f"{text!r} streamed as {[*pushed, rest]}"
            assert not rest, f"{text!r}: {rest!r} came only with finish()"

        self._for_texts(check)

    def test_streams_do_not_share_state(self) -> None:
        """Two streams pushed in turn give what each gives alone."""
        tokenizer, _ = self._tokenizer()
        ids = tokenizer.encode(self._spellable("naïve 漢字 👍🏽"), add_special_tokens=False)
        first, second = tokenizer.stream(), tokenizer.stream()
        joined = ["", ""]
        for left, right in zip(ids, reversed(ids), strict=True):
            joined[0] += first.push(left)
            joined[1] += second.push(right)
        joined[0] += first.finish()
        joined[1] += second.finish()
        assert joined == [tokenizer.decode(ids), tokenizer.decode(ids[::-1])]

    def test_control_tokens_need_parse_special(self) -> None:
        """Text that spells a control token becomes that token with `parse_special` and only then."""
        tokenizer, _ = self._tokenizer()
        controls = self._controls(tokenizer)
        for spelling, token_id in controls.items():
            text = f"a{spelling}b"
            assert token_id in tokenizer.encode(text, parse_special=True, add_special_tokens=False), text
            plain = tokenizer.encode(text, add_special_tokens=False)
            assert not set(plain) & set(controls.values()), (
                f"{text!r} gave control tokens without parse_special: {plain}"
            )

    def test_control_tokens_are_skipped(self) -> None:
        """`decode` leaves control tokens out unless told otherwise; `token_bytes` always spells them."""
        tokenizer, _ = self._tokenizer()
        for spelling, token_id in self._controls(tokenizer).items():
            assert tokenizer.decode([token_id]) == ""
            assert tokenizer.decode([token_id], skip_special_tokens=False) == spelling
            assert tokenizer.token_bytes(token_id) == spelling.encode()

    def test_special_tokens_around_a_text(self) -> None:
        """`add_special_tokens` adds BOS and EOS as the specification's flags say, and nothing else."""
        tokenizer, _ = self._tokenizer()
        spec, text = tokenizer.spec, self._spellable("Hello")
        before = [spec.bos_token_id] if spec.add_bos_token else []
        after = [spec.eos_token_ids[0]] if spec.add_eos_token else []
        plain = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.encode(text, add_special_tokens=True) == [*before, *plain, *after]

    def test_bad_ids(self) -> None:
        """An id outside the vocabulary is a TokenizerError wherever it is given."""
        tokenizer, size = self._tokenizer()
        for bad in (-1, size, 1 << 40):
            uses: tuple[Callable[[int], Any], ...] = (
                tokenizer.token_bytes, tokenizer.stream().push, lambda i: tokenizer.decode([i])
            )  # fmt: skip
            for use in uses:
                with pytest.raises(TokenizerError, match=str(bad)):
                    use(bad)

    def _tokenizer(self) -> tuple[Tokenizer, int]:
        tokenizer = self.make_tokenizer()
        return tokenizer, len(tokenizer.spec.tokens)

    def _controls(self, tokenizer: Tokenizer) -> dict[str, int]:
        """Control tokens by their spelling; skips the test if there are none."""
        types = tokenizer.spec.token_types or ()
        controls = {tokenizer.spec.tokens[i]: i for i, kind in enumerate(types) if kind == CONTROL}
        if not controls:
            pytest.skip("the vocabulary has no control tokens")
        return controls

    def _pieces(self, tokenizer: Tokenizer, ids: Sequence[int], skip_special_tokens: bool) -> list[str]:
        stream = tokenizer.stream(skip_special_tokens=skip_special_tokens)
        return [*map(stream.push, ids), stream.finish()]

    def _spellable(self, text: str) -> str:
        """`text` without the characters that the vocabulary lacks."""
        return text if self.alphabet is None else "".join(c for c in text if c in self.alphabet)

    def _for_texts(self, check: Callable[[str], None]) -> None:
        for text in TEXTS:
            check(self._spellable(text))
        self._examples(token_texts() if self.alphabet is None else st.text(self.alphabet), check)

    def _examples(self, strategy: SearchStrategy[Any], check: Callable[[Any], None]) -> None:
        @reproducible(self.max_examples)
        @given(strategy)
        def examples(value: Any) -> None:
            check(value)

        examples()
