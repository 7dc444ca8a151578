"""Instruction-set paths: which exist, which this machine can run, which one is in use.

Imports llvmlite only, so that a backend can be probed without loading Numba.
"""

from __future__ import annotations

import os

from realizar.errors import BackendUnavailable

_AVX512 = frozenset({"avx512f", "avx512bw", "avx512vl", "avx512dq"})
_AVX2 = frozenset({"avx2", "fma", "f16c"})

PATHS: dict[str, frozenset[str]] = {
    "avx512vnni": _AVX512 | {"avx512vnni"},
    "avx512": _AVX512,
    "avxvnni": _AVX2 | {"avxvnni"},
    "avx2": _AVX2,
    "generic": frozenset(),
}
"""Path name -> CPU features it needs, best first. The kernels are the same; only `simd.targets` differs."""


def cpu_features() -> frozenset[str]:
    """Features that generated code may use: the host's, unless Numba's own variables say otherwise.

    A CPU given by name only (NUMBA_CPU_NAME) counts as having none: the generic path is right on all.
    """
    requested = os.environ.get("NUMBA_CPU_FEATURES")
    if requested is not None:
        return frozenset(flag[1:] for flag in requested.split(",") if flag.startswith("+"))
    if os.environ.get("NUMBA_CPU_NAME"):
        return frozenset()
    from llvmlite import binding

    return frozenset(name for name, present in binding.get_host_cpu_features().items() if present)


def available() -> tuple[str, ...]:
    """Names of the paths that this machine can run, best first."""
    features = cpu_features()
    return tuple(name for name, needed in PATHS.items() if needed <= features)


def choose(name: str | None = None) -> str:
    """The path of that name, else of `REALIZAR_ISA`, else the best; raises BackendUnavailable if it cannot run here."""
    usable = available()
    wanted = name or os.environ.get("REALIZAR_ISA") or usable[0]
    source = f"instruction set {wanted}" if name else f"REALIZAR_ISA={wanted}"
    if wanted not in PATHS:
        raise BackendUnavailable(f"{source}: unknown instruction set; known: {', '.join(PATHS)}")
    if wanted not in usable:
        missing = ", ".join(sorted(PATHS[wanted] - cpu_features()))
        raise BackendUnavailable(
            f"{source}: this CPU (or NUMBA_CPU_NAME, NUMBA_CPU_FEATURES) lacks {missing}; "
            f"usable here: {', '.join(usable)}"
        )
    return wanted
