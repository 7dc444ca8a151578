"""Negative log-likelihoods against a sum written out here."""

from __future__ import annotations

import math

import pytest

from realizar.engine.perplexity import negative_log_likelihoods
from realizar.errors import RequestError

IDS = [0, *range(40, 60)]


def losses(llm, ids: list[int]) -> list[float]:
    """-ln softmax(logits)[next], in float64 Python."""
    found = []
    for row, following in zip(llm.logits(ids)[:-1].tolist(), ids[1:], strict=True):
        found.append(math.log(math.fsum(math.exp(x) for x in row)) - row[following])
    return found


def test_one_window(llm):
    assert negative_log_likelihoods(llm, IDS, 64) == pytest.approx(losses(llm, IDS), abs=1e-5)


@pytest.mark.parametrize("window", [2, 7, 10, 20, 21])
def test_windows_do_not_overlap(llm, window):
    """A last window of one token has nothing to judge."""
    wanted = [loss for start in range(0, len(IDS), window) for loss in losses(llm, IDS[start : start + window])]
    assert negative_log_likelihoods(llm, IDS, window) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("count", [0, 1])
def test_too_short(llm, count):
    with pytest.raises(RequestError, match=f"at least 2 tokens; the text has {count}"):
        negative_log_likelihoods(llm, IDS[:count], 64)


def test_progress(llm):
    seen: list[tuple[str, int, int]] = []
    negative_log_likelihoods(llm, IDS, 10, lambda *stage: seen.append(stage))
    assert seen == [("perplexity", 0, 21), ("perplexity", 10, 21)]
