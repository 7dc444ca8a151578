"""Where the headers that kernels include are: beside CuPy's libraries, in a conda environment, or in a toolkit."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from realizar.errors import BackendUnavailable

NEEDED = ("cuda_fp16.h", "cuda_bf16.h", "cuda_runtime.h")
"""NVRTC has no halves of its own; the third stands for the headers that the first two include."""


def include_directory(major: int, environ: Mapping[str, str] = os.environ, prefix: Path = Path(sys.prefix)) -> Path:
    """The first folder that has the headers; major: version of NVRTC, whose own headers come first.

    Raises BackendUnavailable naming every place that was looked at.
    """
    tried = []
    for folder in _candidates(major, environ, prefix):
        if all((folder / name).is_file() for name in NEEDED):
            return folder
        tried.append(str(folder))
    raise BackendUnavailable(
        f"backend 'cuda': {', '.join(NEEDED)} were not found in {', '.join(tried)}; "
        f"pip install 'cupy-cuda{major}x[ctk]', or set CUDA_PATH to a CUDA toolkit"
    )


def _candidates(major: int, environ: Mapping[str, str], prefix: Path) -> Iterator[Path]:
    """What a user chose, then pip's wheels (CUDA 13 in one folder, CUDA 12 in one each), conda, the system."""
    for name in ("CUDA_PATH", "CUDA_HOME"):
        if environ.get(name):
            yield Path(environ[name]) / "include"
    for site in map(Path, sys.path):
        if (site / "nvidia").is_dir():
            yield site / "nvidia" / f"cu{major}" / "include"
            yield site / "nvidia" / "cuda_runtime" / "include"
    for root in dict.fromkeys((prefix, Path(environ.get("CONDA_PREFIX") or prefix))):
        yield root / "targets" / "x86_64-linux" / "include"
        yield root / "targets" / "sbsa-linux" / "include"
    yield from (path / "include" for path in sorted(Path("/usr/local").glob(f"cuda-{major}*"), reverse=True))
    yield Path("/usr/local/cuda/include")
