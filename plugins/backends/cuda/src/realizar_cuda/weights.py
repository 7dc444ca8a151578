"""Tensors as kernels read them: vectors in float32, matrices in planes of quantized codes or padded rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.dtypes import DTYPES
from realizar.tensors import LazyTensor
from realizar_cuda.device import Device
from realizar_cuda.planes import REPACK, Planes

CHUNKS = {"F32": 4, "F16": 8, "BF16": 8, **dict.fromkeys(REPACK, 32)}
"""Types that have kernels, and how many weights of a row a lane takes at once."""

SLICE_NBYTES = 64 << 20
"""Stored bytes that are repacked at a time; some fifteen times as many are in use meanwhile."""


@attrs.frozen
class Weight:
    """A matrix [rows, width], or experts' matrices [count * rows, width], of `kind` in planes on the device.

    padded: width in whole chunks. rows: of one matrix.
    """

    kind: str
    rows: int
    width: int
    planes: Planes
    count: int = 1

    @property
    def chunks(self) -> int:
        """Chunks of a row."""
        return -(-self.width // CHUNKS[self.kind])

    @property
    def padded(self) -> int:
        """Elements of a row as it lies in memory."""
        return self.chunks * CHUNKS[self.kind]

    @property
    def is_quantized(self) -> bool:
        """Whether it has codes and scales, and meets activations of 8 bits."""
        return self.kind in REPACK

    def pointers(self, first_row: int = 0) -> tuple[int, int, int, int]:
        """Addresses of the planes from a row on; 0 where there is none."""
        rows = self.rows * self.count
        low, high, scales, super_ = (
            0 if plane is None else int(plane.data.ptr) + first_row * (plane.nbytes // rows)
            for plane in self.planes.arrays
        )
        return low, high, scales, super_


class WeightLoader:
    """Brings tensors to a device; counts those that it had to dequantize."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.dequantized: Counter[str] = Counter()

    def load(self, tensor: LazyTensor, ops: frozenset[str]) -> Any:
        """A Weight where `linear`, `embedding` or `moe_ffn` reads it; else a float32 array."""
        self._device.activate()
        if not ops & {"linear", "embedding", "moe_ffn"} or len(tensor.shape) < 2:
            return self._device.upload(tensor.to_float32())
        kind, stored = tensor.dtype.name, tensor.read()
        if kind not in CHUNKS:
            self.dequantized[kind] += 1
            kind, stored = "F32", tensor.to_float32()
        *counts, rows, width = tensor.shape
        flat = stored.reshape(-1, stored.shape[-1])
        planes = self._repacked(kind, flat.view(np.uint8)) if kind in REPACK else Planes(self._padded(kind, flat))
        self._device.synchronize()
        return Weight(kind, rows, width, planes, int(np.prod(counts, dtype=int)))

    def _padded(self, kind: str, rows: NDArray[Any]) -> Any:
        missing = -rows.shape[1] % CHUNKS[kind]
        return self._device.upload(np.pad(rows, ((0, 0), (0, missing))) if missing else rows)

    def _repacked(self, kind: str, stored: NDArray[np.uint8]) -> Planes:
        """Planes of all rows, made on the device slice by slice."""
        blocks = stored.reshape(-1, DTYPES[kind].block_nbytes)
        step = max(1, SLICE_NBYTES // blocks.shape[1])
        whole: list[Any] = []
        for start in range(0, len(blocks), step):
            uploaded = self._device.upload(blocks[start : start + step])
            with self._device.stream:
                parts = REPACK[kind](uploaded).arrays
                if start == 0:
                    whole = [
                        None if p is None else self._device.zeros((len(blocks), p.shape[1]), np.uint8) for p in parts
                    ]
                for plane, part in zip(whole, parts, strict=True):
                    if part is not None:
                        plane[start : start + len(part)] = part
        return Planes(*whole)

    def notes(self) -> list[str]:
        """What was dequantized, in sentences."""
        return [
            f"{count} tensor{'s' * (count > 1)} of type {kind} dequantized to F32: there are no kernels for it"
            for kind, count in sorted(self.dequantized.items())
        ]
