"""Write Safetensors files, whole and sharded, look into them without reading a tensor, and see a bad one refused."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from realizar.dtypes import DType, dtype
from realizar.errors import FormatError
from realizar.quant import quantize
from realizar.selection import open_model
from realizar.tensors import LazyTensor
from realizar_safetensors.writer import write_safetensors


def in_memory(name: str, values: np.ndarray, element: DType) -> LazyTensor:
    """A tensor to write: float32 values, stored as another type."""
    return LazyTensor(name, values.shape, element, "in memory", lambda: quantize(values, element))


def main() -> None:
    """The same weights in half precision and in 8-bit floats."""
    weights = np.random.default_rng(0).standard_normal((4, 64), np.float32)
    tensors = [
        in_memory("half.weight", weights, dtype("BF16")),
        in_memory("eight_bits.weight", weights, dtype("F8_E4M3")),
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.safetensors"
        write_safetensors(path, tensors, {"format": "pt", "note": "a small file"})
        print(f"{path.name}: {path.stat().st_size} bytes")

        # Opening reads the header and maps the rest.
        file = open_model(path)
        print("metadata:", file.metadata)
        for name, tensor in file.tensors.items():
            error = np.abs(tensor.to_float32() - weights).max()
            print(f"{name}: {tensor.shape} {tensor.dtype.name}, {tensor.nbytes} bytes, largest error {error:.3f}")
            assert error < 0.15
        file.close()

        # A directory is a model, too: here one file for each tensor, and an index that says which is where.
        directory = Path(folder) / "sharded"
        directory.mkdir()
        *shards, index = write_safetensors(directory / "model.safetensors", tensors, max_shard_nbytes=512)
        print(f"{len(shards)} shards and {index.name}")
        file = open_model(directory)
        print("found in", sorted(tensor.source for tensor in file.tensors.values()))
        file.close()

        # A file that is cut off says so before anything is allocated.
        path.write_bytes(path.read_bytes()[:-1])
        try:
            open_model(path)
        except FormatError as error:
            print("refused:", error)


if __name__ == "__main__":
    main()
