"""One vector of many, however they come in chunks."""

from __future__ import annotations

import numpy as np
import pytest

from realizar.engine.embedding import Embedding, fitted
from realizar.engine.pooling import Pooling, PoolingType
from realizar.errors import RequestError

ROWS = np.array([[3.0, 1.0], [0.0, 5.0], [6.0, 0.0]], np.float32)
EXPECTED: dict[PoolingType, list[float]] = {"mean": [3.0, 2.0], "cls": [3.0, 1.0], "last": [6.0, 0.0]}


@pytest.mark.parametrize("kind", EXPECTED)
@pytest.mark.parametrize("cuts", [[], [1], [2], [1, 2]])
def test_chunks(kind: PoolingType, cuts: list[int]) -> None:
    pooling = Pooling(kind)
    for rows in np.split(ROWS, cuts):
        mine = rows.copy()
        pooling.add(mine)
        mine[:] = np.nan  # the engine's next step writes over it
    vector = pooling.vector(normalize=False)
    assert vector.dtype == np.float32
    assert vector.tolist() == EXPECTED[kind]
    length = np.hypot(*EXPECTED[kind])
    np.testing.assert_allclose(pooling.vector(normalize=True), np.array(EXPECTED[kind]) / length, rtol=1e-6)


def test_a_vector_of_zeros_stays_one() -> None:
    pooling = Pooling("mean")
    pooling.add(np.zeros((2, 3), np.float32))
    assert pooling.vector(normalize=True).tolist() == [0, 0, 0]


def test_an_embedding_is_there_after_its_last_row() -> None:
    embedding = Embedding([4, 5, 6], "mean", normalize=False, in_one_step=False)
    assert embedding.sequence.every_position
    assert embedding.sequence.on_logits(ROWS[:2]) is None
    assert not embedding._done.is_set()
    embedding.sequence.on_logits(ROWS[2:])
    assert embedding.wait().tolist() == [3.0, 2.0]


def test_only_the_last_row_is_asked_for_where_it_is_enough() -> None:
    embedding = Embedding([4, 5, 6], "last", normalize=False, in_one_step=True)
    assert (embedding.sequence.every_position, embedding.sequence.in_one_step) == (False, True)
    embedding.sequence.on_logits(ROWS[2:])
    assert embedding.wait().tolist() == [6.0, 0.0]


def test_an_error_is_raised() -> None:
    embedding = Embedding([4], "cls", normalize=False, in_one_step=True)
    embedding.sequence.on_error(RuntimeError("device lost"))
    with pytest.raises(RuntimeError, match="device lost"):
        embedding.wait()


def test_what_does_not_fit_is_cut_only_if_asked() -> None:
    ids = [1, 10, 11, 12, 2]
    assert fitted(ids, 5, [2], truncate=False, which="it") == ids
    assert fitted(ids, 4, [2], truncate=True, which="it") == [1, 10, 11, 2]
    assert fitted(ids, 4, [], truncate=True, which="it") == [1, 10, 11, 12]
    with pytest.raises(RequestError, match=r"it has 5 tokens, this model takes 4; .*truncate=True \(--truncate\)"):
        fitted(ids, 4, [2], truncate=False, which="it")
    with pytest.raises(RequestError, match="it has no tokens"):
        fitted([], 4, [2], truncate=True, which="it")
