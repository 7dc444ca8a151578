"""How many cores this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path, PurePosixPath

CGROUPS, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Where Linux shows control groups (version 2), and to which one this process belongs."""


def available_threads(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Cores by the affinity of this process, and no more than the CPU quota of its container, rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    group = PurePosixPath(_group(membership).lstrip("/"))
    quotas = [_quota(cgroups / place / "cpu.max") for place in (group, *group.parents)]
    return max(1, math.ceil(min(cores, *quotas)))


def _group(membership: Path) -> str:
    """The path of the process's group below the mount; "/" if it has none."""
    for line in _read(membership).splitlines():
        if line.startswith("0::"):
            return line.removeprefix("0::")
    return "/"


def _quota(limit: Path) -> float:
    """Cores of a file of microseconds "quota period"; infinite if it says "max" or is not there (the root group)."""
    quota, _, period = _read(limit).partition(" ")
    return int(quota) / int(period) if quota.isdigit() else math.inf


def _read(path: Path) -> str:
    """A small file of the kernel's; empty where this kernel or container has no such file."""
    try:
        return path.read_text()
    except OSError:
        return ""
