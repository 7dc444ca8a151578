"""What the analyser says: a class of bug, where, and what to do."""

from __future__ import annotations

from enum import IntEnum

import attrs


class Severity(IntEnum):
    """P0: results are wrong, or the kernel hangs. P1: likely wrong, or slow. P2: worth a look."""

    P0 = 0
    P1 = 1
    P2 = 2


SEVERITIES: dict[str, Severity] = {
    "EARLY_EXIT_BARRIER": Severity.P0, "MISSING_BARRIER": Severity.P0, "DIVERGENT_BARRIER": Severity.P0,
    "LOOP_BRANCH_END": Severity.P0, "SHARED_U64": Severity.P0, "INVALID_SYNTAX": Severity.P0, "NO_ENTRY": Severity.P0,
    "NO_BOUNDS_CHECK": Severity.P1, "EMPTY_LOOP": Severity.P1, "NON_INPLACE_ACCUM": Severity.P1,
    "REG_SPILLS": Severity.P1, "HIGH_REG_PRESSURE": Severity.P1, "PRED_OVERFLOW": Severity.P1,
    "PLACEHOLDER_CODE": Severity.P1, "UNCOALESCED": Severity.P1, "BANK_CONFLICT": Severity.P1,
    "REDUNDANT_MOV": Severity.P2, "UNOPT_MEM": Severity.P2, "DEAD_CODE": Severity.P2,
}  # fmt: skip
"""Every class of bug that is looked for."""


@attrs.frozen(order=True)
class Finding:
    """One of SEVERITIES, in a kernel, at a line of the text that was looked at (0: in the machine code)."""

    bug: str
    kernel: str
    line: int
    message: str

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return SEVERITIES[self.bug]
