"""The trace that a request is part of. Source: W3C Trace Context, section 3.2, version 00."""

from __future__ import annotations

import re
import secrets

import attrs

HEADER = "traceparent"

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@attrs.frozen
class TraceContext:
    """trace_id: of the whole, 32 hex digits. span_id: of our part, 16. flags: as the caller gave them, 2."""

    trace_id: str
    span_id: str
    flags: str

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def continued(header: str) -> TraceContext:
    """A new part of the trace that the header names, or the first of a new one if it names none."""
    span_id, found = secrets.token_hex(8), _FORM.fullmatch(header.strip())
    if found is None or not _is_valid(*found.groups()):
        return TraceContext(secrets.token_hex(16), span_id, "00")
    return TraceContext(found[2], span_id, f"{int(found[4], 16) & 1:02x}")


def _is_valid(version: str, trace_id: str, parent_id: str, flags: str, rest: str | None) -> bool:
    """Ids of zeros mean none; version ff is forbidden, and only later versions than ours may say more."""
    return version != "ff" and (version != "00" or rest is None) and trace_id.strip("0") != "" != parent_id.strip("0")
