"""Stop strings in a text that arrives in pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """Passes a text through until one of `stops` is complete, holding back only what may yet become one.

    The match is the one that ends first; of those that end together, the longest. So the result does not depend
    on how the text was cut into pieces.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._longest = max(map(len, stops), default=0)
        self._held = ""

    def push(self, text: str) -> tuple[str, str | None]:
        """The text that became certain, and the stop string that ended it, if one did.

        The text excludes the stop string. After a match the matcher is spent: what follows is not to be pushed.
        """
        buffer = self._held + text
        found = [(start + len(stop), start, stop) for stop in self._stops if (start := buffer.find(stop)) >= 0]
        if found:
            _, start, stop = min(found)
            self._held = ""
            return buffer[:start], stop
        certain = len(buffer) - self._num_held(buffer)
        self._held = buffer[certain:]
        return buffer[:certain], None

    def finish(self) -> str:
        """What was held back, once no more text will come."""
        held, self._held = self._held, ""
        return held

    def _num_held(self, buffer: str) -> int:
        """How many trailing characters are the beginning of a stop string."""
        for size in range(min(self._longest - 1, len(buffer)), 0, -1):
            tail = buffer[-size:]
            if any(stop.startswith(tail) for stop in self._stops):
                return size
        return 0
