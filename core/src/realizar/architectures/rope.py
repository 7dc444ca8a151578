"""Rotary frequencies: every kind of RoPE scaling ends as a list of inverse frequencies."""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs
import numpy as np
from numpy.typing import NDArray

from realizar.errors import ModelError
from realizar.model import FULL, SLIDING, ModelConfig, RopeScaling
from realizar.tensors import LazyTensor

FACTORS = "model.rope_freqs.weight"
"""Tensor of divisors of the inverse frequencies, where a file carries them ready-made."""


@attrs.frozen
class Rotation:
    """Attributes of `rope` nodes. scale: what cosines and sines are multiplied by."""

    inv_freq: tuple[float, ...]
    scale: float = 1.0


def rotation(config: ModelConfig, tensors: Mapping[str, LazyTensor], kind: str = FULL) -> Rotation:
    """The rotation in layers of that kind; raises ModelError for an unknown scaling."""
    if kind == SLIDING and config.rope_local_base_freq is not None:
        config = attrs.evolve(config, rope_theta=config.rope_local_base_freq, rope_scaling=None)
    return Rotation(inverse_frequencies(config, tensors))


def inverse_frequencies(config: ModelConfig, tensors: Mapping[str, LazyTensor]) -> tuple[float, ...]:
    """theta^(-2i/n) for i < n/2, n = rotary_dim, after the file's scaling.

    Source: Su et al. 2021, arXiv:2104.09864, section 3.2.2. Raises ModelError for an unknown scaling.
    """
    dim = config.rotary_dim or config.head_dim
    if dim % 2 or not 0 < dim <= config.head_dim:
        raise ModelError(f"rotary_dim is {dim}; expected an even number up to head_dim {config.head_dim}")
    frequencies = config.rope_theta ** (-np.arange(0, dim, 2, dtype=np.float64) / dim)
    if FACTORS in tensors:
        frequencies = frequencies / _factors(tensors[FACTORS], dim // 2)
    if config.rope_scaling is not None:
        frequencies = _scale(frequencies, config.rope_scaling, config.max_position_embeddings)
    return tuple(float(f) for f in frequencies)


def _factors(tensor: LazyTensor, count: int) -> NDArray[np.float64]:
    if tensor.shape != (count,):
        raise ModelError(f"{tensor.source}: shape {tensor.shape}, expected ({count},) for the rotary frequencies")
    factors = tensor.to_float32().astype(np.float64)
    if not np.all(np.isfinite(factors) & (factors > 0)):
        raise ModelError(f"{tensor.source}: rotary factors must be positive and finite")
    return factors


def _scale(frequencies: NDArray[np.float64], scaling: RopeScaling, context: int) -> NDArray[np.float64]:
    if not scaling.factor > 0:
        raise ModelError(f"rope_scaling.factor is {scaling.factor}; expected a positive number")
    if scaling.rope_type == "linear":
        return frequencies / scaling.factor
    if scaling.rope_type == "llama3":
        return _llama3(frequencies, scaling, scaling.original_max_position_embeddings or context)
    raise ModelError(f"unknown rope_scaling type {scaling.rope_type!r}; known: linear, llama3")


def _llama3(frequencies: NDArray[np.float64], scaling: RopeScaling, context: int) -> NDArray[np.float64]:
    """Long wavelengths are stretched by factor, short ones kept, those between interpolated.

    Source: Hugging Face `rope_scaling` type "llama3" (Llama 3.1 model card).
    """
    wavelengths = 2 * math.pi / frequencies
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    if not high > low > 0:
        raise ModelError(f"rope_scaling: high_freq_factor {high} must exceed low_freq_factor {low}, both positive")
    kept = np.clip((context / wavelengths - low) / (high - low), 0, 1)
    return (1 - kept) * frequencies / scaling.factor + kept * frequencies
