"""Every op and whole models on a device that only writes launches down: names, grids and arguments are proven here."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from realizar.architectures.llama import Llama
from realizar.backend import Backend, Bucket
from realizar.testing.driver import Driver, Program, chunked
from realizar.testing.models import tiny_model
from realizar.testing.op_variants import OP_VARIANTS
from realizar_cuda import gemm
from realizar_cuda.backend import CudaBackend
from realizar_cuda.gemv import shape_of
from realizar_cuda.kernels import FORMATS, base_name, kernel_name
from realizar_cuda.planes import Planes
from realizar_cuda.products import tiling_of
from realizar_cuda.runtime import Runtime, buckets
from realizar_cuda.weights import Weight

_SPEC = importlib.util.spec_from_file_location("fake_device", Path(__file__).parent / "fake_device.py")
assert _SPEC is not None and _SPEC.loader is not None
fake_device = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(fake_device)

PROMPTS = ((1, 2, 3, 4, 5, 6, 7), (9,), tuple(range(90)))


class Recording(CudaBackend):
    """The backend over a fake device."""

    name = "recording"

    def __init__(self) -> None:
        Backend.__init__(self)
        self.runtime = Runtime(fake_device.FakeDevice())

    @property
    def launches(self):
        return self.runtime.device.launches


@pytest.fixture
def backend(monkeypatch) -> Recording:
    backend = Recording()

    def multiply(self, matrix, x, kind, sizes, out, stride):
        backend.runtime.device.products.append((kind, *sizes))

    monkeypatch.setattr(gemm.Gemm, "_multiply", multiply)
    return backend


@pytest.mark.parametrize("variant", OP_VARIANTS, ids=lambda variant: variant.label)
def test_every_op_is_launched(backend, variant):
    prompts = tuple(tuple(token % 32 for token in prompt) for prompt in PROMPTS)
    every = tuple(variant.op != "gather_rows" for _ in prompts)
    program = Program(variant.graph(), variant.tensors(1), prompts, every, 500 if variant.step_inputs else 0)
    Driver(backend, program).run(chunked(prompts, (3, 1, 90)))
    expected = {"linear": {"gemv"}, "attention": {"attention", "cache_write"}, "moe_ffn": {"route", "combine", "gemv"}}
    names = {base_name(name) for name, *_ in backend.launches}
    wanted = expected.get(variant.op, {variant.op} & set(FORMATS))
    assert wanted <= names


@pytest.mark.parametrize("kind", ["Q4_K", "F16", "BF16", "F32", "TQ2_0"])
def test_a_model_in_all_phases(backend, kind):
    """Prefill through gemm, decode through graphs; a type without kernels is dequantized, and said so."""
    model = tiny_model(kind)
    program = Program(Llama().build(model.config, model.tensors), model.tensors, PROMPTS, (True,) * 3)
    driver = Driver(backend, program)
    for _ in range(3):
        driver.restart()
        driver.run(chunked(PROMPTS, (3, 1, 85)))
    device = backend.runtime.device
    assert {name for name, *_ in device.launches if name.startswith("heads")} <= device.prepared
    assert device.products and device.stream.captures and device.stream.graph_launches > device.stream.captures
    assert bool(list(backend.notes())) == (kind == "TQ2_0")
    kinds = {"F16": gemm.CUDA_R_16F, "F32": gemm.CUDA_R_32F, "TQ2_0": gemm.CUDA_R_32F}
    assert {product[0] for product in device.products} == {kinds.get(kind, gemm.CUDA_R_16BF)}
    backend.close()


def test_marks_beyond_the_counts(backend):
    model = tiny_model()
    program = Program(Llama().build(model.config, model.tensors), model.tensors, PROMPTS[:2], (False,) * 2)
    driver = Driver(backend, program)
    driver.step_views([(0, 3), (1, 1)])
    compiled = driver._runner._fitting([SimpleNamespace(count=3, num_rows=0), SimpleNamespace(count=1, num_rows=1)])
    step = compiled.plan.step
    assert step.sequences[:4].tolist() == [0, 0, 0, 1] and (step.sequences[4:] == -1).all()
    assert (step.slot_mapping[4:] == -1).all() and (step.slot_mapping[:4] >= 0).all()


def test_buckets_are_powers_of_two_and_the_limit():
    assert [b.max_tokens for b in buckets(Bucket(512, 64, 64))] == [1, 2, 4, 8, 16, 32, 64, 512]
    assert [b.max_seqs for b in buckets(Bucket(20, 3, 20))] == [1, 2, 3, 3, 3, 3]


@pytest.mark.parametrize(
    ("kind", "width", "tokens", "rows", "name"),
    [
        ("Q4_K", 4096, 1, 28672, "gemv<Q4_K, 128, 1, 2, 4, STORE>"),
        ("Q4_K", 768, 3, 10, "gemv<Q4_K, 0, 4, 4, 2, STORE>"),
        ("F16", 2048, 1, 16384, "gemv<F16, 256, 1, 2, 8, STORE>"),
        ("Q4_K", 14336, 1, 4096, "gemv<Q4_K, 448, 1, 2, 4, STORE>"),
        ("F32", 33, 64, 10, "gemv<F32, 0, 8, 4, 2, STORE>"),
    ],
)
def test_shapes(kind, width, tokens, rows, name):
    weight = Weight(kind, 10, width, Planes(np.zeros((10, 1), np.uint8)))
    assert shape_of(weight, tokens, rows, 226 << 10, 132).name("STORE") == name


@pytest.mark.parametrize(
    ("tokens", "tiles", "row_warps"),
    [(2, 8016, 2), (32, 8016, 4), (64, 8016, 8), (64, 896, 8), (64, 256, 2), (32, 512, 2)],
)
def test_tilings(tokens, tiles, row_warps):
    tiling = tiling_of(tokens, tiles, False, 132)
    assert tiling.row_warps == row_warps and tiling.shared_nbytes <= fake_device.FakeDevice.shared_nbytes


def test_tokens_that_do_not_fit_share_no_pass():
    weight = Weight("F16", 10, 14336, Planes(np.zeros((10, 1), np.uint8)))
    shape = shape_of(weight, 8, 10, 226 << 10, 132)
    assert (shape.tokens, shape.passes) == (4, 2)


def test_every_kernel_has_a_file():
    assert all(kernel_name(name).file for name in FORMATS)
