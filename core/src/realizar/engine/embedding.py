"""One text on its way to becoming a vector."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from realizar.engine.pooling import Pooling, PoolingType
from realizar.engine.sequence import Sequence
from realizar.errors import RequestError


class Embedding:
    """Pools the hidden states of one sequence as they are computed.

    in_one_step: whether the model sees a text as a whole.
    """

    def __init__(self, token_ids: list[int], pooling: PoolingType, *, normalize: bool, in_one_step: bool) -> None:
        self._pooling = Pooling(pooling)
        self._normalize = normalize
        self._left = len(token_ids)
        self._only_last = pooling == "last"
        self._done = threading.Event()
        self._error: BaseException | None = None
        self.sequence = Sequence(
            token_ids, len(token_ids), self._on_rows, self._on_error,
            every_position=not self._only_last, in_one_step=in_one_step,
        )  # fmt: skip

    def wait(self) -> NDArray[np.float32]:
        """The vector once it is there; raises what went wrong."""
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._pooling.vector(self._normalize)

    def _on_rows(self, rows: NDArray[np.float32]) -> None:
        self._pooling.add(rows)
        self._left -= len(rows)
        if self._only_last or not self._left:
            self._done.set()

    def _on_error(self, error: BaseException) -> None:
        self._error = error
        self._done.set()


def fitted(ids: list[int], limit: int, end_ids: list[int], *, truncate: bool, which: str) -> list[int]:
    """`ids` if there are at most `limit` of them; otherwise, if asked, cut so that they still end with `end_ids`.

    which: the text, for errors. Raises RequestError for a longer text, and for one without tokens.
    """
    if not ids:
        raise RequestError(f"{which} has no tokens: there is nothing to embed")
    if len(ids) <= limit:
        return ids
    if not truncate:
        raise RequestError(
            f"{which} has {len(ids)} tokens, this model takes {limit}; "
            f"embed it in parts, or pass truncate=True (--truncate) to leave out what is beyond"
        )
    return [*ids[: limit - len(end_ids)], *end_ids]
