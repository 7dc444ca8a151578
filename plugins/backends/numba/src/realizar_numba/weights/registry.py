"""Which weight types have a layout of their own."""

from __future__ import annotations

from typing import Any

from realizar_numba.weights import floats, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0

INTEGER_LAYOUTS: dict[str, Any] = {
    "Q4_0": q4_0, "Q4_1": q4_1, "Q5_0": q5_0, "Q5_1": q5_1, "Q8_0": q8_0, "Q4_K": q4_k, "Q5_K": q5_k, "Q6_K": q6_k,
}  # fmt: skip
"""Types whose kernels take int8 activations, by ggml name."""

FLOAT_LAYOUTS: dict[str, Any] = {"F32": floats.F32, "F16": floats.F16, "BF16": floats.BF16}
"""Types whose kernels take float32 activations."""

LAYOUTS: dict[str, Any] = INTEGER_LAYOUTS | FLOAT_LAYOUTS
"""All of them; every other type is dequantized to F32 at load."""
