"""Structuring attrs classes from files: no unknown keys, no conversion of one type into another."""

from __future__ import annotations

from typing import Any, TypeVar

import cattrs
from cattrs.v import format_exception

T = TypeVar("T")


def structure(values: object, kind: type[T]) -> T:
    """An instance of the attrs class `kind`; raises ValueError that names every wrong key and what was found."""
    if not isinstance(values, dict):
        raise ValueError(f"expected a table, found {values!r:.80}")
    try:
        return _converter.structure(values, kind)
    except cattrs.ClassValidationError as error:
        raise ValueError("; ".join(cattrs.transform_error(error, format_exception=_describe))) from error


def _same_type(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, found {value!r:.80}")
    return value


def _describe(error: BaseException, kind: type | None) -> str:
    """The words of our own checks and of attrs' validators, which cattrs would cut to 'invalid value'."""
    return str(error.args[0]) if isinstance(error, (TypeError, ValueError)) else format_exception(error, kind)


_converter = cattrs.Converter(forbid_extra_keys=True)
_converter.register_structure_hook(int, _same_type)
_converter.register_structure_hook(str, _same_type)
