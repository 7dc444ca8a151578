"""Quantized weights: reference dequantization of every ggml block type, and the simple quantizers."""

from __future__ import annotations

from realizar.quant.dequantize import dequantize
from realizar.quant.quantize import quantize

__all__ = ["dequantize", "quantize"]
