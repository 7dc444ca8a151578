"""What a kernel takes of a multiprocessor, read from its machine code.

Source: the ELF format (System V ABI, "Object Files"). NVIDIA's compilers put counts into attributes of the section
`.nv.info`, each (form, attribute, nbytes) and then (symbol, count); static shared memory is `.nv.shared.<kernel>`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

import attrs

from realizar_cuda.analysis.finding import Finding

HIGH_PRESSURE = 64
"""Registers a thread above which half of a multiprocessor's threads have no room."""

_SECTION = struct.Struct("<IIQQQQIIQQ")
_FRAME_SIZE, _REGISTERS = 0x11, 0x2F
"""Attributes EIATTR_FRAME_SIZE, bytes of local memory a thread, and EIATTR_REGCOUNT."""

_RESERVED_NBYTES = 1024
"""Shared memory that every block takes for the system, part of `.nv.shared` where `.nv.shared.reserved.0` is there."""


@attrs.frozen
class Resources:
    """Of a kernel: registers and bytes of local memory a thread, bytes of static shared memory a block, code bytes."""

    registers: int
    local_nbytes: int
    shared_nbytes: int
    code_nbytes: int

    def findings(self, kernel: str) -> list[Finding]:
        """What is wrong with these counts."""
        found = []
        if self.local_nbytes:
            message = f"{self.local_nbytes} bytes a thread in local memory: registers spill, or an array is indexed"
            found.append(Finding("REG_SPILLS", kernel, 0, message))
        if self.registers > HIGH_PRESSURE:
            message = f"{self.registers} registers a thread, more than {HIGH_PRESSURE}: fewer threads fit"
            found.append(Finding("HIGH_REG_PRESSURE", kernel, 0, message))
        return found

    def blocks_per_multiprocessor(self, threads: int, dynamic_shared_nbytes: int = 0) -> int:
        """Blocks that fit at once, by registers, shared memory and threads of compute capability 8.0 to 9.0.

        Registers come in units of 256 a warp, shared memory in 1 KiB a block. Source: CUDA C++ Programming Guide,
        appendix Compute Capabilities; occupancy calculator.
        """
        warps = -(-threads // 32)
        warp_registers = -(-self.registers * 32 // 256) * 256
        by_registers = 65536 // (warp_registers * warps) if warp_registers else 32
        shared = self.shared_nbytes + dynamic_shared_nbytes + 1024
        return min(by_registers, 64 // warps, 32, 227 * 1024 // (-(-shared // 128) * 128))

    def occupancy(self, threads: int, dynamic_shared_nbytes: int = 0) -> float:
        """Share of a multiprocessor's 64 warps that run at once."""
        return self.blocks_per_multiprocessor(threads, dynamic_shared_nbytes) * -(-threads // 32) / 64


def read_resources(cubin: bytes) -> dict[str, Resources]:
    """Resources of every kernel in a cubin; raises ValueError if it is none."""
    try:
        sections = dict(_sections(cubin))
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"not a cubin: {error}") from error
    counts = _attributes(sections)
    reserved = _RESERVED_NBYTES if ".nv.shared.reserved.0" in sections else 0
    found = {}
    for name, code in sections.items():
        if name.startswith(".text."):
            kernel = name.removeprefix(".text.")
            shared = max(0, sections.get(f".nv.shared.{kernel}", _NOTHING).nbytes - reserved)
            registers, local = (counts.get((kernel, attribute), 0) for attribute in (_REGISTERS, _FRAME_SIZE))
            found[kernel] = Resources(registers, local, shared, code.nbytes)
    return found


@attrs.frozen
class _Data:
    nbytes: int
    content: bytes


_NOTHING = _Data(0, b"")
_NO_CONTENT = 8
"""Section type SHT_NOBITS: it has a size, and nothing in the file."""


def _sections(cubin: bytes) -> Iterator[tuple[str, _Data]]:
    if cubin[:4] != b"\x7fELF":
        raise ValueError("not a cubin: it does not begin with the magic of ELF")
    (offset,) = struct.unpack_from("<Q", cubin, 40)
    entry_nbytes, count, names_index = struct.unpack_from("<HHH", cubin, 58)
    headers = [_SECTION.unpack_from(cubin, offset + i * entry_nbytes) for i in range(count)]
    names = headers[names_index][4]
    for name, kind, _, _, start, size, *_ in headers:
        yield _text(cubin, names + name), _Data(size, b"" if kind == _NO_CONTENT else cubin[start : start + size])


def _attributes(sections: Mapping[str, _Data]) -> dict[tuple[str, int], int]:
    """(symbol, attribute) -> count, from the attributes of the whole module."""
    symbols = _symbols(sections)
    data = sections.get(".nv.info", _NOTHING).content
    found, at = {}, 0
    while at + 4 <= len(data):
        form, attribute, value = struct.unpack_from("<BBH", data, at)
        at += 4
        if form == _SIZED:
            if value == 8:
                symbol, count = struct.unpack_from("<II", data, at)
                found[symbols.get(symbol, ""), attribute] = count
            at += value
    return found


_SIZED = 4
"""Form of an attribute whose value is the size of what follows it."""


def _symbols(sections: Mapping[str, _Data]) -> dict[int, str]:
    table, names = (sections.get(name, _NOTHING).content for name in (".symtab", ".strtab"))
    return {i: _text(names, struct.unpack_from("<I", table, 24 * i)[0]) for i in range(len(table) // 24)}


def _text(data: bytes, start: int) -> str:
    return data[start : data.index(b"\0", start)].decode()
