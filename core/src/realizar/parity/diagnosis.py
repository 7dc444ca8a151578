"""What a wrong result looks like, and what makes results look like that."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]

CAUSES: Mapping[int, str] = {
    8: "8 times too small: the accumulator is not carried on, or the tile loop ends after one of eight tiles",
    4: "4 times too small: a partial tile, a quarter of each is summed",
    2: "2 times too small: half of the iterations run",
}
"""Ratio of expected to found -> what to look for."""

STATE = "varies from run to run on the same inputs: state is left over between calls, or a race"

_SAME = 0.02
"""Relative spread within which ratios count as one."""


def diagnose(found: Rows, expected: Rows) -> str:
    """The likely cause of the difference between two results [rows, columns], in words.

    A constant ratio names its cause; otherwise the rows and columns where the results differ are named.
    """
    if not np.isfinite(found).all():
        where = np.argwhere(~np.isfinite(found))
        first = f"the first at row {where[0][0]}, column {where[0][1]}"
        return f"{len(where)} values are not finite, {first}: memory that nobody wrote, or an overflow"
    if not found.any():
        return "all zeros: the kernel did not run, or wrote elsewhere"
    ratio = _constant_ratio(found, expected)
    if ratio is not None:
        return _of_ratio(ratio)
    return _where(found, expected)


def _constant_ratio(found: Rows, expected: Rows) -> float | None:
    """expected / found, if that is one number but 1 wherever the results are large enough to tell."""
    large = (np.abs(expected) > 0.05 * np.abs(expected).max()) & (found != 0)
    if not large.any():
        return None
    ratios = expected[large].astype(np.float64) / found[large]
    middle = float(np.median(ratios))
    constant = np.mean(np.abs(ratios / middle - 1) < _SAME) > 0.9
    return middle if constant and abs(middle - 1) > _SAME else None


def _of_ratio(ratio: float) -> str:
    for known, cause in CAUSES.items():
        if abs(ratio / known - 1) < _SAME:
            return cause
    if abs(ratio + 1) < _SAME:
        return "the sign is turned"
    return f"the expected result is {ratio:.4g} times what was found, everywhere: a scale is missing or applied twice"


def _where(found: Rows, expected: Rows) -> str:
    difference = np.abs(found.astype(np.float64) - expected)
    wrong = difference > 0.05 * np.sqrt(np.mean(np.square(expected, dtype=np.float64)))
    parts = [
        f"{what} {_ranges(np.flatnonzero(wrong.any(axis=axis)))} of {wrong.shape[1 - axis]}"
        for axis, what in ((1, "rows"), (0, "columns"))
        if not wrong.any(axis=axis).all()
    ]
    if not wrong.any():
        return "small differences everywhere: precision, not structure"
    if not parts:
        return "differs everywhere and by no constant ratio: other inputs, another layout of the weights, or a race"
    return f"only {' and '.join(parts)} differ: a partial tile, or a missing bounds check"


def _ranges(indices: NDArray[np.intp]) -> str:
    """Numbers as runs: "0-3, 8, 12-15", at most four of them."""
    runs = np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1)
    texts = [f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs if len(run)]
    return ", ".join(texts[:4]) + (f" and {len(texts) - 4} runs more" if len(texts) > 4 else "")
