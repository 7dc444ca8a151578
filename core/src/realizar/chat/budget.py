"""What one rendering of a hostile template may take: time, work, and the size of any value."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from itertools import chain
from types import GeneratorType
from typing import Any, NoReturn

import attrs

from realizar.errors import TemplateError

STEP = 128
"""Units of work of a loop iteration, a call, a filter or a test: about the bytes that the cheapest of them can keep."""

ITEM = 8
"""Units of an item of a collection, besides its own weight."""

MAX_INT_BITS = 4096

_VIEWS: tuple[type[Collection[Any]], ...] = (type({}.keys()), type({}.values()), type({}.items()))
_COLLECTIONS: tuple[type[Collection[Any]], ...] = (list, tuple, dict, set, frozenset, *_VIEWS)


@attrs.frozen
class RenderLimits:
    """Limits of one rendering.

    seconds: wall clock. max_chars: characters of the output and of any one value, printed.
    max_work: characters and items made or looked at, over the whole rendering; it also bounds the memory held.
    max_source_chars: characters of the template itself.
    """

    seconds: float = 5.0
    max_chars: int = 4 << 20
    max_work: int = 128 << 20
    max_source_chars: int = 64 << 10


class Budget:
    """What is left of the limits of one rendering.

    Every value that a template makes is kept within `max_chars`, as printed, *before* it is made. So no single
    operation on values can take long, and looking at the clock between operations is enough.
    """

    def __init__(self, limits: RenderLimits) -> None:
        self.limits = limits
        self._work_left = limits.max_work
        self._deadline = time.monotonic() + limits.seconds
        self._extents: dict[int, tuple[Any, int, int]] = {}

    def charge(self, units: int) -> None:
        """Spend units of work; raises TemplateError when work or time is used up."""
        self._work_left -= units
        if self._work_left < 0:
            self._refuse(f"more than {self.limits.max_work} units of work (characters and items made or looked at)")
        if time.monotonic() > self._deadline:
            self._refuse(f"more than {self.limits.seconds:g} seconds")

    def reserve(self, size: int) -> None:
        """Spend the work of making a value of `size` characters or units; raises TemplateError if it is too large."""
        if size > self.limits.max_chars:
            self._refuse(f"a value of {size} characters, more than {self.limits.max_chars}")
        self.charge(size)

    def _refuse(self, what: str) -> NoReturn:
        raise TemplateError(
            f"the chat template needs {what}; it may be hostile: look at it with `realizar inspect`, "
            f"or go without it (--raw)"
        )

    def weigh(self, value: Any) -> int:
        """The size of `value`, printed: characters of a text, 1 for a scalar, ITEM more for each item of a collection.

        An integer weighs by its digits.
        """
        return self.extent(value)[0]

    def extent(self, value: Any) -> tuple[int, int]:
        """The weight of `value` and how deep its collections nest; collections are immutable and measured once."""
        if isinstance(value, (str, bytes)):
            return len(value), 0
        if isinstance(value, int):
            return 1 + value.bit_length() // 3, 0
        if not isinstance(value, _COLLECTIONS):
            return 1, 0
        known = self._extents.get(id(value))
        if known is not None:
            return known[1:]
        return self._measure(value)

    def _measure(self, collection: Any) -> tuple[int, int]:
        self.charge(len(collection))
        weight, depth = 1 + ITEM * len(collection), 0
        is_dict = isinstance(collection, dict)
        for item in chain(collection, collection.values()) if is_dict else collection:
            item_weight, item_depth = self.extent(item)
            weight, depth = weight + item_weight, max(depth, item_depth)
            if weight > self.limits.max_chars:
                self._refuse(f"a collection that prints more than {self.limits.max_chars} characters")
        if not isinstance(collection, _VIEWS):
            # the collection is kept with its extent: an id is only unique among the living
            self._extents[id(collection)] = (collection, weight, depth + 1)
        return weight, depth + 1

    def keep(self, value: Any) -> Any:
        """`value`, new and within the limits; a generator is returned metered."""
        if isinstance(value, (str, bytes)):
            self.reserve(len(value))
        elif isinstance(value, _COLLECTIONS):
            self.weigh(value)
            self.charge(ITEM * len(value))
        elif isinstance(value, int):
            self.check_bits(value.bit_length())
        elif isinstance(value, GeneratorType):
            return self._metered(value)
        return value

    def check_bits(self, num_bits: int) -> None:
        """Raises TemplateError for an integer of so many bits."""
        if num_bits > MAX_INT_BITS:
            self._refuse(f"an integer of {num_bits} bits, more than {MAX_INT_BITS}")

    def _metered(self, items: Iterator[Any]) -> Iterator[Any]:
        for item in items:
            self.charge(ITEM)
            yield item
