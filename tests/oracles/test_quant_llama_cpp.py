"""Squared errors of the quantizers against those of ggml's own, `ggml_quantize_chunk`.

Where REALIZAR_LLAMA_CPP_BIN names a folder with libggml-base.so. ggml minimizes other weights than equal ones for
most types, so ours may be smaller; REALIZAR_MINILM may name a model.safetensors whose weights are tried too.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import numpy as np
import pytest

from realizar.dtypes import DTYPES
from realizar.quant import dequantize, quantize

FOLDER = os.environ.get("REALIZAR_LLAMA_CPP_BIN")
LIBRARY = Path(FOLDER or ".") / "libggml-base.so"
MINILM = os.environ.get("REALIZAR_MINILM")

pytestmark = pytest.mark.skipif(
    FOLDER is None or not LIBRARY.is_file(), reason="REALIZAR_LLAMA_CPP_BIN names no folder with libggml-base.so"
)

NUMBERS = {
    "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q2_K": 10, "Q3_K": 11, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14,
    "IQ4_NL": 20, "MXFP4": 39,
}  # fmt: skip
MINILM_STEP = 40
"""Only every so many-th row is taken, for speed."""
MOST = 1.02
MOST_WITH_IMPORTANCE = 1.06
SHAPE = (64, 4096)


def ggml(x: np.ndarray, name: str, importance: np.ndarray | None) -> np.ndarray:
    """The blocks that ggml makes of x [rows, columns]."""
    function = ctypes.CDLL(str(LIBRARY)).ggml_quantize_chunk
    function.restype = ctypes.c_size_t
    function.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    out = np.zeros((len(x), DTYPES[name].row_nbytes(x.shape[1])), np.uint8)
    pointer = None if importance is None else importance.ctypes.data
    written = function(NUMBERS[name], x.ctypes.data, out.ctypes.data, 0, *x.shape, pointer)
    assert written == out.nbytes
    return out


def ratio(x: np.ndarray, name: str, importance: np.ndarray | None = None) -> float:
    """Our (weighted) mean squared error over ggml's."""
    weights = 1.0 if importance is None else importance.astype(np.float64)

    def error(stored: np.ndarray) -> float:
        return float((weights * np.square(dequantize(stored, DTYPES[name]) - x.astype(np.float64))).mean())

    return error(quantize(x, DTYPES[name], importance)) / error(ggml(x, name, importance))


def weights(kind: str) -> np.ndarray:
    rng = np.random.default_rng(4)
    if kind == "MiniLM":
        if MINILM is None:
            pytest.skip("REALIZAR_MINILM names no model.safetensors")
        shards = pytest.importorskip("realizar_safetensors.index").open_shards(Path(MINILM))
        infos = [(shard, info) for shard in shards for info in shard.header.tensors if info.dtype.name == "F32"]
        flat = np.concatenate([shard.read(info).ravel() for shard, info in infos])
        rows = flat[: flat.size // 1536 * 1536].reshape(-1, 1536)
        return np.ascontiguousarray(rows[::MINILM_STEP])
    size = SHAPE
    return (rng.standard_normal(size) if kind == "Gaussian" else rng.laplace(size=size)).astype(np.float32)


@pytest.mark.parametrize("kind", ["Gaussian", "Laplace", "MiniLM"])
@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.proves("llama.cpp", type="{name}", task="quantize")
def test_squared_error(name, kind):
    found = ratio(weights(kind), name)
    print(f"{name}, {kind}: {found:.4f} of ggml's")
    assert found <= MOST


@pytest.mark.parametrize("name", NUMBERS)
def test_weighted_squared_error(name):
    x = weights("Gaussian")
    found = ratio(x, name, np.random.default_rng(5).gamma(1, 1, x.shape[1]).astype(np.float32))
    print(f"{name}, weighted: {found:.4f} of ggml's")
    assert found <= MOST_WITH_IMPORTANCE
