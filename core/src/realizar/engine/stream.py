"""The pieces of one request, as an iterator that cancels when it is closed."""

from __future__ import annotations

import queue
from collections.abc import Callable

from realizar.engine.result import Completion, Piece


class PieceStream:
    """Iterates over pieces as the engine emits them; the last one of each choice has its completion.

    Closing it, or letting go of it, cancels the request. An error of the request is raised by `next`, and ends it.
    """

    def __init__(self, num_choices: int = 1) -> None:
        self._left = num_choices
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
            if self._left > 1:
                self.close()
            self._ended = True
            raise item
        if item.completion is not None:
            self._left -= 1
            self._ended = self._left == 0
        return item

    def completion(self) -> Completion:
        """Read to the end and return the completion, the first of several."""
        return self.completions()[0]

    def completions(self) -> list[Completion]:
        """Read to the end and return the completions of all choices, in order."""
        done = [piece.completion for piece in self if piece.completion is not None]
        return sorted(done, key=lambda completion: completion.index)

    def close(self) -> None:
        """Cancel the request unless it has ended; a thread that waits in `next` is let go."""
        if not self._ended and self.cancel is not None:
            self.cancel()
            self._items.put(None)
        self._ended = True

    def __del__(self) -> None:
        self.close()
