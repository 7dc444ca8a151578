"""What the name of a GGUF architecture says beyond its keys.

Source: llama.cpp, `src/models/*.cpp` for constants that are not in the file, `conversion/*.py` for how tensors are
stored, `llama_model_rope_type` for the order of rotary pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs


@attrs.frozen
class Family:
    """A GGUF architecture in Hugging Face's terms.

    model_type: what Hugging Face calls it. values: fields of ModelConfig that it always has. names: parts of layers
    named otherwise than usual. interleaved: whether rotary pairs lie side by side in the rows of q and k.
    sliding_pattern: of so many layers the last sees everything; 1: none slides.
    """

    model_type: str
    values: Mapping[str, Any] = attrs.field(factory=dict)
    names: Mapping[str, str] = attrs.field(factory=dict)
    interleaved: bool = False
    sliding_pattern: int | None = None
    derived: Callable[[Mapping[str, Any]], Mapping[str, Any]] = attrs.field(default=lambda values: {})
    """Further fields that follow from those read."""


_POST_NORMS = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}


def _gemma_27b(values: Mapping[str, Any]) -> dict[str, Any]:
    """The largest Gemma 2 and 3 scale queries by another size, which is in no key; llama.cpp counts layers too."""
    if values["num_hidden_layers"] not in (46, 62):
        return {}
    return {"query_pre_attn_scalar": values["hidden_size"] // values["num_attention_heads"]}


FAMILIES: dict[str, Family] = {
    "llama": Family("llama", interleaved=True),
    "gemma3": Family(
        "gemma3_text", {"hidden_act": "gelu_tanh", "rope_local_base_freq": 10000.0}, _POST_NORMS,
        sliding_pattern=6, derived=_gemma_27b,
    ),
}  # fmt: skip
"""Family by GGUF's name of the architecture."""


def family(architecture: str | None) -> Family:
    """The family of that name; an unknown one is taken by its keys alone."""
    return FAMILIES.get(architecture or "", Family(architecture or ""))
