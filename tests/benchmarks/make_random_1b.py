"""Write a GGUF file of the shape of Llama 3.2 1B with random weights, for timing: python make_random_1b.py FILE.

Q4_K throughout, but Q6_K where the embedding is also the output head. realizar and llama.cpp both run it; what it
says is noise. Sizes can be changed, so that a test gets a tiny one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
from random_blocks import random_rows

from realizar.dtypes import dtype
from realizar.pipeline.byte_alphabet import BYTE_TO_CHAR
from realizar_gguf.writer import Tensor, write_gguf

HEAD_DIM, QUERIES_PER_KEY, FFN_FACTOR, NUM_CONTROL = 64, 4, 4, 256
NORMAL, CONTROL = 1, 3


class RandomTensors(Sequence[Tensor]):
    """The tensors of the model, each made anew, and equal, whenever it is asked for: one at a time is in memory."""

    def __init__(self, hidden: int, layers: int, vocabulary: int, seed: int) -> None:
        self._seed = seed
        self._shapes = {"token_embd.weight": (vocabulary, hidden)}
        for i in range(layers):
            self._shapes |= {f"blk.{i}.{name}.weight": shape for name, shape in _layer(hidden).items()}
        self._shapes["output_norm.weight"] = (hidden,)

    def __len__(self) -> int:
        return len(self._shapes)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...

    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        name, shape = list(self._shapes.items())[index]
        rng = np.random.default_rng((self._seed, index))
        if len(shape) == 1:
            return name, shape, dtype("F32"), rng.uniform(0.9, 1.1, shape).astype(np.float32)
        kind = "Q6_K" if name == "token_embd.weight" else "Q4_K"
        return name, shape, dtype(kind), random_rows(kind, shape, rng)


def _layer(hidden: int) -> dict[str, tuple[int, ...]]:
    key, ffn = hidden // QUERIES_PER_KEY, FFN_FACTOR * hidden
    return {
        "attn_norm": (hidden,), "attn_q": (hidden, hidden), "attn_k": (key, hidden), "attn_v": (key, hidden),
        "attn_output": (hidden, hidden), "ffn_norm": (hidden,), "ffn_gate": (ffn, hidden), "ffn_up": (ffn, hidden),
        "ffn_down": (hidden, ffn),
    }  # fmt: skip


def write_model(path: Path, *, hidden: int, layers: int, vocabulary: int, seed: int) -> None:
    """Write the file; hidden is a multiple of 256, vocabulary at least 512."""
    write_gguf(path, metadata(hidden, layers, vocabulary), RandomTensors(hidden, layers, vocabulary, seed))


def metadata(hidden: int, layers: int, vocabulary: int) -> dict[str, object]:
    """Llama 3.2's keys, and a byte-level BPE that has every pair of bytes as a token, and some triples."""
    heads = hidden // HEAD_DIM
    sizes = {
        "context_length": 131072, "embedding_length": hidden, "block_count": layers, "vocab_size": vocabulary,
        "feed_forward_length": FFN_FACTOR * hidden, "attention.head_count": heads,
        "attention.head_count_kv": heads // QUERIES_PER_KEY, "attention.key_length": HEAD_DIM,
        "attention.value_length": HEAD_DIM, "rope.dimension_count": HEAD_DIM, "rope.freq_base": 500000.0,
        "attention.layer_norm_rms_epsilon": 1e-5,
    }  # fmt: skip
    merges = _merges(vocabulary - NUM_CONTROL - len(BYTE_TO_CHAR))
    texts = [*BYTE_TO_CHAR, *("".join(merge) for merge in merges)]
    tokenizer = {
        "model": "gpt2", "pre": "llama-bpe",
        "tokens": texts + [f"<|control_{i}|>" for i in range(NUM_CONTROL)],
        "token_type": [NORMAL] * len(texts) + [CONTROL] * NUM_CONTROL,
        "merges": [" ".join(merge) for merge in merges],
        "bos_token_id": len(texts), "eos_token_id": len(texts) + 1,
    }  # fmt: skip
    return {
        "general.architecture": "llama", "general.name": "random weights", "general.quantization_version": 2,
        **{f"llama.{name}": value for name, value in sizes.items()},
        **{f"tokenizer.ggml.{name}": value for name, value in tokenizer.items()},
    }  # fmt: skip


def _merges(count: int) -> list[tuple[str, str]]:
    pairs = [(a, b) for a in BYTE_TO_CHAR for b in BYTE_TO_CHAR]
    triples = [(a + b, c) for a, b in pairs[: max(0, count - len(pairs)) // 256 + 1] for c in BYTE_TO_CHAR]
    return (pairs + triples)[:count]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--hidden", type=int, default=2048, help="hidden size, a multiple of 256")
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--vocabulary", type=int, default=128256, help="tokens, at least 512")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    if chosen.hidden < 256 or chosen.hidden % 256 or chosen.vocabulary < NUM_CONTROL + 256:
        parser.error(f"found hidden {chosen.hidden}, vocabulary {chosen.vocabulary}; expected 256 n, and 512 or more")
    sizes = {name: value for name, value in vars(chosen).items() if name != "file"}
    write_model(chosen.file, **sizes)
    print(f"{chosen.file}: {chosen.file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
