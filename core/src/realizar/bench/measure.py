"""One measurement of one case, with the times taken on the engine's own thread."""

from __future__ import annotations

import bisect
import time
from concurrent.futures import Future

import attrs
import numpy as np

from realizar.bench.case import Case
from realizar.engine import LLM, Piece
from realizar.engine.generation import Generation
from realizar.engine.sequence import Logits, Sequence
from realizar.errors import RealizarError
from realizar.sampling import SamplingParams


@attrs.frozen
class Sample:
    """token_s: of a decode, the seconds between one token and the next, of every sequence."""

    tokens_per_s: float
    token_s: tuple[float, ...] = ()


def measure(llm: LLM, case: Case, rng: np.random.Generator) -> Sample:
    """Run the case once, on random tokens as llama-bench does."""
    ids = rng.integers(0, llm.config.vocab_size, (case.n_batch, case.n_prompt + case.start)).tolist()
    if case.n_prompt:
        return Sample(case.n_prompt / _prefill_s(llm, ids[0], case.n_depth))
    return _decode(llm, ids, case)


def _prefill_s(llm: LLM, ids: list[int], depth: int) -> float:
    """Seconds to the logits of the last id, with the first `depth` of them computed before the clock starts."""
    seconds: Future[float] = Future()
    reached: list[float] = []

    def on_logits(_: Logits) -> int | None:
        now = time.perf_counter()
        if sequence.num_computed < len(ids):
            reached.append(now)
            sequence.token_ids.extend(ids[depth:-1])
            return ids[-1]
        start = reached[0] if reached else sequence.scheduled_s
        assert start is not None
        seconds.set_result(now - start)
        return None

    sequence = Sequence(ids[:depth] or list(ids), len(ids), on_logits, seconds.set_exception)
    llm.submit(sequence)
    return seconds.result()


def _decode(llm: LLM, prompts: list[list[int]], case: Case) -> Sample:
    """`n_gen` tokens of each sequence from the moment when all have their first, sampling and text included."""
    params = SamplingParams(temperature=0.0, ignore_eos=True)
    clocks = [_Clock() for _ in prompts]
    generations = [
        Generation(prompt, params, llm.tokenizer, case.num_tokens, llm.load_s, clock.emit)
        for prompt, clock in zip(prompts, clocks, strict=True)
    ]
    llm.submit(*(generation.sequence for generation in generations))
    times = [clock.times.result() for clock in clocks]
    start = max(sequence[0] for sequence in times)
    firsts = [bisect.bisect(sequence, start) for sequence in times]
    windows = [sequence[i - 1 : i + case.n_gen] for sequence, i in zip(times, firsts, strict=True)]
    if any(len(window) <= case.n_gen for window in windows):
        raise RealizarError(
            f"{case.name}: {case.n_batch} sequences of {case.num_tokens} tokens do not fit the cache at once (or are "
            f"more than the engine runs together); choose fewer or a smaller depth"
        )
    seconds = max(window[-1] for window in windows) - start
    return Sample(case.n_batch * case.n_gen / seconds, tuple(np.diff(windows).reshape(-1).tolist()))


class _Clock:
    """Notes when each token of a generation was chosen."""

    def __init__(self) -> None:
        self._noted: list[float] = []
        self.times: Future[list[float]] = Future()

    def emit(self, item: Piece | BaseException) -> None:
        """What a Generation calls for each token, on the engine's thread."""
        if isinstance(item, BaseException):
            self.times.set_exception(item)
            return
        self._noted.append(time.perf_counter())
        if item.completion is not None:
            self.times.set_result(self._noted)
