"""What a backend can tell about the code of one of its kernels."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from realizar.backend import Floor


@attrs.frozen
class Section:
    """A titled list of facts; a count or a measure is a number, so that scripts can compare it."""

    title: str
    facts: Mapping[str, str | int | float]


@attrs.frozen
class KernelReport:
    """A kernel as it was compiled.

    target: the instruction set or device it was compiled for. operation: what it does most, "int8" or "float32".
    operations_per_byte: of weights read from memory, a multiplication and an addition counted as two; None where
    a kernel reads no weights. assembly: its code, as a text.
    """

    name: str
    target: str
    operation: str
    sections: tuple[Section, ...]
    operations_per_byte: float | None = None
    assembly: str = attrs.field(default="", repr=False)


def roofline(report: KernelReport, floor: Floor) -> Section:
    """Which limit of the machine the kernel meets first, from the best of the floor's passes.

    Source: Williams, Waterman, Patterson, "Roofline", Communications of the ACM 52(4), 2009.
    """
    bandwidth, peak = max(floor.bytes_per_s), max(floor.int8_ops_per_s)
    facts: dict[str, str | int | float] = {"memory, GB/s": round(bandwidth / 1e9, 1)}
    if report.operations_per_byte is None:
        return Section("roofline", {**facts, "position": "unknown: it reads no weights"})
    reached = report.operations_per_byte * bandwidth
    facts["operations that memory can feed, Gop/s"] = round(reached / 1e9, 1)
    if report.operation != "int8":
        return Section("roofline", {**facts, "position": f"unknown: the peak of {report.operation} is not measured"})
    facts["int8 peak, Gop/s"] = round(peak / 1e9, 1)
    facts["operations a byte at the ridge"] = round(peak / bandwidth, 1)
    return Section("roofline", {**facts, "position": "memory bound" if reached < peak else "compute bound"})
