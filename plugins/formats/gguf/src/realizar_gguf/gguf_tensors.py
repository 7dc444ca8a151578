"""A model's tensors as GGUF keeps them: its names, its row orders, rotary factors as tensors.

The inverse of what `reader` does; a tensor that came from a GGUF file gets its bytes back.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Container, Mapping

import attrs
import numpy as np

from realizar.architectures.rope import FACTORS, LONG_FACTORS, SHORT_FACTORS, rotation
from realizar.derived import FUSED_GATE_UP, FUSED_QKV, as_vector, fused, head_by_head, pair_joined
from realizar.dtypes import DTYPES
from realizar.errors import FormatError, ModelError
from realizar.model import ModelConfig
from realizar.tensors import Array, LazyTensor
from realizar_gguf.families import Family, architecture_of
from realizar_gguf.names import gguf_name

log = logging.getLogger(__name__)

F32 = DTYPES["F32"]

PARTS = {
    FUSED_QKV: ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    FUSED_GATE_UP: ("mlp.gate_proj", "mlp.up_proj"),
}


def gguf_tensors(config: ModelConfig, tensors: Mapping[str, LazyTensor]) -> list[LazyTensor]:
    """All tensors with GGUF's names; raises FormatError for one that the family has no place for."""
    _, family = architecture_of(config)
    try:
        put = {name: _put(tensor, config, family) for name, tensor in _used(config, family, tensors).items()}
        put = _fuse(put, family)
    except ModelError as error:
        raise FormatError(str(error)) from error
    found = [attrs.evolve(tensor, name=gguf_name(name, family)) for name, tensor in put.items()]
    return found + _factors(config, tensors)


def without_factors(config: ModelConfig, names: Container[str]) -> ModelConfig:
    """The configuration as GGUF's keys have it beside tensors of rotary factors."""
    scaling = config.rope_scaling
    if scaling is None:
        return config
    if scaling.rope_type == "llama3" and "rope_freqs.weight" in names:
        return attrs.evolve(config, rope_scaling=None)
    if "rope_factors_long.weight" in names:
        factor = scaling.attention_factor
        if factor is None and scaling.long_factor is not None:  # GGUF's readers do not work it out
            factor = rotation(config, {}).scale
        scaling = attrs.evolve(scaling, long_factor=None, short_factor=None, attention_factor=factor)
        return attrs.evolve(config, rope_scaling=scaling)
    return config


def _used(config: ModelConfig, family: Family, tensors: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """Without an output layer that is only a copy of the embedding, and what the family leaves out."""
    if left := [name for name in tensors if name.startswith(family.left_out)]:
        log.warning("not written, for no embedding is made of them: %s", ", ".join(tensors[n].source for n in left))
    tied = ("lm_head.weight",) if config.tie_word_embeddings else ()
    return {name: tensor for name, tensor in tensors.items() if name not in (*left, *tied)}


def _put(tensor: LazyTensor, config: ModelConfig, family: Family) -> LazyTensor:
    name = tensor.name
    if family.interleaved and (match := re.search(r"\.([qk])_(proj|norm)\.", name)):
        heads = config.num_attention_heads if match[1] == "q" else config.num_key_value_heads
        tensor = pair_joined(tensor, heads) if match[2] == "proj" else head_by_head(tensor, heads, pair_joined)
    if name.endswith(".shared_expert_gate.weight"):
        tensor = as_vector(tensor)
    return _widened(tensor) if len(tensor.shape) == 1 or name.endswith("_norm.weight") else tensor


def _widened(tensor: LazyTensor) -> LazyTensor:
    """Vectors and norms are float32, as llama.cpp's kernels want them; nothing is rounded."""
    if tensor.dtype.name not in ("F16", "BF16"):
        return tensor
    return attrs.evolve(tensor, dtype=F32, read=tensor.to_float32)


def _fuse(tensors: dict[str, LazyTensor], family: Family) -> dict[str, LazyTensor]:
    """Projections that the family keeps in one tensor, in the place of the first of them."""
    found: dict[str, LazyTensor] = {}
    for name, tensor in tensors.items():
        whole = next((w for w in family.fused if any(f".{part}." in name for part in PARTS[w])), None)
        if whole is None:
            found[name] = tensor
            continue
        own = next(part for part in PARTS[whole] if f".{part}." in name)
        names = [name.replace(own, part) for part in PARTS[whole]]
        if all(part in tensors for part in names):
            target = name.replace(own, whole)
            found.setdefault(target, fused(target, [tensors[part] for part in names]))
        elif whole == FUSED_GATE_UP:
            found[name] = tensor
        else:
            raise ModelError(f"{tensor.source}: GGUF wants {', '.join(names)} together, and not all are there")
    return found


def _factors(config: ModelConfig, tensors: Mapping[str, LazyTensor]) -> list[LazyTensor]:
    """Divisors of the rotary frequencies that the configuration holds and GGUF wants as tensors."""
    scaling, where = config.rope_scaling, "computed from rope_scaling"
    if scaling is None:
        return []
    if scaling.rope_type == "llama3" and FACTORS not in tensors:
        plain = np.array(rotation(attrs.evolve(config, rope_scaling=None), {}).inv_freq)
        return [_vector("rope_freqs.weight", plain / np.array(rotation(config, {}).inv_freq), where)]
    lists = {LONG_FACTORS: scaling.long_factor, SHORT_FACTORS: scaling.short_factor}
    return [
        _vector(name.removeprefix("model."), np.array(values), where)
        for name, values in lists.items()
        if values is not None and name not in tensors
    ]


def _vector(name: str, values: Array, source: str) -> LazyTensor:
    stored = values.astype(np.float32)
    return LazyTensor(name, stored.shape, F32, source, lambda: stored)
