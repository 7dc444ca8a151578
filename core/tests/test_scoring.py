"""Collecting the logits of a known text."""

from __future__ import annotations

import numpy as np
import pytest

from realizar.engine.scoring import Scoring


def test_chunks_are_joined_in_order():
    scoring, rows = Scoring([4, 5, 6], 2), np.arange(6, dtype=np.float32).reshape(3, 2)
    assert scoring.sequence.every_position
    assert scoring.sequence.max_total_tokens == 3
    assert scoring.sequence.on_logits(rows[:2]) is None
    assert scoring.sequence.on_logits(rows[2:]) is None
    result = scoring.wait()
    assert result.dtype == np.float32
    assert np.array_equal(result, rows)


def test_rows_are_copied():
    scoring, rows = Scoring([4], 2), np.ones((1, 2), np.float32)
    scoring.sequence.on_logits(rows)
    rows[:] = 9
    assert scoring.wait().tolist() == [[1, 1]]


def test_an_error_is_raised():
    scoring = Scoring([4, 5], 2)
    scoring.sequence.on_logits(np.zeros((1, 2), np.float32))
    scoring.sequence.on_error(RuntimeError("device lost"))
    with pytest.raises(RuntimeError, match="device lost"):
        scoring.wait()
