"""Which kernels there are, and what the compiler made of one: compiled afresh for a path, never run."""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from realizar.kernel_report import KernelReport, Section
from realizar.ops import ACTIVATIONS
from realizar_numba.assembly import Loop, hot_loop
from realizar_numba.kernels.compiled import compile_function
from realizar_numba.kernels.elementwise import build_elementwise
from realizar_numba.kernels.gated import build_gated
from realizar_numba.kernels.heads import build_rope
from realizar_numba.kernels.key_products import build_key_products
from realizar_numba.kernels.norm import build_norm
from realizar_numba.kernels.quantize import build_quantize
from realizar_numba.kernels.tile_memory import tile_shape
from realizar_numba.kernels.value_sums import build_value_sums
from realizar_numba.kvcache import KV_TYPES
from realizar_numba.linker import machine
from realizar_numba.simd.jit import whole
from realizar_numba.simd.memory import store
from realizar_numba.simd.targets import TARGETS
from realizar_numba.simd.types import f32x16, get, registers
from realizar_numba.weights.packing import ROWS
from realizar_numba.weights.registry import INTEGER_LAYOUTS, LAYOUTS

DOTS = {"avx512vnni": "vpdpbusd", "avx512": "vpmaddubsw", "avxvnni": "vpdpbusd", "avx2": "vpmaddubsw"}
"""The instruction that multiplies bytes, by path; the portable one has none of its own."""

_FMA = "vfmadd"
_COLUMNS = 1 << 14
_PROMPT = 512


@attrs.frozen
class Entry:
    """A kernel by what it is for. build(isa): the Python function that is compiled.

    products: what it multiplies, "int8", "float32", or "" where products are not what it does most.
    type_name: of its weights; lanes: of activations in a tile; tokens: of one pass over the weights at best.
    """

    purpose: str
    build: Callable[[str], Any]
    products: str = ""
    type_name: str | None = None
    lanes: Callable[[str], int] = lambda isa: 1
    tokens: int = 1

    def dot(self, isa: str) -> str:
        """How the instruction begins that its speed hangs on; "" if none is certain."""
        return {"int8": DOTS.get(isa, ""), "float32": _FMA if isa in DOTS else "", "": ""}[self.products]


def catalogue() -> dict[str, Entry]:
    """Every kernel that can be explained, by name; none on machines whose assembly is not read here."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return {}
    return _linear() | _attention() | _others()


def _linear() -> dict[str, Entry]:
    entries = {}
    for name in LAYOUTS:
        entries[f"linear {name} decode"] = _tile("one token", name, lambda isa: 1, 1)
        if name in INTEGER_LAYOUTS:
            entries[f"linear {name} head"] = _tile("one token of the output head, in two lanes", name, lambda isa: 2, 1)
        entries[f"linear {name} prefill"] = _tile("many tokens", name, lambda isa: TARGETS[isa].wide_lanes, _PROMPT)
    return entries


def _tile(purpose: str, name: str, lanes: Callable[[str], int], tokens: int) -> Entry:
    products = "int8" if name in INTEGER_LAYOUTS else "float32"
    return Entry(f"{name} weights, {purpose}", partial(_tile_function, name, lanes), products, name, lanes, tokens)


def _tile_function(name: str, lanes: Callable[[str], int], isa: str) -> Any:
    return build_tile(isa, name, lanes(isa))


def _attention() -> dict[str, Entry]:
    entries = {}
    for kv in KV_TYPES:
        keys, values = partial(_keys, kv), partial(_values, kv)
        entries[f"attention keys {kv}"] = Entry(f"queries times keys in {kv}", keys, "float32")
        entries[f"attention values {kv}"] = Entry(f"weighted values in {kv}", values, "float32")
    return entries


def _keys(kv_type: str, isa: str) -> Any:
    shape = tile_shape(isa)
    return build_key_products(shape.key_rows, shape.key_chunks, kv_type, False)


def _values(kv_type: str, isa: str) -> Any:
    shape = tile_shape(isa)
    return build_value_sums(shape.value_rows, shape.value_vectors, kv_type, False)


def _others() -> dict[str, Entry]:
    entries = {
        "rope": Entry("rotation of queries and keys", lambda isa: build_rope()),
        "quantize": Entry("activations to int8", lambda isa: build_quantize()),
    }
    for norm in ("rms_norm", "layer_norm"):
        entries[norm] = Entry("norm, with quantization", lambda isa, norm=norm: build_norm(norm))
    for kind in ACTIVATIONS:
        entries[f"gated {kind}"] = Entry("gate and up matrices, with quantization", lambda isa, k=kind: build_gated(k))
        entries[f"act {kind}"] = Entry("activation", lambda isa, k=kind: build_elementwise("act", k))
    return entries


def build_tile(isa: str, type_name: str, lanes: int) -> Callable[..., Any]:
    """The inner tile of a matrix kernel alone: 16 rows of weights times `lanes` lanes of activations."""
    tile, new_sums = LAYOUTS[type_name].build_tile(lanes, TARGETS[isa]), registers(f32x16, lanes)

    @whole
    def tile_alone(weights, x, columns, out):
        sums = new_sums()
        tile(weights, x, columns, sums)
        for lane in range(lanes):
            store(out + 64 * lane, get(sums, lane))

    return tile_alone


@attrs.frozen
class Explained:
    """A compiled kernel: its assembly, its hot loop, and what `Entry.dot` says."""

    assembly: str
    loop: Loop | None
    dot: str


def compile_entry(entry: Entry, isa: str) -> Explained:
    """Compile a kernel for a path and find the loop that its speed hangs on."""
    assembly, dot = compile_function(entry.build(isa))._library.get_asm_str(), entry.dot(isa)
    loop = hot_loop(assembly, lambda instruction: bool(dot) and instruction.mnemonic.startswith(dot))
    return Explained(assembly, loop or hot_loop(assembly, lambda instruction: instruction.bits > 0), dot)


def explain(name: str, isa: str) -> KernelReport:
    """The report on a kernel of the catalogue, compiled for a path."""
    entry = catalogue()[name]
    explained = compile_entry(entry, isa)
    sections = [Section("kernel", {"purpose": entry.purpose, "path": isa, "compiled for": machine()[1]})]
    if explained.loop is not None:
        sections += [_loop(explained.loop, explained.dot), _kinds(explained.loop)]
    operations_per_byte = None
    if entry.type_name is not None:
        nbytes = LAYOUTS[entry.type_name].group_nbytes(_COLUMNS) / (ROWS * _COLUMNS)
        operations_per_byte = 2 * entry.tokens / nbytes
        sections.append(_work(entry, isa, nbytes, operations_per_byte))
    return KernelReport(
        name, isa, entry.products or "float32", tuple(sections), operations_per_byte, explained.assembly
    )


def _loop(loop: Loop, dot: str) -> Section:
    facts: dict[str, str | int | float] = {
        "instructions": len(loop.instructions),
        "vector instructions": len(loop.vectors),
        **{f"of {bits} bits": count for bits, count in loop.widths().items()},
        "spills": loop.num_spills,
    }
    if dot:
        facts["dot instruction"] = ", ".join(f"{count} {name}" for name, count in loop.named(dot).items()) or "none"
    if dot and (products := loop.products(dot)):
        facts["products"] = products
        facts["vector instructions for 64 products"] = round(64 * len(loop.vectors) / products, 2)
    return Section("hot loop, one pass", facts)


def _kinds(loop: Loop) -> Section:
    """Arithmetic on an operand in memory counts as arithmetic, and once more as reading."""
    folded = sum(i.reads_memory and i.kind != "load" for i in loop.vectors)
    return Section("vector instructions of a pass", {**loop.kinds(), "reading memory as an operand": folded})


def _work(entry: Entry, isa: str, nbytes: float, operations_per_byte: float) -> Section:
    return Section(
        "work",
        {
            "tile": f"{ROWS} rows, lanes of activations: {entry.lanes(isa)}",
            "bytes a weight": round(nbytes, 4),
            "tokens of a pass over the weights": entry.tokens,
            "operations a weight": 2 * entry.tokens,
            "operations a byte of weights": round(operations_per_byte, 2),
        },
    )
