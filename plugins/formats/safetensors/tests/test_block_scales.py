"""FP8 with block scales against float64; other schemes are refused by name."""

from __future__ import annotations

import json
import logging
import runpy
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realizar.backend import BackendOptions
from realizar.dtypes import dtype
from realizar.model import ModelConfig
from realizar.quant import quantize
from realizar.reference import NumpyBackend
from realizar.selection import build_graph
from realizar.tensors import Array, LazyTensor
from realizar.testing.driver import Driver, Program, whole
from realizar.testing.models import memory_tensor, tiny_model
from realizar_safetensors.reader import read_model
from realizar_safetensors.writer import write_safetensors

TINY = runpy.run_path(str(Path(__file__).with_name("tiny_directory.py")))
FP8 = {"quant_method": "fp8", "weight_block_size": [16, 32], "activation_scheme": "dynamic"}
NAME = "model.layers.0.mlp.up_proj.weight"


def write(folder: Path, tensors: list[LazyTensor], quantization: Any = FP8) -> Path:
    path = folder / "model.safetensors"
    write_safetensors(path, tensors)
    config = TINY["config"](tiny_model().config) | {"quantization_config": quantization}
    TINY["write_json"](folder / "config.json", {key: value for key, value in config.items() if value is not None})
    return path


def values(shape: tuple[int, ...], kind: str = "F8_E4M3", name: str = NAME, seed: int = 0) -> LazyTensor:
    codes = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return memory_tensor(name, codes, dtype(kind))


def scales(shape: tuple[int, ...], kind: str = "F32") -> LazyTensor:
    numbers = np.random.default_rng(1).uniform(-2, 2, shape).astype(np.float32)
    stored = np.full(shape, 120, np.uint8) if kind == "F8_E8M0" else quantize(numbers, dtype(kind))
    return memory_tensor(f"{NAME}_scale_inv", stored, dtype(kind))


def product(weight: LazyTensor, scale: LazyTensor, block: tuple[int, int]) -> Array:
    """Element by element, in float64."""
    wide = np.kron(scale.to_float32().astype(np.float64), np.ones(block))
    rows, columns = weight.shape
    return weight.to_float32().astype(np.float64) * wide[:rows, :columns]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(1, 50), st.integers(1, 70)),
    kind=st.sampled_from(["F8_E4M3", "F8_E5M2"]),
    scale_kind=st.sampled_from(["F32", "BF16", "F16", "F8_E8M0"]),
    block=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_every_element_is_multiplied_by_its_scale(
    shape: tuple[int, int], kind: str, scale_kind: str, block: tuple[int, int], tmp_path: Path
) -> None:
    weight = values(shape, kind)
    scale = scales((-(-shape[0] // block[0]), -(-shape[1] // block[1])), scale_kind)
    model = read_model(write(tmp_path, [weight, scale], FP8 | {"weight_block_size": list(block)}))
    assert model.no_config == ""
    found = model.tensors[NAME]
    assert (found.dtype.name, found.shape, found.nbytes) == ("F32", shape, 4 * shape[0] * shape[1])
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found.read(), product(weight, scale, block).astype(np.float32))
    assert not found.read().flags.writeable
    model.close()


def test_it_says_what_it_costs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        model = read_model(write(tmp_path, [values((1000, 1024)), scales((63, 32))]))
    assert "1 FP8 matrices with block scales are computed as F32" in caplog.text
    assert "4.1 MB in memory, 1.0 MB in the file" in caplog.text
    assert "F8_E4M3 with block scales" in model.tensors[NAME].source
    assert list(model.tensors) == [NAME]


def test_little_is_in_memory_beside_the_matrix(tmp_path: Path) -> None:
    model = read_model(write(tmp_path, [values((4096, 1024)), scales((256, 32))]))
    tracemalloc.start()
    nbytes = model.tensors[NAME].read().nbytes
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    model.tensors[NAME].release()
    assert nbytes <= peak < nbytes + (1 << 20)


def quantized(weight: LazyTensor) -> tuple[LazyTensor, LazyTensor]:
    """A matrix in FP8 and its scales, 16 rows by 32 columns to a block."""
    rows, columns = weight.shape
    blocks = weight.to_float32().reshape(rows // 16, 16, columns // 32, 32)
    scale = np.abs(blocks).max(axis=(1, 3)) / np.float32(448)
    codes = quantize((blocks / scale[:, None, :, None]).reshape(rows, columns), dtype("F8_E4M3"))
    fp8, f32 = dtype("F8_E4M3"), dtype("F32")
    return memory_tensor(weight.name, codes, fp8), memory_tensor(f"{weight.name}_scale_inv", scale, f32)


def logits(config: ModelConfig | None, tensors: Mapping[str, LazyTensor]) -> Array:
    assert config is not None
    program = Program(build_graph(config, tensors), tensors, (tuple(range(3, 40)),), (True,))
    return Driver(NumpyBackend(BackendOptions()), program).run(whole(program.prompts))[0]


def test_a_model_runs(tmp_path: Path) -> None:
    """A tiny llama whose projections are FP8 has the logits of the float32 matrices computed here."""
    stored: list[LazyTensor] = []
    plain: dict[str, LazyTensor] = {}
    for name, tensor in tiny_model("F32").tensors.items():
        if name.endswith("_proj.weight"):
            weight, scale = quantized(tensor)
            matrix = product(weight, scale, (16, 32)).astype(np.float32)
            stored += [weight, scale]
            plain[name] = memory_tensor(name, matrix, dtype("F32"))
        else:
            stored.append(tensor)
            plain[name] = tensor
    model = read_model(write(tmp_path, stored))
    np.testing.assert_array_equal(logits(model.config, model.tensors), logits(tiny_model().config, plain))


OTHERS = ["gptq", "awq", "compressed-tensors", "bitsandbytes", "aqlm", "hqq", "quanto", "mxfp4", "fbgemm_fp8", None]


@pytest.mark.parametrize("method", OTHERS)
def test_other_schemes_are_refused_by_name(method: str | None, tmp_path: Path) -> None:
    model = read_model(write(tmp_path, [values((4, 4))], {"quant_method": method, "bits": 4}))
    assert model.config is None
    assert f"quantized with {method!r}" in model.no_config
    assert "Use the original model, or a GGUF file of it" in model.no_config


@pytest.mark.parametrize(
    ("tensors", "quantization", "words"),
    [
        ([values((32, 32))], FP8, f"{NAME} has no {NAME}_scale_inv"),
        ([values((32, 32)), scales((3, 1))], FP8, "expected (2, 1)"),
        ([values((32, 32)), scales((2,))], FP8, "expected (2, 1)"),
        ([values((2, 32, 32)), scales((2, 1))], FP8, "expected an FP8 matrix"),
        ([memory_tensor(NAME, np.zeros((32, 32), "<f4"), dtype("F32")), scales((2, 1))], FP8, "expected an FP8 matrix"),
        ([values((32, 32)), scales((2, 1))], None, "no quantization_config to say of what"),
        ([values((32, 32)), scales((1, 1))], {"quant_method": "fp8"}, "found weight_block_size None"),
        ([values((32, 32))], FP8 | {"weight_block_size": [0, 1]}, "found weight_block_size [0, 1]"),
        ([values((32, 32))], FP8 | {"weight_block_size": [16, "32"]}, "weight_block_size"),
        ([values((32, 32))], FP8 | {"weight_block_size": [1 << 30, 1]}, "weight_block_size"),
        ([values((32, 32))], FP8 | {"weight_block_size": [True, True]}, "weight_block_size"),
        ([values((32, 32))], [1], "expected an object"),
    ],
)
def test_what_does_not_fit_together(tensors: list[LazyTensor], quantization: Any, words: str, tmp_path: Path) -> None:
    model = read_model(write(tmp_path, tensors, quantization))
    assert model.config is None
    assert words in model.no_config


def test_plain_fp8_needs_no_scales(tmp_path: Path) -> None:
    """Without a quantization_config the values are the weights."""
    weight = values((32, 32))
    model = read_model(write(tmp_path, [weight], None))
    assert model.config is not None
    assert json.loads((tmp_path / "config.json").read_text()).get("quantization_config") is None
    np.testing.assert_array_equal(model.tensors[NAME].to_float32(), weight.to_float32())
