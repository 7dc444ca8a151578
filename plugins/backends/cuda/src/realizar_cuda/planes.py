"""From ggml's blocks to planes: codes in chunks of 32, further bits, scales, each contiguous (kernels/codes.cuh).

Nothing is lost or rounded. Functions take blocks as uint8 [n, block_nbytes] and give planes as uint8 [n, nbytes], in
NumPy or CuPy alike: they run on the device where the weights are. Sources of the layouts: `realizar.quant.layouts`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

Bytes = Any
"""A uint8 array of NumPy or CuPy."""


@attrs.frozen
class Planes:
    """low, high, scales, super: what `Planes` of codes.cuh points to; None where a type has no such plane."""

    low: Bytes
    high: Bytes | None = None
    scales: Bytes | None = None
    super: Bytes | None = None

    @property
    def arrays(self) -> tuple[Bytes | None, ...]:
        """The four, in the order of the C++ structure."""
        return self.low, self.high, self.scales, self.super


def _fields(packed: Bytes, bits: int, run: int) -> Bytes:
    """Small integers out of bytes, as `realizar.quant.packing.unpack`: [n, bytes] to [n, bytes * 8 / bits]."""
    n, mask = packed.shape[0], (1 << bits) - 1
    runs = packed.reshape(n, -1, 1, run)
    fields = runs.repeat(8 // bits, axis=2)
    for place in range(8 // bits):
        fields[:, :, place] = (fields[:, :, place] >> (place * bits)) & mask
    return fields.reshape(n, -1)


def _nibbles(codes: Bytes) -> Bytes:
    """Four bits a code: low nibbles are codes 0-15 of a chunk, high ones 16-31."""
    halves = codes.reshape(codes.shape[0], -1, 2, 16)
    return (halves[:, :, 0] | (halves[:, :, 1] << 4)).reshape(codes.shape[0], -1)


def _pairs(codes: Bytes) -> Bytes:
    """Two bits a code, 8 bytes a chunk: code 16 h + 4 w + b has bits 2 w of byte 4 h + b."""
    words = codes.reshape(codes.shape[0], -1, 2, 4, 4)
    packed = words[:, :, :, 0] | (words[:, :, :, 1] << 2) | (words[:, :, :, 2] << 4) | (words[:, :, :, 3] << 6)
    return packed.reshape(codes.shape[0], -1)


def _singles(codes: Bytes) -> Bytes:
    """One bit a code, 4 bytes a chunk: code 4 w + b has bit w of byte b."""
    words = codes.reshape(codes.shape[0], -1, 8, 4)
    packed = words[:, :, 0]
    for w in range(1, 8):
        packed = packed | (words[:, :, w] << w)
    return packed.reshape(codes.shape[0], -1)


def _joined(*parts: Bytes) -> Bytes:
    """Byte arrays side by side; NumPy hands CuPy's arrays to CuPy."""
    return np.concatenate(parts, axis=1)


def _legacy(header: int) -> Callable[[Bytes], Planes]:
    """Q4_0, Q4_1, IQ4_NL, MXFP4: scales, then nibbles that lie as ours do."""
    return lambda b: Planes(b[:, header:], scales=b[:, :header])


def _five_bits(header: int) -> Callable[[Bytes], Planes]:
    """Q5_0, Q5_1: scales, fifth bits, nibbles."""
    return lambda b: Planes(b[:, header + 4 :], _singles(_fields(b[:, header : header + 4], 1, 1)), b[:, :header])


def _q8_0(b: Bytes) -> Planes:
    return Planes(b[:, 2:], scales=b[:, :2])


def _q2_k(b: Bytes) -> Planes:
    return Planes(_pairs(_fields(b[:, 16:80], 2, 32)), scales=b[:, :16], super=b[:, 80:84])


def _q3_k(b: Bytes) -> Planes:
    low, high = _fields(b[:, 96:104], 4, 8), _fields(b[:, 104:108], 2, 4)
    scales = (low | (high << 4)) - 32  # modulo 256: a signed byte
    return Planes(_pairs(_fields(b[:, 32:96], 2, 32)), _singles(_fields(b[:, :32], 1, 32)), scales, b[:, 108:110])


def _six_bit_super(b: Bytes) -> Bytes:
    """d, dmin and 12 bytes of 6-bit scales and minimums in the order of `six_bit_scales` in quants.cuh."""
    first, last = b[:, 4:12].reshape(-1, 2, 4), b[:, 12:16]
    low = (first[:, 0] & 15) | ((first[:, 1] & 15) << 4)
    top = (first >> 4) & 3  # of scales and minimums 0-3; those of 4-7 are the bits above
    upper = first >> 6
    nibbles = _joined(top[:, 0] | (top[:, 1] << 2), upper[:, 0] | (upper[:, 1] << 2))
    return _joined(b[:, :4], low, last, nibbles[:, 0::2] | (nibbles[:, 1::2] << 4))


def _q4_k(b: Bytes) -> Planes:
    return Planes(_nibbles(_fields(b[:, 16:144], 4, 32)), super=_six_bit_super(b))


def _q5_k(b: Bytes) -> Planes:
    low = _nibbles(_fields(b[:, 48:176], 4, 32))
    return Planes(low, _singles(_fields(b[:, 16:48], 1, 32)), super=_six_bit_super(b))


def _q6_k(b: Bytes) -> Planes:
    low, high = _nibbles(_fields(b[:, :128], 4, 64)), _pairs(_fields(b[:, 128:192], 2, 32))
    return Planes(low, high, b[:, 192:208], b[:, 208:210])


def _iq4_xs(b: Bytes) -> Planes:
    scales = (_fields(b[:, 4:8], 4, 1) | (_fields(b[:, 2:4], 2, 1) << 4)) - 32  # modulo 256: a signed byte
    return Planes(b[:, 8:136], scales=scales, super=b[:, :2])


REPACK: dict[str, Callable[[Bytes], Planes]] = {
    "Q4_0": _legacy(2), "Q4_1": _legacy(4), "Q5_0": _five_bits(2), "Q5_1": _five_bits(4), "Q8_0": _q8_0,
    "Q2_K": _q2_k, "Q3_K": _q3_k, "Q4_K": _q4_k, "Q5_K": _q5_k, "Q6_K": _q6_k,
    "IQ4_NL": _legacy(2), "IQ4_XS": _iq4_xs, "MXFP4": _legacy(1),
}  # fmt: skip
"""Quantized types that have kernels, and how their blocks become planes."""
