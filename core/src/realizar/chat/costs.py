"""What operators, methods and filters that make much out of little will cost, charged before they run.

Whatever is not named here makes and looks at no more than a small multiple of what it is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from realizar.chat.budget import ITEM, STEP, Budget

_TEXTS = (str, bytes)
_SEQUENCES = (str, bytes, list, tuple)

# a width and a precision stand right before the conversion's letter; anchored so that the search is linear
_PERCENT_NUMBERS = re.compile(r"(?:(?<!\d)(\d++)|(\*))(?:\.(\d++|\*)?)?[hlL]?[a-zA-Z%]|\.(\d++|\*)[hlL]?[a-zA-Z%]")
_NUMBERS = re.compile(r"\d+")


@attrs.frozen
class Arguments:
    """The arguments of a call, each found by place or by name."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def get(self, index: int, name: str, default: Any = None) -> Any:
        """The argument at `index` or called `name`."""
        return self.args[index] if index < len(self.args) else self.kwargs.get(name, default)

    def size(self, index: int, name: str, default: int = 0) -> int:
        """An argument that stands for so many characters or items."""
        return as_size(self.get(index, name, default))

    def values(self) -> tuple[Any, ...]:
        """All arguments, without the compiler's own (`_loop_vars`, `_block_vars`)."""
        return (*self.args, *(value for name, value in self.kwargs.items() if not name.startswith("_")))


def as_size(value: Any) -> int:
    """A number taken as a size, 0 for what is no number: the operation itself will refuse that."""
    if isinstance(value, int):
        return max(value, 0)
    return int(min(value, 2.0**62)) if isinstance(value, float) and value > 0 else 0


# ---- operators


def charge_operator(budget: Budget, operator: str, left: Any, right: Any) -> None:
    """Charge `left operator right`."""
    budget.charge(STEP)
    if operator == "%" and isinstance(left, _TEXTS):
        charge_percent(budget, left, right)
    elif operator == "+" and isinstance(left, _TEXTS):
        budget.reserve(len(left) + budget.weigh(right))
    elif operator == "*" and isinstance(left, _SEQUENCES):
        budget.reserve(budget.weigh(left) * as_size(right))
    elif operator == "*" and isinstance(right, _SEQUENCES):
        budget.reserve(budget.weigh(right) * as_size(left))
    elif isinstance(left, int) and isinstance(right, int):
        _check_bits(budget, operator, left, right)


def _check_bits(budget: Budget, operator: str, left: int, right: int) -> None:
    if operator == "*":
        budget.check_bits(left.bit_length() + right.bit_length())
    elif operator == "**" and abs(left) > 1 and right > 0:
        budget.check_bits(left.bit_length() * right)


def charge_percent(budget: Budget, text: Any, values: Any) -> None:
    """Charge printf-style formatting: all widths and precisions, and each value as often as it may be used."""
    pattern = text if isinstance(text, str) else text.decode("latin-1")
    budget.charge(len(pattern))
    star = max((as_size(value) for value in values), default=0) if isinstance(values, tuple) else as_size(values)
    numbers = (number for match in _PERCENT_NUMBERS.findall(pattern) for number in match if number)
    widths = sum(star if number == "*" else int(number[:19]) for number in numbers)
    uses = pattern.count("%") if isinstance(values, Mapping) else 1
    budget.reserve(len(pattern) + widths + uses * budget.weigh(values))


def charge_field(budget: Budget, value: Any, spec: str) -> None:
    """Charge one replacement field of `str.format`: width and precision, and the value."""
    budget.charge(STEP)
    budget.reserve(budget.weigh(value) + sum(int(number[:19]) for number in _NUMBERS.findall(spec)))


# ---- methods and filters; `value` is the owner of the method, or what stands left of the bar


def _linear(budget: Budget, value: Any, call: Arguments) -> None:
    budget.charge(budget.weigh(value) + sum(map(budget.weigh, call.values())))


def _arguments_only(budget: Budget, value: Any, call: Arguments) -> None:
    budget.charge(sum(map(budget.weigh, call.values())))


def _free(budget: Budget, value: Any, call: Arguments) -> None:
    """What takes as long for a long text as for a short one."""


def _product(budget: Budget, value: Any, call: Arguments) -> None:
    """Strips and searches from the right may compare every character with every character of the argument."""
    budget.charge(budget.weigh(value) * max([1, *map(budget.weigh, call.values())]))


def _squared(budget: Budget, value: Any, call: Arguments) -> None:
    """Rewriting that may copy the whole text for each of its parts."""
    budget.charge(sum(map(budget.weigh, (value, *call.values()))) ** 2 // 16)


def _translate(budget: Budget, value: Any, call: Arguments) -> None:
    budget.reserve(budget.weigh(value) * sum(map(budget.weigh, call.values())))


def _width(budget: Budget, value: Any, call: Arguments) -> None:
    budget.reserve(budget.weigh(value) + call.size(0, "width", 80))


def _expandtabs(budget: Budget, value: Any, call: Arguments) -> None:
    tabs = value.count("\t" if isinstance(value, str) else b"\t")
    budget.reserve(len(value) + tabs * call.size(0, "tabsize", 8))


def _to_bytes(budget: Budget, value: Any, call: Arguments) -> None:
    budget.reserve(call.size(0, "length", 1))


def _replace(budget: Budget, value: Any, call: Arguments) -> None:
    old, new, weight = call.get(0, "old"), call.get(1, "new"), budget.weigh(value)
    is_plain = isinstance(value, _TEXTS) and type(old) is type(value)
    # what is not a text is printed before the replacement: then only its weight bounds the matches
    num_matches = value.count(old) if is_plain else weight + 1
    budget.charge(weight)
    budget.reserve(weight + num_matches * budget.weigh(new))


def _join_method(budget: Budget, value: Any, call: Arguments) -> None:
    _join(budget, call.get(0, "iterable", ()), Arguments((value,), {}))


def _join(budget: Budget, value: Any, call: Arguments) -> None:
    num_items = len(value) if hasattr(type(value), "__len__") else 1
    budget.reserve(budget.weigh(value) + num_items * budget.weigh(call.get(0, "d", "")))


def _indent(budget: Budget, value: Any, call: Arguments) -> None:
    width = call.get(0, "width", 4)
    num_lines = 2 + (value.count("\n") if isinstance(value, str) else 0)
    budget.reserve(budget.weigh(value) + num_lines * (len(width) if isinstance(width, str) else as_size(width)))


def _format(budget: Budget, value: Any, call: Arguments) -> None:
    budget.charge(budget.weigh(value))
    charge_percent(budget, str(value), call.kwargs or call.args)


def _sizes(budget: Budget, value: Any, call: Arguments) -> None:
    """Each number stands for as many items."""
    budget.reserve(sum(as_size(size) for size in call.values()))
    _linear(budget, value, call)


def _round(budget: Budget, value: Any, call: Arguments) -> None:
    precision = call.get(0, "precision", 0)
    budget.check_bits(4 * abs(precision) if isinstance(precision, int) else 0)


def _sum(budget: Budget, value: Any, call: Arguments) -> None:
    """Lists can be summed too, and each partial sum is a copy."""
    num_items = len(value) if hasattr(type(value), "__len__") else 1
    is_numbers = isinstance(call.get(1, "start", 0), (int, float))
    budget.charge(num_items * (ITEM if is_numbers else budget.weigh(value)))


def _tojson(budget: Budget, value: Any, call: Arguments) -> None:
    weight, depth = budget.extent(value)
    indent = call.get(1, "indent")
    step = len(indent) if isinstance(indent, str) else as_size(indent)
    budget.reserve(weight + weight // ITEM * ((depth + 1) * step + budget.weigh(call.get(2, "separators", ""))))


_Cost = Callable[[Budget, Any, Arguments], None]

_TEXT_METHODS: dict[str, _Cost] = {
    **dict.fromkeys(("center", "ljust", "rjust", "zfill"), _width),
    **dict.fromkeys(("rfind", "rindex", "rsplit", "rpartition", "strip", "lstrip", "rstrip"), _product),
    **dict.fromkeys(("startswith", "endswith"), _arguments_only),
    "expandtabs": _expandtabs,
    "join": _join_method,
    "replace": _replace,
    "striptags": _squared,
    "translate": _translate,
}

_FILTERS: dict[str, _Cost] = {
    **dict.fromkeys(("default", "d", "length", "count", "first", "last", "string", "safe"), _free),
    **dict.fromkeys(("batch", "slice"), _sizes),
    **dict.fromkeys(("pprint", "striptags", "urlize", "wordwrap", "xmlattr"), _squared),
    "center": _width,
    "format": _format,
    "indent": _indent,
    "join": _join,
    "replace": _replace,
    "round": _round,
    "sum": _sum,
    "tojson": _tojson,
    "trim": _product,
}


def charge_method(budget: Budget, owner: Any, name: str, call: Arguments) -> None:
    """Charge a call of the method `name` of a text or an integer; other owners' methods are charged by result."""
    if isinstance(owner, _TEXTS):
        _TEXT_METHODS.get(name, _linear)(budget, owner, call)
    elif isinstance(owner, int) and name == "to_bytes":
        _to_bytes(budget, owner, call)
    elif isinstance(owner, (list, tuple, range)):
        _linear(budget, owner, call)


def charge_filter(budget: Budget, name: str, value: Any, call: Arguments) -> None:
    """Charge a filter."""
    _FILTERS.get(name, _linear)(budget, value, call)


def materialize(budget: Budget, value: Any) -> Any:
    """An iterator as a list, so that it can be weighed before it is consumed; anything else as it is."""
    return budget.keep(list(value)) if hasattr(type(value), "__next__") else value
