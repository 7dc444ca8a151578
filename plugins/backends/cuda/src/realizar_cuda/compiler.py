"""From a kernel's name to machine code: sources of this package, through NVRTC, kept on disk."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

import attrs

from realizar.errors import BackendUnavailable
from realizar_cuda.cubin_cache import CubinCache
from realizar_cuda.headers import include_directory

SOURCES = Path(__file__).parent / "kernels"


@attrs.frozen
class KernelName:
    """A kernel: its file without ".cu", and its name in C++, with template arguments if it has any."""

    file: str
    name: str


@functools.cache
def headers() -> dict[str, bytes]:
    """The headers of this package by name."""
    return {path.name: path.read_bytes() for path in sorted(SOURCES.glob("*.cuh"))}


@functools.cache
def source(file: str) -> str:
    """The text of a kernel file."""
    return (SOURCES / f"{file}.cu").read_text(encoding="utf-8")


@functools.cache
def sources_digest() -> str:
    """SHA-256 over all kernels and headers: an edited source never meets old code."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.glob("*.cu*")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


class Compiler:
    """Compiles for one compute capability, such as (9, 0)."""

    def __init__(self, capability: tuple[int, int], cache: CubinCache) -> None:
        from cupy.cuda import nvrtc

        self._nvrtc, self.cache = nvrtc, cache
        self.version: tuple[int, int] = nvrtc.getVersion()
        self.architecture = f"sm_{capability[0]}{capability[1]}"
        self._include = include_directory(self.version[0])

    def compile(self, kernel: KernelName) -> tuple[str, bytes]:
        """(symbol, cubin) of a kernel; raises BackendUnavailable with NVRTC's log if it does not compile."""
        key = repr((kernel.file, kernel.name, self.version, self.architecture, sources_digest()))
        if found := self.cache.read(key):
            symbol, _, code = found.partition(b"\0")
            return symbol.decode(), code
        symbol_name, code = self.build(kernel)
        self.cache.write(key, symbol_name.encode() + b"\0" + code)
        return symbol_name, code

    def build(self, kernel: KernelName) -> tuple[str, bytes]:
        """As `compile`, without looking at the cache."""
        nvrtc, included = self._nvrtc, headers()
        program = nvrtc.createProgram(
            source(kernel.file), f"{kernel.file}.cu", list(included.values()), [name.encode() for name in included]
        )
        try:
            if "<" in kernel.name:
                nvrtc.addNameExpression(program, kernel.name)
            nvrtc.compileProgram(program, self._options())
            symbol = nvrtc.getLoweredName(program, kernel.name) if "<" in kernel.name else kernel.name
            return symbol, bytes(nvrtc.getCUBIN(program))
        except nvrtc.NVRTCError as error:
            log = nvrtc.getProgramLog(program)
            raise BackendUnavailable(f"kernel {kernel.name} of {kernel.file}.cu does not compile: {log}") from error
        finally:
            nvrtc.destroyProgram(program)

    def _options(self) -> tuple[Any, ...]:
        """-default-device: else some versions of NVRTC take generic lambdas for functions of the host."""
        return (f"-arch={self.architecture}", "-std=c++17", "-default-device", f"-I{self._include}")
