"""The PyPI package `safetensors` and this plugin read each other's files; torch knows the same 8-bit floats."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from realizar.dtypes import dtype
from realizar.quant import dequantize, quantize
from realizar.testing.models import memory_tensor
from realizar_safetensors.reader import read_model
from realizar_safetensors.writer import write_safetensors

safetensors = pytest.importorskip("safetensors")
torch = pytest.importorskip("torch")
from safetensors.torch import load_file, save_file  # noqa: E402

CORPUS = runpy.run_path(str(Path(__file__).parents[2] / "plugins/formats/safetensors/tests/make_hostile.py"))
TYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "U16": torch.uint16, "I16": torch.int16,
    "U32": torch.uint32, "I32": torch.int32, "U64": torch.uint64, "I64": torch.int64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.float8_e8m0fnu,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz, "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
}  # fmt: skip
FP8 = [name for name in TYPES if name.startswith("F8")]
STRICTER = {
    "DUPLICATE_TENSOR", "duplicate_by_escape", "metadata_duplicate_key", "metadata_null", "name_too_long",
    "unknown_key", "shape_9_dimensions",
}  # fmt: skip
"""Cases that the package opens: it takes the last of two keys, and knows no limits of names and dimensions.

It also opens F4, F6 and C64 in valid files, which are refused here.
"""


def raw_tensors(seed: int) -> dict[str, tuple[tuple[int, ...], np.ndarray]]:
    """Random bytes [3, 5] of each type; truth values are 0 or 1."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name in TYPES:
        raw = rng.integers(0, 2 if name == "BOOL" else 256, 15 * dtype(name).block_nbytes, np.uint8)
        tensors[name] = ((3, 5), raw.view(dtype(name).storage).reshape(3, 5))
    return tensors


@pytest.mark.proves("safetensors", format="safetensors", type=tuple(TYPES))
def test_the_package_reads_what_we_write(tmp_path: Path) -> None:
    path = tmp_path / "ours.safetensors"
    tensors = raw_tensors(0)
    write_safetensors(path, [memory_tensor(n, stored, dtype(n)) for n, (_, stored) in tensors.items()], {"a": "é"})
    loaded = load_file(path)
    assert set(loaded) == set(TYPES)
    for name, (shape, stored) in tensors.items():
        assert (loaded[name].dtype, tuple(loaded[name].shape)) == (TYPES[name], shape)
        assert loaded[name].contiguous().view(torch.uint8).numpy().tobytes() == stored.tobytes()
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata() == {"a": "é"}


@pytest.mark.proves("safetensors", format="safetensors", type=tuple(TYPES))
def test_we_read_what_the_package_writes(tmp_path: Path) -> None:
    path = tmp_path / "theirs.safetensors"
    tensors = {
        n: torch.from_numpy(stored.view(np.uint8).copy()).view(TYPES[n]) for n, (_, stored) in raw_tensors(1).items()
    }
    save_file({**tensors, "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3)}, path, {"format": "pt"})
    model = read_model(path)
    assert model.metadata == {"format": "pt"}
    assert set(model.tensors) == {*TYPES, "scalar", "empty"}
    for name, tensor in tensors.items():
        found = model.tensors[name]
        assert (found.dtype.name, found.shape) == (name, tuple(tensor.shape))
        assert found.read().tobytes() == tensor.view(torch.uint8).numpy().tobytes()
        if name not in ("U16", "U32", "U64"):  # torch converts these to float32 on no CPU
            np.testing.assert_array_equal(found.to_float32(), tensor.to(torch.float32).numpy())
    assert model.tensors["scalar"].read() == np.float32(2.5)
    assert model.tensors["empty"].read().shape == (0, 3)


def test_both_write_the_same_bytes(tmp_path: Path) -> None:
    """Tensors of one type are written in the order of their names by the package, as given by us."""
    tensors = {name: torch.arange(6, dtype=torch.float32).reshape(2, 3) + i for i, name in enumerate("abc")}
    save_file(tensors, tmp_path / "theirs.safetensors")
    write_safetensors(
        tmp_path / "ours.safetensors", [memory_tensor(n, t.numpy(), dtype("F32")) for n, t in tensors.items()]
    )
    assert (tmp_path / "ours.safetensors").read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()


@pytest.mark.parametrize("name", FP8)
@pytest.mark.proves("torch", type="{name}", task="dequantize")
def test_every_code_of_8_bit_floats(name: str) -> None:
    codes = np.arange(256, dtype=np.uint8)
    expected = torch.from_numpy(codes).view(TYPES[name]).to(torch.float32).numpy()
    np.testing.assert_array_equal(dequantize(codes, dtype(name)), expected)


@pytest.mark.parametrize("name", ["F8_E4M3", "F8_E5M2"])
@pytest.mark.proves("ml_dtypes", type="{name}", task="quantize")
def test_rounding_to_8_bit_floats(name: str) -> None:
    """As ml_dtypes rounds: a million bit patterns of float32, as many near 1, every value and every tie.

    NaN has several codes. torch agrees but for what is beyond the largest E4M3, which it makes 448.
    """
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 32, 1 << 20, np.uint64).astype(np.uint32).view(np.float32)
    ladder = np.sort(dequantize(np.arange(256, dtype=np.uint8), dtype(name)))
    ladder = ladder[np.isfinite(ladder)]
    near = rng.standard_normal(1 << 20).astype(np.float32)
    values = np.concatenate([bits, near, (ladder[1:] + ladder[:-1]) / 2, ladder])
    with np.errstate(invalid="ignore"):
        expected = values.astype(getattr(ml_dtypes, {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}[name]))
    found = quantize(values, dtype(name))
    nan = np.isnan(expected.astype(np.float32))
    np.testing.assert_array_equal(nan, np.isnan(dequantize(found, dtype(name))))
    np.testing.assert_array_equal(expected.view(np.uint8)[~nan], found[~nan])
    inside = np.abs(values) <= ladder[-1]
    torched = torch.from_numpy(values[inside]).to(TYPES[name]).view(torch.uint8).numpy()
    np.testing.assert_array_equal(torched, found[inside])


@pytest.mark.parametrize("name", CORPUS["CASES"])
def test_the_package_refuses_the_same_files(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(CORPUS["CASES"][name][0])
    refused = False
    try:
        with safetensors.safe_open(path, "pt"):
            pass
    except safetensors.SafetensorError:
        refused = True
    assert refused == (name not in STRICTER)


@pytest.mark.parametrize("name", CORPUS["VALID"])
def test_the_package_opens_the_same_files(name: str, tmp_path: Path) -> None:
    path = tmp_path / "good.safetensors"
    path.write_bytes(CORPUS["VALID"][name])
    with safetensors.safe_open(path, "pt") as file:
        assert set(file.keys()) == set(read_model(path).tensors)
