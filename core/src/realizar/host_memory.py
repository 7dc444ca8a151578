"""How much memory this process may still take."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

MEMINFO = Path("/proc/meminfo")
CGROUPS, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Where Linux shows control groups (version 2), and to which one this process belongs."""


def available_memory(meminfo: Path = MEMINFO, cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int | None:
    """Bytes that can be had without swapping, within the limits of this process's control groups; None if unknown."""
    found = [_available(meminfo), *(_left(cgroups / place) for place in _groups(membership))]
    known = [nbytes for nbytes in found if nbytes is not None]
    return max(0, min(known)) if known else None


def _available(meminfo: Path) -> int | None:
    """MemAvailable, which counts what the page cache would give back. Source: proc_meminfo(5)."""
    for line in _read(meminfo).splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None


def _groups(membership: Path) -> list[PurePosixPath]:
    """This process's group below the mount and all above it."""
    for line in _read(membership).splitlines():
        if line.startswith("0::"):
            group = PurePosixPath(line.removeprefix("0::").lstrip("/"))
            return [group, *group.parents]
    return [PurePosixPath()]


def _left(group: Path) -> int | None:
    """What a group's limit leaves; its page cache can be taken back. Source: the kernel's cgroup-v2 document."""
    limit, used = _read(group / "memory.max").strip(), _read(group / "memory.current").strip()
    if not limit.isdigit() or not used.isdigit():
        return None
    files = [line.split() for line in _read(group / "memory.stat").splitlines()]
    cached = sum(int(nbytes) for name, nbytes in files if name in ("active_file", "inactive_file"))
    return int(limit) - int(used) + cached


def _read(path: Path) -> str:
    """A small file of the kernel's; empty where this system has no such file."""
    try:
        return path.read_text()
    except OSError:
        return ""
