"""The paged cache of one layer on the device (kernels/cache.cuh)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from realizar.backend import CacheSpec
from realizar_cuda.device import Device

KV_TYPES = {"F16": (np.float16, 8), "F32": (np.float32, 8), "BF16": (np.uint16, 8), "Q8_0": (np.uint8, 32)}
"""Type -> how NumPy holds it, and to how many numbers a head is padded."""


@attrs.frozen
class LayerCache:
    """keys, values: [blocks, heads, block_size, padded head_dim]; scales of Q8_0: a float16 for each 32 of them."""

    kind: str
    heads: int
    head_dim: int
    block_size: int
    keys: Any
    values: Any
    key_scales: Any = None
    value_scales: Any = None

    @property
    def pointers(self) -> tuple[int, int, int, int]:
        """In the order of the C++ structure."""
        arrays = (self.keys, self.values, self.key_scales, self.value_scales)
        keys, values, key_scales, value_scales = (0 if a is None else int(a.data.ptr) for a in arrays)
        return keys, values, key_scales, value_scales


def make_layers(device: Device, spec: CacheSpec) -> Sequence[LayerCache]:
    """Zeroed caches of all layers; raises BackendUnavailable, before it takes any, if they do not fit."""
    device.activate()
    storage, unit = KV_TYPES[spec.dtype]
    free = device.cupy.cuda.runtime.memGetInfo()[0] + device.cupy.get_default_memory_pool().free_bytes()
    if spec.nbytes > free:
        raise device.no_room(spec.nbytes)
    layers = []
    for heads, head_dim in spec.layers:
        shape = (spec.num_blocks, heads, spec.block_size, -(-head_dim // unit) * unit)
        arrays = [device.zeros(shape, storage) for _ in range(2)]
        if spec.dtype == "Q8_0":
            arrays += [device.zeros((*shape[:3], shape[3] // 32), np.float16) for _ in range(2)]
        layers.append(LayerCache(spec.dtype, heads, head_dim, spec.block_size, *arrays))
    return layers
