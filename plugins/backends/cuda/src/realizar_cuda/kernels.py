"""The kernels by name: their parameters, and which of them may start early."""

from __future__ import annotations

from realizar_cuda.compiler import KernelName

PLANES, CACHE = "PPPP", "PPPP"
MATRIX = PLANES + "PPii"
GEMV = MATRIX * 3 + "PPPiiiiiifi"

FORMATS: dict[str, tuple[str, ...]] = {
    "gemv": (GEMV,),
    "tile_rows": ("P", "P", "P", "P", "i", "i", "f"),
    "tile_product": (MATRIX * 3 + "PPiiiiii",),
    "dequantize": (PLANES, "P", "i"),
    "embed_quantized": (PLANES, "P", "P", "i", "f"),
    "embed_plain": (PLANES, "P", "P", "i", "f"),
    "elementwise": ("P", "P", "P", "i", "i", "i", "i", "f"),
    "rms_norm": ("P", "P", "P", "i", "i", "f"),
    "layer_norm": ("P", "P", "P", "P", "i", "i", "f"),
    "rope": ("P", "P", "P", "P", "i", "i", "i", "f"),
    "heads": ("PPPPP" + CACHE + "PPPiiiiff",),
    "cache_write": ("P", "P", "P", CACHE, "i"),
    "attention": ("PP" + CACHE + "PPPPPPPiiiiiiff",),
    "prompt_attention": ("PP" + CACHE + "PPPPPPPiiiiiiff", "P"),
    "gather_rows": ("P", "P", "P", "i"),
    "pad_rows": ("P", "P", "i", "i"),
    "bfloat_rows": ("P", "P", "i", "i"),
    "half_rows": ("P", "P", "P", "i", "i"),
    "finish_rows": ("P", "P", "P", "i"),
    "route": ("P", "P", "P", "i", "i", "i"),
    "combine": ("P", "P", "P", "i", "i"),
}
"""Name without template arguments -> one `struct` format a parameter, in the order of the C++ declaration."""

LATE = frozenset({"dequantize", "pad_rows", "bfloat_rows", "half_rows", "finish_rows"})
"""Kernels that do not wait by themselves: they start when all before them has ended."""

_FILES = {
    "embed_quantized": "embedding", "embed_plain": "embedding", "rms_norm": "norm", "layer_norm": "norm",
    "gather_rows": "rows", "pad_rows": "rows", "bfloat_rows": "rows", "half_rows": "rows", "finish_rows": "rows",
    "route": "moe", "combine": "moe",
}  # fmt: skip


def base_name(name: str) -> str:
    """A kernel's name without its template arguments."""
    return name.partition("<")[0]


def kernel_name(name: str) -> KernelName:
    """The kernel of that name, with the file that it is in."""
    base = base_name(name)
    return KernelName(_FILES.get(base, base), name)
