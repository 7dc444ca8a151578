"""Rotary frequencies: every kind of RoPE scaling ends as a list of inverse frequencies and a factor.

A graph has one rotation for all its positions, so longrope, which depends on the length of a text, is taken for the
longest one that the configuration allows; see `for_texts_of`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.errors import ModelError
from realizar.model import FULL, SLIDING, ModelConfig, RopeScaling
from realizar.tensors import LazyTensor

FACTORS = "model.rope_freqs.weight"
"""Tensor of divisors of the inverse frequencies, where a file carries them ready-made."""

LONG_FACTORS, SHORT_FACTORS = "model.rope_factors_long.weight", "model.rope_factors_short.weight"
"""Tensors of the divisors of longrope, where they are not in the configuration."""

Frequencies = NDArray[np.float64]

Scaled = tuple[Frequencies, float]
"""Frequencies, and what cosines and sines are multiplied by."""


@attrs.frozen
class Rotation:
    """Attributes of `rope` nodes. scale: what cosines and sines are multiplied by."""

    inv_freq: tuple[float, ...]
    scale: float = 1.0


def rotation(config: ModelConfig, tensors: Mapping[str, LazyTensor], kind: str = FULL) -> Rotation:
    """The rotation in layers of that kind: theta^(-2i/n) for i < n/2, n = rotary_dim, after the file's scaling.

    Source: Su et al. 2021, arXiv:2104.09864, section 3.2.2. Raises ModelError for an unknown scaling.
    """
    if kind == SLIDING and config.rope_local_base_freq is not None:
        config = attrs.evolve(config, rope_theta=config.rope_local_base_freq, rope_scaling=None)
    dim = config.rotary_dim or config.head_dim
    if dim % 2 or not 0 < dim <= config.head_dim:
        raise ModelError(f"rotary_dim is {dim}; expected an even number up to head_dim {config.head_dim}")
    frequencies = config.rope_theta ** (-np.arange(0, dim, 2, dtype=np.float64) / dim)
    if FACTORS in tensors:
        frequencies = frequencies / _read_factors(tensors[FACTORS], dim // 2)
    scale = 1.0
    if config.rope_scaling is not None:
        config = _with_factors(config, tensors, dim // 2)
        frequencies, scale = _scaled(frequencies, config, dim)
    return Rotation(tuple(float(f) for f in frequencies), scale)


def for_texts_of(config: ModelConfig, tensors: Mapping[str, LazyTensor], length: int) -> ModelConfig:
    """The configuration as it holds for texts of at most `length` tokens: within longrope's original context, its short
    factors are the only ones.

    Hugging Face goes by the length of each text, llama.cpp by that of the context, as is done here. What cosines and
    sines are multiplied by is the same for both.
    """
    scaling = config.rope_scaling
    if scaling is None or scaling.rope_type != "longrope":
        return config
    if length > (scaling.original_max_position_embeddings or config.max_position_embeddings):
        return config
    scaling = _with_factors(config, tensors, (config.rotary_dim or config.head_dim) // 2).rope_scaling
    assert scaling is not None
    return attrs.evolve(config, rope_scaling=attrs.evolve(scaling, long_factor=scaling.short_factor))


def _read_factors(tensor: LazyTensor, count: int) -> Frequencies:
    if tensor.shape != (count,):
        raise ModelError(f"{tensor.source}: shape {tensor.shape}, expected ({count},) for the rotary frequencies")
    return _proven_factors(tensor.to_float32(), tensor.source)


def _proven_factors(values: object, source: str) -> Frequencies:
    factors = np.asarray(values, np.float64)
    if not np.all(np.isfinite(factors) & (factors > 0)):
        raise ModelError(f"{source}: rotary factors must be positive and finite")
    return factors


def _with_factors(config: ModelConfig, tensors: Mapping[str, LazyTensor], count: int) -> ModelConfig:
    """The configuration with longrope's factors from the tensors, if they are there and it has none."""
    scaling = config.rope_scaling
    assert scaling is not None
    if scaling.long_factor is None and LONG_FACTORS in tensors:
        scaling = attrs.evolve(scaling, long_factor=tuple(_read_factors(tensors[LONG_FACTORS], count).tolist()))
    if scaling.short_factor is None and SHORT_FACTORS in tensors:
        scaling = attrs.evolve(scaling, short_factor=tuple(_read_factors(tensors[SHORT_FACTORS], count).tolist()))
    return attrs.evolve(config, rope_scaling=scaling)


def _scaled(frequencies: Frequencies, config: ModelConfig, dim: int) -> Scaled:
    scaling = config.rope_scaling
    assert scaling is not None
    if not (math.isfinite(scaling.factor) and scaling.factor > 0):
        raise ModelError(f"rope_scaling.factor is {scaling.factor}; expected a positive number")
    if scaling.rope_type not in _KINDS:
        raise ModelError(f"unknown rope_scaling type {scaling.rope_type!r}; known: {', '.join(_KINDS)}")
    return _KINDS[scaling.rope_type](frequencies, config, scaling, dim)


def _linear(frequencies: Frequencies, config: ModelConfig, scaling: RopeScaling, dim: int) -> Scaled:
    """All wavelengths are stretched alike. Source: Chen et al. 2023, arXiv:2306.15595."""
    return frequencies / scaling.factor, 1.0


def _dynamic(frequencies: Frequencies, config: ModelConfig, scaling: RopeScaling, dim: int) -> Scaled:
    """theta grows with the text beyond max_position_embeddings, so nothing changes before.

    Source: Peng et al. 2023, arXiv:2309.00071, appendix B.
    """
    return frequencies, 1.0


def _llama3(frequencies: Frequencies, config: ModelConfig, scaling: RopeScaling, dim: int) -> Scaled:
    """Long wavelengths are stretched by factor, short ones kept, those between interpolated.

    Source: Hugging Face `rope_scaling` type "llama3" (Llama 3.1 model card).
    """
    context = scaling.original_max_position_embeddings or config.max_position_embeddings
    wavelengths = 2 * math.pi / frequencies
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    if not high > low > 0:
        raise ModelError(f"rope_scaling: high_freq_factor {high} must exceed low_freq_factor {low}, both positive")
    kept = np.clip((context / wavelengths - low) / (high - low), 0, 1)
    return (1 - kept) * frequencies / scaling.factor + kept * frequencies, 1.0


def _yarn(frequencies: Frequencies, config: ModelConfig, scaling: RopeScaling, dim: int) -> Scaled:
    """What turns more than beta_fast times in the original context is kept, less than beta_slow times stretched.

    Source: Peng et al. 2023, arXiv:2309.00071, section 3.4; cosines and sines grow with the logarithm of factor.
    """
    context = scaling.original_max_position_embeddings or config.max_position_embeddings
    if not scaling.beta_fast > scaling.beta_slow > 0 or not config.rope_theta > 1:
        raise ModelError("rope_scaling: yarn needs beta_fast above beta_slow above 0, and rope_theta above 1")

    def dimension(turns: float) -> float:
        """Index of the frequency that turns so many times."""
        return dim * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(config.rope_theta))

    low, high = dimension(scaling.beta_fast), dimension(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    stretched = np.clip((np.arange(dim // 2) - low) / max(high - low, 0.001), 0, 1)
    return frequencies * (1 - stretched) + frequencies / scaling.factor * stretched, _yarn_scale(scaling)


def _yarn_scale(scaling: RopeScaling) -> float:
    def grown(mscale: float) -> float:
        return 0.1 * mscale * math.log(scaling.factor) + 1 if scaling.factor > 1 else 1.0

    if scaling.attention_factor is not None:
        return scaling.attention_factor
    if scaling.mscale and scaling.mscale_all_dim:
        return grown(scaling.mscale) / grown(scaling.mscale_all_dim)
    return grown(1.0)


def _longrope(frequencies: Frequencies, config: ModelConfig, scaling: RopeScaling, dim: int) -> Scaled:
    """Each frequency has its own divisor, one for the original context and one for longer ones.

    Source: Ding et al. 2024, arXiv:2402.13753; the factor of cosines and sines as in Hugging Face's `rope_scaling`.
    """
    context = config.max_position_embeddings
    original = scaling.original_max_position_embeddings or context
    name = "long_factor" if context > original else "short_factor"
    divisors = getattr(scaling, name)
    if divisors is None or len(divisors) != dim // 2:
        raise ModelError(f"rope_scaling.{name} must have {dim // 2} numbers; found {divisors and len(divisors)}")
    growth = scaling.factor if scaling.factor != 1 else context / original
    scale = scaling.attention_factor
    if scale is None:
        scale = math.sqrt(1 + math.log(growth) / math.log(original)) if growth > 1 else 1.0
    return frequencies / _proven_factors(divisors, f"rope_scaling.{name}"), scale


_KINDS: dict[str, Callable[[Frequencies, ModelConfig, RopeScaling, int], Scaled]] = {
    "linear": _linear, "dynamic": _dynamic, "llama3": _llama3, "yarn": _yarn, "longrope": _longrope,
}  # fmt: skip
