"""A model into another format, its elements as they are or in another plain type."""

from __future__ import annotations

from pathlib import Path

import attrs

from realizar.backend import Backend
from realizar.conversion.prepacking import prepacked
from realizar.conversion.retyping import retyped
from realizar.conversion.source_metadata import RETYPED
from realizar.dtypes import DTYPES
from realizar.errors import FormatError
from realizar.formats import Format
from realizar.model import ModelFile
from realizar.progress import Progress, silent
from realizar.quant.quantize import QUANTIZABLE
from realizar.tensors import LazyTensor

FLOATS = ("F32", "F16", "BF16")

WHOLE = ("I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "BOOL")


def convert(
    model: ModelFile, target: Format, path: Path, dtype: str | None = None, threads: int | None = None,
    progress: Progress = silent, prepack: Backend | None = None,
) -> None:  # fmt: skip
    """Write `model` to `path` as `target` does, matrices as `dtype` if one is given.

    Vectors, which are few and matter much, keep their plain type, as do tensors of whole numbers.
    prepack: whose copy of the weights is written beside them; copies that `model` has are left out.
    Raises FormatError for what the target cannot hold, before anything is written.
    """
    if dtype is not None:
        tensors = {name: _as(tensor, dtype, threads) for name, tensor in model.tensors.items()}
        model = attrs.evolve(model, tensors=tensors, metadata={**model.metadata, RETYPED: dtype})
    prove_writable(model, target)
    if prepack is not None and not target.holds_prepacked:
        raise FormatError(f"{path}: {target.name} files cannot hold a backend's copy of the weights; write an APR file")
    model = prepacked(model, prepack) if prepack is not None else attrs.evolve(model, prepacked={})
    target.write(path, model, progress)


def _as(tensor: LazyTensor, dtype: str, threads: int | None) -> LazyTensor:
    is_vector = len(tensor.shape) < 2 and tensor.dtype.name in FLOATS
    return tensor if is_vector or tensor.dtype.name in WHOLE else retyped(tensor, dtype, threads=threads)


def prove_writable(model: ModelFile, target: Format) -> None:
    """Raises FormatError naming a tensor of a type that the target has not, and what to do about it."""
    if not target.writable:
        raise FormatError(f"{target.name} files cannot be written, only read")
    for tensor in model.tensors.values():
        if tensor.dtype.name not in target.writable:
            types = " or ".join(name for name in FLOATS if name in target.writable)
            raise FormatError(
                f"{tensor.source}: found {tensor.dtype.name}, which {target.name} cannot hold; convert the matrices "
                f"with --dtype {types}"
            )


def known_dtype(name: str) -> str:
    """A plain type that matrices can be converted to; raises FormatError for any other."""
    plain = sorted(known for known in QUANTIZABLE if not DTYPES[known].is_quantized)
    if name in plain:
        return name
    hint = f"; for blocks use: realizar quantize SRC DST {name}" if name in QUANTIZABLE else ""
    raise FormatError(f"found --dtype {name}, expected one of {', '.join(plain)}{hint}")
