"""The pieces of one request, as an iterator that cancels when it is closed."""

from __future__ import annotations

import queue
from collections.abc import Callable

from realizar.engine.result import Completion, Piece


class PieceStream:
    """Iterates over pieces as the engine emits them; the last one has the completion.

    Closing it, or letting go of it, cancels the request. An error of the request is raised by `next`.
    """

    def __init__(self) -> None:
        self.cancel: Callable[[], None] | None = None
        """What closing calls; set once there is a request to cancel."""
        self._items: queue.SimpleQueue[Piece | BaseException | None] = queue.SimpleQueue()
        self._ended = False
        self.emit = self._items.put
        """Where the engine puts pieces."""

    def __iter__(self) -> PieceStream:
        return self

    def __next__(self) -> Piece:
        if self._ended:
            raise StopIteration
        item = self._items.get()
        if item is None:
            raise StopIteration
        if isinstance(item, BaseException):
            self._ended = True
            raise item
        self._ended = item.completion is not None
        return item

    def completion(self) -> Completion:
        """Read to the end and return the completion."""
        *_, last = self
        assert last.completion is not None
        return last.completion

    def close(self) -> None:
        """Cancel the request unless it has ended; a thread that waits in `next` is let go."""
        if not self._ended and self.cancel is not None:
            self.cancel()
            self._items.put(None)
        self._ended = True

    def __del__(self) -> None:
        self.close()
