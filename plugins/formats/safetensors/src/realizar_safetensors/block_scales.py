"""FP8 weights with scales: w = scale * value, one scale for each block of a matrix.

Source: transformers `FineGrainedFP8Config`; DeepSeek-V3 README_WEIGHTS.md: `NAME.weight` in F8 [out, in],
`NAME.weight_scale_inv` [ceil(out / rows), ceil(in / columns)], quantization_config with quant_method "fp8" and
weight_block_size [rows, columns]. Despite its name the scale is what values are multiplied by.
"""

from __future__ import annotations

import logging
from typing import Any

import attrs
import numpy as np

from realizar.dtypes import dtype
from realizar.errors import ModelError
from realizar.quant import dequantize
from realizar.tensors import Array, LazyTensor

log = logging.getLogger(__name__)

VALUE_TYPES = ("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ")
SUFFIX = "_scale_inv"
MAX_BLOCK = 1 << 20
F32 = dtype("F32")


def apply_scales(tensors: dict[str, LazyTensor], quantization: Any, source: str) -> dict[str, LazyTensor]:
    """The tensors with every scaled FP8 matrix as F32, computed when it is read, and without the scales.

    quantization: `quantization_config` of config.json, None where it has none.
    Raises ModelError, naming the scheme, for any other quantization, and where weights and scales do not fit together.
    """
    scaled = sorted(name.removesuffix(SUFFIX) for name in tensors if name.endswith(f".weight{SUFFIX}"))
    if quantization is None:
        if scaled:
            raise ModelError(f"{source}: {scaled[0]} has a scale, but there is no quantization_config to say of what")
        return tensors
    block = _block_size(quantization, source)
    found = {name: _scaled(tensors[name], tensors[name + SUFFIX], block) for name in scaled if name in tensors}
    bare = [name for name, tensor in tensors.items() if tensor.dtype.name in VALUE_TYPES and name not in found]
    if bare:
        raise ModelError(f"{source}: FP8 tensor {bare[0]} has no {bare[0]}{SUFFIX}; is the download complete?")
    in_file = sum(tensors[name].nbytes for name in found)
    log.warning(
        "%s: %d FP8 matrices with block scales are computed as F32 when they are read: %.1f MB in memory, "
        "%.1f MB in the file",
        source, len(found), 4e-6 * in_file, 1e-6 * in_file,
    )  # fmt: skip
    used = {name + SUFFIX for name in found}
    return {name: tensor for name, tensor in (tensors | found).items() if name not in used}


def _block_size(quantization: Any, source: str) -> tuple[int, int]:
    """Rows and columns that share a scale."""
    if not isinstance(quantization, dict):
        raise ModelError(f"{source}: found quantization_config {quantization!r}, expected an object")
    method = quantization.get("quant_method")
    if method != "fp8":
        raise ModelError(
            f"{source}: the weights are quantized with {method!r}; of the quantization schemes of Hugging Face only "
            f"'fp8' with block scales is read. Use the original model, or a GGUF file of it"
        )
    size = quantization.get("weight_block_size")
    if not isinstance(size, list) or len(size) != 2 or not all(type(n) is int and 1 <= n <= MAX_BLOCK for n in size):
        raise ModelError(
            f"{source}: found weight_block_size {size!r} for fp8, expected two sizes such as [128, 128]; FP8 with one "
            f"scale a tensor is not read"
        )
    return size[0], size[1]


def _scaled(values: LazyTensor, scales: LazyTensor, block: tuple[int, int]) -> LazyTensor:
    if values.dtype.name not in VALUE_TYPES or len(values.shape) != 2:
        shape = " x ".join(map(str, values.shape))
        raise ModelError(
            f"{values.source}: found {shape} {values.dtype.name} with block scales, expected an FP8 matrix"
        )
    expected = tuple(-(-size // step) for size, step in zip(values.shape, block, strict=True))
    if scales.shape != expected:
        raise ModelError(f"{scales.source}: found shape {scales.shape}, expected {expected}: one scale for {block}")
    matrix = _ScaledMatrix(values, scales, block)
    source = f"{values.source} ({values.dtype.name} with block scales)"
    return LazyTensor(values.name, values.shape, F32, source, matrix.read, matrix.release)


@attrs.frozen
class _ScaledMatrix:
    values: LazyTensor
    scales: LazyTensor
    block: tuple[int, int]

    def read(self) -> Array:
        """The matrix in float32, one row of blocks after another, so that little is in memory beside it."""
        stored, scales = self.values.read(), self.scales.to_float32()
        rows, columns = self.block
        out = np.empty(self.values.shape, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            for i, scale in enumerate(scales):
                band = slice(i * rows, (i + 1) * rows)
                np.multiply(
                    dequantize(stored[band], self.values.dtype),
                    np.repeat(scale, columns)[: out.shape[1]],
                    out=out[band],
                )
        out.flags.writeable = False
        return out

    def release(self) -> None:
        self.values.release()
        self.scales.release()
