"""Choosing an instruction-set path, and probing without loading Numba."""

from __future__ import annotations

import subprocess
import sys

import pytest

from realizar.errors import BackendUnavailable
from realizar_numba import isa
from realizar_numba.backend import NumbaBackend, available_threads


@pytest.fixture
def features(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No path chosen; features come from NUMBA_CPU_FEATURES."""
    monkeypatch.delenv("REALIZAR_ISA", raising=False)
    monkeypatch.setenv("NUMBA_CPU_FEATURES", "+avx512f,+avx512bw,+avx512vl,+avx512dq,+avx512vnni,-amx")
    return monkeypatch


def test_best_path_wins(features: pytest.MonkeyPatch) -> None:
    assert isa.available() == ("avx512vnni", "avx512", "generic")
    assert isa.choose() == "avx512vnni"
    features.setenv("NUMBA_CPU_FEATURES", "+avx2,+fma,+f16c,+avx512f")
    assert isa.choose() == "avx2"
    features.setenv("NUMBA_CPU_FEATURES", "+avx2,+fma,+f16c,+avxvnni")
    assert isa.available() == ("avxvnni", "avx2", "generic")
    features.setenv("NUMBA_CPU_FEATURES", "+avx2,+avx512f")
    assert isa.choose() == "generic"


def test_every_path_has_a_target() -> None:
    from realizar_numba.simd.targets import TARGETS

    assert list(TARGETS) == list(isa.PATHS)


def test_a_cpu_by_name_has_no_known_features(features: pytest.MonkeyPatch) -> None:
    features.delenv("NUMBA_CPU_FEATURES")
    features.setenv("NUMBA_CPU_NAME", "haswell")
    assert isa.available() == ("generic",)


def test_path_by_name(features: pytest.MonkeyPatch) -> None:
    features.setenv("REALIZAR_ISA", "generic")
    assert isa.choose() == "generic"


def test_unknown_path_names_the_known_ones(features: pytest.MonkeyPatch) -> None:
    features.setenv("REALIZAR_ISA", "mmx")
    with pytest.raises(BackendUnavailable, match=r"REALIZAR_ISA=mmx.*avx512vnni, avx512, avxvnni, avx2, generic"):
        isa.choose()
    availability = NumbaBackend.probe()
    assert availability.score == 0 and "mmx" in availability.detail


def test_path_that_this_cpu_lacks(features: pytest.MonkeyPatch) -> None:
    features.setenv("NUMBA_CPU_FEATURES", "+avx512f,+avx2")
    features.setenv("REALIZAR_ISA", "avx512vnni")
    with pytest.raises(BackendUnavailable, match=r"lacks avx512bw.*usable here: generic"):
        isa.choose()


def test_probe_says_threads_and_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REALIZAR_ISA", "generic")
    availability = NumbaBackend.probe()
    assert availability.score == 50
    assert availability.detail.startswith(f"{available_threads()} thread") and "generic" in availability.detail


def test_probing_does_not_import_numba() -> None:
    """`realizar --list-plugins` stays fast."""
    code = """
import sys
from realizar_numba.plugin import realizar_backends
(backend,) = realizar_backends()
backend.probe()
sys.exit("numba" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
