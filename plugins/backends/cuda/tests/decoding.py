"""quants.cuh in NumPy: what kernels make of planes, so that repacking can be proven without a GPU."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from realizar_cuda.planes import Planes

SIGNED = {
    "IQ4_NL": [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113],
    "MXFP4": [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12],
}
SIGNED["IQ4_XS"] = SIGNED["IQ4_NL"]
CENTRE = {"Q4_0": 8, "Q5_0": 16, "Q3_K": 4, "Q6_K": 32}
Floats = NDArray[np.float32]


def codes_of(planes: Planes, low_nbytes: int, high_nbytes: int) -> NDArray[np.int32]:
    """The 32 codes of each chunk, word by word of four, as `codes_of` of codes.cuh."""
    low = planes.low.reshape(-1, low_nbytes).astype(np.int32)
    high = None if planes.high is None else planes.high.reshape(-1, high_nbytes).astype(np.int32)
    codes = np.empty((len(low), 32), np.int32)
    for i in range(32):
        w, b = i // 4, i % 4
        if low_nbytes == 32:
            codes[:, i] = low[:, i].astype(np.uint8).view(np.int8)
        elif low_nbytes == 16:
            codes[:, i] = low[:, i % 16] >> 4 * (i // 16) & 15
        else:
            codes[:, i] = low[:, 4 * (w // 4) + b] >> 2 * (w % 4) & 3
        if high is not None and high_nbytes == 4:
            codes[:, i] |= (high[:, b] >> w & 1) << (4 if low_nbytes == 16 else 2)
        elif high is not None:
            codes[:, i] |= (high[:, 4 * (w // 4) + b] >> 2 * (w % 4) & 3) << 4
    return codes


def halves(plane: NDArray[np.uint8], count: int) -> Floats:
    """A plane as float16 numbers [n, count]."""
    return np.ascontiguousarray(plane).view(np.float16).reshape(-1, count).astype(np.float32)


def six_bit_scales(plane: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Scales and offsets [chunks, 1] of Q4_K and Q5_K."""
    d = halves(plane[:, :4].copy(), 2)
    low, top = plane[:, 4:12].astype(np.int32), plane[:, 12:16].astype(np.int32)
    nibbles = np.stack([top & 15, top >> 4], axis=-1).reshape(-1, 8)
    scales, mins = (low & 15) | (nibbles & 3) << 4, (low >> 4) | (nibbles >> 2) << 4
    return (d[:, :1] * scales).reshape(-1, 1), (-d[:, 1:] * mins).reshape(-1, 1)


def scales_of(kind: str, planes: Planes) -> tuple[Floats, Floats]:
    """Scales and offsets [chunks, 1 or 2], as each type's `scales` of quants.cuh."""
    if kind in ("Q4_K", "Q5_K"):
        return six_bit_scales(planes.super)
    if kind in ("Q4_1", "Q5_1"):
        pairs = halves(planes.scales, 2)
        return pairs[:, :1], pairs[:, 1:]
    if kind == "Q2_K":
        d = np.repeat(halves(planes.super, 2), 8, axis=0)
        each = planes.scales.reshape(-1, 2)
        return d[:, :1] * (each & 15), -d[:, 1:] * (each >> 4)
    if kind in ("Q3_K", "Q6_K", "IQ4_XS"):
        d = np.repeat(halves(planes.super, 1), 8, axis=0)
        each = np.ascontiguousarray(planes.scales).view(np.int8).reshape(len(d), -1)
        return d * each, -CENTRE.get(kind, 0) * (d * each)
    if kind == "MXFP4":
        return np.ldexp(np.float32(1), planes.scales.astype(np.int32) - 128), np.float32(0)
    d = halves(planes.scales, 1)
    return d, -CENTRE.get(kind, 0) * d


def decoded(kind: str, planes: Planes, low_nbytes: int, high_nbytes: int) -> Floats:
    """All weights of planes, [chunks, 32]."""
    codes = codes_of(planes, low_nbytes, high_nbytes)
    if kind in SIGNED:
        codes = np.array(SIGNED[kind], np.int32)[codes]
    scales, offsets = scales_of(kind, planes)
    parts = np.broadcast_to(scales, (len(codes), 2)), np.broadcast_to(offsets, (len(codes), 2))
    scale, offset = (np.repeat(part, 16, axis=1) for part in parts)
    return (scale * codes + offset).astype(np.float32)
