"""Rows of the query and key projections, and their norms, that GGUF keeps in another order than Hugging Face.

For some architectures the converter stores each head with the two elements of a rotary pair side by side
(0, d/2, 1, d/2 + 1, ...), while Hugging Face keeps the first halves before the second (0, 1, ..., d/2, ...).
Source: llama.cpp `conversion/llama.py`, `LlamaModel.permute`.
"""

from __future__ import annotations

from realizar.errors import FormatError
from realizar_gguf.cursor import malformed
from realizar_gguf.families import Family
from realizar_gguf.metadata import Metadata
from realizar_gguf.names import LAYER_NAME
from realizar_gguf.tensor_index import TensorInfo

_QUERIES, _KEYS = ("attention.head_count",), ("attention.head_count_kv", "attention.head_count")
_HEAD_COUNT = {"attn_q": _QUERIES, "attn_k": _KEYS, "attn_q_norm": _QUERIES, "attn_k_norm": _KEYS}


def interleaved_heads(info: TensorInfo, metadata: Metadata, family: Family) -> int | None:
    """How many heads of `info` must be brought into Hugging Face's order; None if none."""
    match = LAYER_NAME.fullmatch(info.name)
    if not family.interleaved or match is None or match[2] not in _HEAD_COUNT:
        return None
    is_norm = match[2].endswith("_norm")
    if is_norm and not family.qk_norms:
        return None
    architecture = metadata.string("general.architecture")
    for key in _HEAD_COUNT[match[2]]:
        num_heads = metadata.integer(f"{architecture}.{key}", 1, 1 << 16)
        if num_heads is not None:
            return (_proven_norms if is_norm else _proven_heads)(info, num_heads, metadata)
    raise _error(info, metadata, "no key for its number of heads", f"{architecture}.attention.head_count")


def _proven_heads(info: TensorInfo, num_heads: int, metadata: Metadata) -> int:
    num_rows = info.shape[0] if info.shape else 1
    if num_rows % (2 * num_heads) or (len(info.shape) == 1 and info.dtype.is_quantized):
        found = f"{num_rows} rows of {info.dtype.name} for {num_heads} heads"
        raise _error(info, metadata, found, "whole rows, an even number for each head")
    return num_heads


def _proven_norms(info: TensorInfo, num_heads: int, metadata: Metadata) -> int:
    if info.shape[:-1] != (num_heads,) or info.shape[-1] % 2 or info.dtype.is_quantized:
        found = f"{info.dtype.name} of shape {info.shape} for {num_heads} heads"
        raise _error(info, metadata, found, "a row of plain factors for each head, an even number")
    return num_heads


def _error(info: TensorInfo, metadata: Metadata, found: str, expected: str) -> FormatError:
    return malformed(metadata.file, info.described_at, f"tensor {info.name!r} with {found}", expected)
