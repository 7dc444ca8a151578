"""What every logits processor must show."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from realizar.sampling.processors import LogitsProcessorFactory, processed
from realizar.selection import build_tokenizer
from realizar.testing.vocabulary import tiny_tokenizer
from realizar.tokenizers import Tokenizer


class LogitsProcessorConformance:
    """Subclass it and give `make_factory`, and `make_tokenizer` where no plugin builds byte-level BPE."""

    def make_factory(self) -> LogitsProcessorFactory:
        """What the plugin registers."""
        raise NotImplementedError(f"{type(self).__name__} must give make_factory()")

    def make_tokenizer(self) -> Tokenizer:
        """The vocabulary that sequences have; a tiny one by default."""
        return build_tokenizer(tiny_tokenizer())

    def test_it_has_a_name(self) -> None:
        """A name that a request can spell."""
        name = self.make_factory().name
        assert isinstance(name, str) and name and name == name.strip(), f"name is {name!r}"

    def test_a_row_stays_a_row_of_numbers(self) -> None:
        """The same shape, no NaN, no plus infinity, and some token left; at the start and later on."""
        for outputs in ((), (5,), (5, 6, 5)):
            after = self._after(outputs, seed=len(outputs))
            assert np.isfinite(after.max()), f"after {len(outputs)} tokens no token is left"

    def test_what_is_banned_stays_banned(self) -> None:
        """A logit of minus infinity is not raised: something else has banned the token."""
        tokenizer = self.make_tokenizer()
        row = _row(tokenizer, 1)
        row[::3] = -np.inf
        after = self._run(tokenizer, (), row)
        assert np.isneginf(after[::3]).all(), "a banned token came back"

    def test_the_same_sequence_gives_the_same_logits(self) -> None:
        """Each sequence has a processor of its own, and nothing but the sequence counts."""
        first, second = self._after((5, 6), seed=2), self._after((5, 6), seed=2)
        assert np.array_equal(first, second), "two processors of one sequence differ"

    def test_sequences_do_not_know_of_each_other(self) -> None:
        """Two processors that take turns give what each gives alone."""
        tokenizer, factory = self.make_tokenizer(), self.make_factory()
        row = _row(tokenizer, 3)
        sequences = ((1, 2), (9, 9, 9))
        together = [factory.start((7,), tokenizer) for _ in sequences]
        for step in range(4):
            for processor, output in zip(together, sequences, strict=True):
                if step <= len(output):
                    found = processed(factory.name, processor, (7,), output[:step], row)
                    alone = self._run(tokenizer, output[:step], row)
                    assert np.array_equal(found, alone), f"after {output[:step]} it depends on the other sequence"

    def _after(self, outputs: tuple[int, ...], seed: int) -> NDArray[np.float32]:
        tokenizer = self.make_tokenizer()
        return self._run(tokenizer, outputs, _row(tokenizer, seed))

    def _run(self, tokenizer: Tokenizer, outputs: tuple[int, ...], row: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits for the end of a sequence, whose steps are all taken; `processed` proves shape and numbers."""
        factory = self.make_factory()
        processor = factory.start((7,), tokenizer)
        for step in range(len(outputs) + 1):
            after = processed(factory.name, processor, (7,), outputs[:step], row)
        return after


def _row(tokenizer: Tokenizer, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(len(tokenizer.spec.tokens)).astype(np.float32)
