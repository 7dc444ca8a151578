"""`realizar explain kernel NAME --backend cuda`: bugs, resources and occupancy of a kernel, without running it.

Sources are always looked at; machine code where CuPy, and with it NVRTC, is installed. No GPU is needed.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from realizar.errors import BackendUnavailable, RequestError
from realizar.kernel_report import KernelReport, Section
from realizar_cuda.analysis import Finding, check_source, read_resources
from realizar_cuda.analysis.source_tree import Function, functions
from realizar_cuda.compiler import SOURCES, Compiler, headers, source
from realizar_cuda.cubin_cache import CubinCache
from realizar_cuda.kernels import kernel_name

DEFAULT_TARGET = "sm_90"
THREADS = 256
"""Threads of a block for which occupancy is told."""


@functools.cache
def catalogue() -> dict[str, tuple[str, Function]]:
    """Kernel name -> (file without ".cu", the function); templates by their plain names."""
    files = sorted(path.stem for path in SOURCES.glob("*.cu"))
    return {
        function.name: (file, function) for file in files for function in functions(source(file)) if function.is_kernel
    }


def explain(kernel: str, target: str | None) -> KernelReport:
    """What the source of a kernel says and, where it can be compiled here, its machine code."""
    file, function = catalogue()[kernel]
    included = "".join(text.decode() for text in headers().values())
    found = [finding for finding in check_source(source(file), included) if finding.kernel in ("", kernel)]
    architecture = target or DEFAULT_TARGET
    machine_code = _machine_code(function, architecture)
    return KernelReport(kernel, architecture, "float32", (_bugs("the source", found), *machine_code))


def _machine_code(function: Function, architecture: str) -> Sequence[Section]:
    if function.is_template:
        return [Section("machine code", {"not looked at": "a template: it is compiled for a model's types and sizes"})]
    if importlib.util.find_spec("cupy") is None:
        return [Section("machine code", {"not looked at": "NVRTC comes with cupy, which is not installed"})]
    match = re.fullmatch(r"sm_(\d+)(\d)", architecture)
    if match is None:
        raise RequestError(f"target is {architecture!r}; expected an architecture such as {DEFAULT_TARGET}")
    with TemporaryDirectory() as folder:
        compiler = Compiler((int(match[1]), int(match[2])), CubinCache(Path(folder)))
        symbol, cubin = compiler.build(kernel_name(function.name))
    try:
        resources = read_resources(cubin)[symbol]
    except (KeyError, ValueError) as error:
        raise BackendUnavailable(f"the machine code of {function.name} cannot be read: {error}") from error
    facts = {
        "registers a thread": resources.registers,
        "bytes of local memory a thread": resources.local_nbytes,
        "bytes of static shared memory a block": resources.shared_nbytes,
        "bytes of code": resources.code_nbytes,
        f"occupancy, blocks of {THREADS} threads": round(resources.occupancy(THREADS), 3),
    }
    return Section("machine code", facts), _bugs("the machine code", resources.findings(function.name))


def _bugs(where: str, found: Sequence[Finding]) -> Section:
    """Findings as facts: class and line, then what it is."""
    facts = {f"{finding.severity.name} {finding.bug}, line {finding.line}": finding.message for finding in found}
    return Section(f"bugs in {where}", facts or {"found": "none"})
