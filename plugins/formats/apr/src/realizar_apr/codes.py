"""Element type codes of the tensor index, and what each may mean.

aprender and realizar gave some numbers two meanings: aprender's own, and ggml's type numbers. Which one is meant shows
in the size of the tensor (see `encodings`). Imports nothing, because `plugin` needs it.

Source: aprender `src/format/v2/tensor_index_impl.rs`; realizar 0.8 `src/apr/mod.rs`; ggml `ggml.h`, enum ggml_type.
"""

from __future__ import annotations

APR_Q4, APR_Q8 = "AprQ4", "AprQ8"
"""aprender's own 4-bit and 8-bit numbers; core has no such types, for they are read as others."""

CODES: dict[int, tuple[str, ...]] = {
    0: ("F32",), 1: ("F16",), 2: ("BF16", "Q4_0"), 3: ("F64", "Q4_1"), 4: ("I32",), 5: ("I64",),
    6: ("I8", "Q5_0"), 7: ("U8", "Q5_1"), 8: (APR_Q4, "Q8_0"), 9: (APR_Q8, "Q8_1"),
    10: ("Q2_K",), 11: ("Q3_K",), 12: ("Q4_K",), 13: ("Q5_K",), 14: ("Q6_K",), 15: ("Q8_K",),
    16: ("IQ2_XXS",), 17: ("IQ2_XS",), 18: ("IQ3_XXS",), 19: ("IQ1_S",), 20: ("IQ4_NL",), 21: ("IQ3_S",),
    22: ("IQ2_S",), 23: ("IQ4_XS",), 24: ("I8",), 25: ("I16",), 26: ("I32",), 27: ("I64",), 28: ("F64",),
    29: ("IQ1_M",), 30: ("BF16",), 34: ("TQ1_0",), 35: ("TQ2_0",), 39: ("MXFP4",), 40: ("NVFP4",),
    41: ("Q1_0",), 42: ("Q2_0",), 128: (APR_Q4,), 129: (APR_Q8,),
}  # fmt: skip
"""Code -> the types it may mean, aprender's own meaning first: where sizes do not tell them apart, that one counts."""

APRENDER: dict[str, int] = {
    "F32": 0, "F16": 1, "F64": 3, "I32": 4, "I64": 5, "I8": 6, "U8": 7, "Q4_K": 12, "Q6_K": 14, "BF16": 30,
}  # fmt: skip
"""The types that aprender reads, by name."""

NUMBERS: dict[str, int] = {
    **{name: code for code, names in CODES.items() for name in names if code < 128}, **APRENDER
}  # fmt: skip
"""What is written for each type."""

WRITABLE = frozenset(NUMBERS) - {APR_Q4, APR_Q8}
