"""general.file_type: what most of a file's weights are. Source: llama.cpp `include/llama.h`, enum llama_ftype."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from realizar.tensors import LazyTensor

NUMBERS = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10,
    "Q3_K": 11, "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13, "Q4_K": 14, "Q4_K_S": 14, "Q4_K_M": 15,
    "Q5_K": 16, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ2_XXS": 19, "IQ2_XS": 20, "Q2_K_S": 21, "IQ3_XXS": 23,
    "IQ1_S": 24, "IQ4_NL": 25, "IQ3_S": 26, "IQ2_S": 28, "IQ4_XS": 30, "IQ1_M": 31, "BF16": 32, "TQ1_0": 36,
    "TQ2_0": 37, "MXFP4": 38,
}  # fmt: skip
"""Of types and of mixes; a type alone stands for its smallest mix."""


def file_type_keys(
    tensors: Sequence[LazyTensor], retyped: str | None, carried: Mapping[str, object]
) -> dict[str, object]:
    """general.file_type, and general.quantization_version where there are blocks.

    retyped: what the weights have just been made; otherwise the number that the file had stays.
    """
    keys: dict[str, object] = {}
    if retyped is not None or "general.file_type" not in carried:
        number = NUMBERS.get(retyped or _main(tensors))
        keys = {} if number is None else {"general.file_type": number}
    blocks = any(tensor.dtype.is_quantized for tensor in tensors)
    if blocks and "general.quantization_version" not in carried:
        keys["general.quantization_version"] = 2
    return keys


def _main(tensors: Sequence[LazyTensor]) -> str:
    """The type of most bytes of the layers' weights, empty for none."""
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.name.startswith("blk.") and len(tensor.shape) > 1:
            sizes[tensor.dtype.name] += tensor.nbytes
    return sizes.most_common(1)[0][0] if sizes else ""
