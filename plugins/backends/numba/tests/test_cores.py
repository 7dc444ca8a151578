"""Cores that a process may use: its affinity, and the quotas of the groups around it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from realizar_numba.cores import available_threads


@pytest.fixture(autouse=True)
def affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four cores, whatever this machine has."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 4, 5}, raising=False)


def _available(directory: Path, quotas: dict[str, str], membership: str = "0::/pod/box\n") -> int:
    (directory / "self").write_text(membership)
    (directory / "cgroup/pod/box").mkdir(parents=True)
    for group, text in quotas.items():
        (directory / "cgroup" / group / "cpu.max").write_text(text)
    return available_threads(directory / "cgroup", directory / "self")


@pytest.mark.parametrize(
    ("quotas", "expected"),
    [
        ({}, 4),
        ({"pod/box": "max 100000\n"}, 4),
        ({"pod/box": "200000 100000\n"}, 2),
        ({"pod/box": "150000 100000\n"}, 2),
        ({"pod/box": "10000 100000\n"}, 1),
        ({"pod/box": "900000 100000\n"}, 4),
        ({"pod/box": "max 100000\n", "pod": "300000 100000\n"}, 3),
        ({"pod/box": "200000 100000\n", "pod": "300000 100000\n"}, 2),
        ({".": "100000 100000\n"}, 1),
    ],
)
def test_quotas(tmp_path: Path, quotas: dict[str, str], expected: int) -> None:
    assert _available(tmp_path, quotas) == expected


def test_a_container_that_sees_only_itself(tmp_path: Path) -> None:
    assert _available(tmp_path, {".": "200000 100000\n"}, membership="0::/\n") == 2


def test_version_1_groups_are_not_asked(tmp_path: Path) -> None:
    assert _available(tmp_path, {}, membership="4:cpu,cpuacct:/pod/box\n") == 4


def test_no_groups_at_all(tmp_path: Path) -> None:
    assert available_threads(tmp_path / "none", tmp_path / "nothing") == 4
