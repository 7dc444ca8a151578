"""llama.cpp's library, on the CPU, in float32: what it makes of token ids.

REALIZAR_LLAMA_CPP_BIN names the folder with libllama.so and the libraries beside it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

LIBRARY = Path(os.environ.get("REALIZAR_LLAMA_CPP_BIN", ".")) / "libllama.so"
MISSING = "REALIZAR_LLAMA_CPP_BIN names no folder with libllama.so"


class Batch(ctypes.Structure):
    """llama_batch of `include/llama.h`."""

    _fields_: ClassVar = [("n_tokens", ctypes.c_int32), *((name, ctypes.c_void_p) for name in (
        "token", "embd", "pos", "n_seq_id", "seq_id", "logits"))]  # fmt: skip


class ModelParams(ctypes.Structure):
    """llama_model_params: only its size matters, for what the library fills in is handed back."""

    _fields_: ClassVar = [("opaque", ctypes.c_uint64 * 10)]


class ContextParams(ctypes.Structure):
    """llama_context_params, of which the sizes at its start and the types of the cache are set."""

    _fields_: ClassVar = [
        ("n_ctx", ctypes.c_uint32), ("n_batch", ctypes.c_uint32), ("n_ubatch", ctypes.c_uint32),
        ("others", ctypes.c_uint32 * 4), ("n_threads", ctypes.c_int32), ("n_threads_batch", ctypes.c_int32),
        ("ctx_type", ctypes.c_int32), ("rope_scaling_type", ctypes.c_int32), ("pooling_type", ctypes.c_int32),
        ("attention_type", ctypes.c_int32), ("flash_attn_type", ctypes.c_int32), ("rope", ctypes.c_uint32 * 8),
        ("cb_eval", ctypes.c_void_p * 2), ("type_k", ctypes.c_int32), ("type_v", ctypes.c_int32),
        ("abort", ctypes.c_void_p * 2), ("truths", ctypes.c_bool * 6), ("samplers", ctypes.c_void_p),
        ("n_samplers", ctypes.c_size_t), ("ctx_other", ctypes.c_void_p),
    ]  # fmt: skip


@functools.cache
def library() -> Any:
    """libllama with the signatures that ctypes cannot guess; it logs nothing."""
    for name in ("libggml-base.so", "libggml-cpu.so", "libggml.so"):
        ctypes.CDLL(str(LIBRARY.with_name(name)), mode=ctypes.RTLD_GLOBAL)
    llama = ctypes.CDLL(str(LIBRARY))
    llama.llama_model_default_params.restype = ModelParams
    llama.llama_context_default_params.restype = ContextParams
    llama.llama_model_load_from_file.argtypes = [ctypes.c_char_p, ModelParams]
    llama.llama_init_from_model.argtypes = [ctypes.c_void_p, ContextParams]
    llama.llama_batch_init.restype = Batch
    llama.llama_decode.argtypes = llama.llama_encode.argtypes = [ctypes.c_void_p, Batch]
    for name in ("llama_get_logits_ith", "llama_get_embeddings_ith", "llama_get_embeddings_seq"):
        getattr(llama, name).restype = ctypes.POINTER(ctypes.c_float)
        getattr(llama, name).argtypes = [ctypes.c_void_p, ctypes.c_int32]
    for name in ("llama_model_load_from_file", "llama_init_from_model", "llama_model_get_vocab"):
        getattr(llama, name).restype = ctypes.c_void_p
    for name in ("llama_free", "llama_model_free", "llama_model_get_vocab"):
        getattr(llama, name).argtypes = [ctypes.c_void_p]
    llama.llama_tokenize.argtypes = [
        ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.POINTER(ctypes.c_int32), ctypes.c_int32,
        ctypes.c_bool, ctypes.c_bool,
    ]  # fmt: skip
    llama.quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    llama.llama_log_set(llama.quiet, None)
    return llama


@contextlib.contextmanager
def opened(path: Path, size: int, embeddings: bool = False) -> Iterator[tuple[int, int]]:
    """A model and a context of it for texts of `size` tokens, with a float32 cache."""
    llama = library()
    model = llama.llama_model_load_from_file(str(path).encode(), llama.llama_model_default_params())
    assert model, f"llama.cpp does not load {path}"
    params = llama.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = size
    params.type_k = params.type_v = 0  # GGML_TYPE_F32
    params.flash_attn_type = 0
    params.n_threads = params.n_threads_batch = 1
    params.truths[0] = embeddings
    context = llama.llama_init_from_model(model, params)
    assert context, f"llama.cpp makes no context for {path}"
    try:
        yield model, context
    finally:
        llama.llama_free(context)
        llama.llama_model_free(model)


def batch_of(ids: list[int]) -> Batch:
    """One sequence, numbered 0, every position of which is wanted."""
    batch = library().llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    int32, int8 = ctypes.POINTER(ctypes.c_int32), ctypes.POINTER(ctypes.c_int8)
    sequences = ctypes.cast(batch.seq_id, ctypes.POINTER(int32))
    for i, token in enumerate(ids):
        ctypes.cast(batch.token, int32)[i], ctypes.cast(batch.pos, int32)[i] = token, i
        ctypes.cast(batch.n_seq_id, int32)[i], sequences[i][0] = 1, 0
        ctypes.cast(batch.logits, int8)[i] = 1
    return batch


def logits(path: Path, prompt: list[int], vocab_size: int) -> np.ndarray:
    """Logits of every position."""
    llama = library()
    with opened(path, 64) as (_, context):
        assert llama.llama_decode(context, batch_of(prompt)) == 0
        rows = (llama.llama_get_logits_ith(context, i) for i in range(len(prompt)))
        return np.stack([np.ctypeslib.as_array(row, (vocab_size,)).copy() for row in rows])


def hidden_states(path: Path, ids: list[int], width: int) -> np.ndarray:
    """Of every position of a text, from an encoder that pools nothing."""
    llama = library()
    with opened(path, 64, embeddings=True) as (_, context):
        assert llama.llama_encode(context, batch_of(ids)) == 0
        rows = (llama.llama_get_embeddings_ith(context, i) for i in range(len(ids)))
        return np.stack([np.ctypeslib.as_array(row, (width,)).copy() for row in rows])


def embeddings(path: Path, texts: list[str], width: int) -> tuple[list[list[int]], np.ndarray]:
    """Ids of each text with the tokens around it, and the text's vector, pooled as the file says."""
    llama = library()
    found, vectors = [], []
    with opened(path, 512, embeddings=True) as (model, context):
        for text in texts:
            ids, data = (ctypes.c_int32 * 512)(), text.encode()
            count = llama.llama_tokenize(llama.llama_model_get_vocab(model), data, len(data), ids, 512, True, False)
            assert 0 < count <= 512, f"{count} tokens"
            assert llama.llama_encode(context, batch_of(ids[:count])) == 0
            vectors.append(np.ctypeslib.as_array(llama.llama_get_embeddings_seq(context, 0), (width,)).copy())
            found.append(ids[:count])
    return found, np.stack(vectors)
