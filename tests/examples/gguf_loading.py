"""Write a small GGUF file, then look into it without reading a tensor, and read one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from realizar.dtypes import dtype
from realizar.quant import quantize
from realizar.selection import open_model
from realizar_gguf.writer import write_gguf


def main() -> None:
    """A tensor of 4-bit blocks, another in half precision, some metadata."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((4, 64), np.float32)
    half, blocks = dtype("F16"), dtype("Q4_1")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.gguf"
        write_gguf(
            path,
            {"general.architecture": "example", "general.name": "a small file", "example.numbers": [1, 2, 3]},
            [
                ("whole.weight", (4, 64), half, quantize(weights, half)),
                ("packed.weight", (4, 64), blocks, quantize(weights, blocks)),
            ],
        )
        print(f"{path.name}: {path.stat().st_size} bytes")

        # The format is recognized by its magic number; opening reads the header and maps the rest.
        file = open_model(path)
        print(
            "metadata:", {key: value for key, value in file.metadata.items() if key.startswith(("general", "example"))}
        )
        for name, tensor in file.tensors.items():
            print(f"{name}: {tensor.shape} {tensor.dtype.name}, {tensor.nbytes} bytes at {tensor.source}")

        packed = file.tensors["packed.weight"]
        print("stored:", packed.read().shape, packed.read().dtype)
        error = np.abs(packed.to_float32() - weights).max()
        print(f"dequantized: {packed.to_float32().shape} float32, largest error {error:.3f}")
        assert error < 0.3
        assert np.array_equal(file.tensors["whole.weight"].read(), weights.astype(np.float16))
        file.close()


if __name__ == "__main__":
    main()
