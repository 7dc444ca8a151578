"""Logical element types: plain numbers and ggml's quantized blocks.

NumPy has no bfloat16, no 8-bit floats and no 4-bit blocks, so a tensor's type is a `DType`; its bytes travel as a
NumPy array of the `storage` type (BF16 as uint16, F8 and blocks as uint8).
Names: ggml's, and those of Safetensors where ggml has none. Block sizes: ggml `ggml-common.h`, structs `block_*`.
"""

from __future__ import annotations

import attrs

from realizar.errors import FormatError


@attrs.frozen
class DType:
    """An element type: `block_size` elements in `block_nbytes` bytes; plain types have blocks of one."""

    name: str
    block_size: int
    block_nbytes: int
    storage: str = "u1"

    @property
    def is_quantized(self) -> bool:
        """Whether elements come in blocks that must be dequantized."""
        return self.block_size > 1

    def row_nbytes(self, num_elements: int) -> int:
        """Bytes of a row of `num_elements`; raises FormatError if they do not fill whole blocks."""
        blocks, rest = divmod(num_elements, self.block_size)
        if rest:
            raise FormatError(
                f"a row of {num_elements} elements is not whole blocks of {self.block_size} ({self.name})"
            )
        return blocks * self.block_nbytes


_PLAIN = {
    "F64": (8, "<f8"), "F32": (4, "<f4"), "F16": (2, "<f2"), "BF16": (2, "<u2"),
    "I8": (1, "i1"), "I16": (2, "<i2"), "I32": (4, "<i4"), "I64": (8, "<i8"),
    "U8": (1, "u1"), "U16": (2, "<u2"), "U32": (4, "<u4"), "U64": (8, "<u8"), "BOOL": (1, "u1"),
    "F8_E4M3": (1, "u1"), "F8_E5M2": (1, "u1"), "F8_E8M0": (1, "u1"),
    "F8_E4M3FNUZ": (1, "u1"), "F8_E5M2FNUZ": (1, "u1"),
}  # fmt: skip

_BLOCKS = {
    "Q1_0": (128, 18), "Q2_0": (64, 18),
    "Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_0": (32, 34), "Q8_1": (32, 36),
    "Q2_K": (256, 84), "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210),
    "Q8_K": (256, 292),
    "IQ1_S": (256, 50), "IQ1_M": (256, 56), "IQ2_XXS": (256, 66), "IQ2_XS": (256, 74), "IQ2_S": (256, 82),
    "IQ3_XXS": (256, 98), "IQ3_S": (256, 110), "IQ4_NL": (32, 18), "IQ4_XS": (256, 136),
    "TQ1_0": (256, 54), "TQ2_0": (256, 66), "MXFP4": (32, 17), "NVFP4": (64, 36),
}  # fmt: skip

DTYPES: dict[str, DType] = {
    **{name: DType(name, 1, nbytes, storage) for name, (nbytes, storage) in _PLAIN.items()},
    **{name: DType(name, size, nbytes) for name, (size, nbytes) in _BLOCKS.items()},
}
"""Every known type by its name."""


def dtype(name: str) -> DType:
    """The type of that name; raises FormatError naming the known ones."""
    try:
        return DTYPES[name]
    except KeyError:
        raise FormatError(f"unknown element type {name!r}; known: {', '.join(sorted(DTYPES))}") from None
