"""What `probe` says, for every way in which a machine can lack a GPU."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from types import SimpleNamespace

import pytest

from realizar.errors import BackendUnavailable
from realizar_cuda import probe as module
from realizar_cuda.backend import CudaBackend
from realizar_cuda.probe import judge


def runtime(driver=13000, cuda=13000, count=1, capability=(9, 0), free=70 << 30):
    properties = {"name": b"NVIDIA H100", "major": capability[0], "minor": capability[1]}
    return SimpleNamespace(
        driverGetVersion=lambda: driver, runtimeGetVersion=lambda: cuda, getDeviceCount=lambda: count,
        getDeviceProperties=lambda device: properties, memGetInfo=lambda: (free, 80 << 30),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "detail"),
    [
        (runtime(driver=0), "no NVIDIA driver is loaded"),
        (runtime(driver=11080), "the driver supports CUDA 11.8; 12.0 is needed"),
        (runtime(driver=12040), "this cupy is for CUDA 13, the driver supports 12.4; install cupy-cuda12x"),
        (runtime(count=0), "the driver finds no GPU (is CUDA_VISIBLE_DEVICES empty?)"),
        (runtime(capability=(6, 1)), "NVIDIA H100 has compute capability 6.1; 7.0 is needed"),
        (runtime(free=100 << 20), "NVIDIA H100 has 100 MiB of 81920 MiB free; other processes hold the rest"),
    ],
)
def test_why_it_cannot_run(found, detail):
    availability = judge(found)
    assert (availability.score, availability.detail) == (0, detail)


def test_what_it_would_run_on():
    assert judge(runtime()).detail == "NVIDIA H100, 80 GiB, 70.0 free"
    assert judge(runtime(count=4)).detail == "NVIDIA H100, 80 GiB, 70.0 free, first of 4"
    assert judge(runtime()).score > 50


def test_without_cupy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert module.probe().score == 0 and "pip install 'realizar[cuda]'" in module.probe().detail


@pytest.mark.parametrize("failing", ["import", "driver"])
def test_a_broken_cupy_is_a_reason_not_an_exception(monkeypatch, failing):
    class Broken:
        def __getattr__(self, name):
            raise RuntimeError("libcuda.so.1 is damaged\nand more")

    fake = SimpleNamespace(cuda=SimpleNamespace(runtime=Broken())) if failing == "driver" else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "cupy", fake)
    monkeypatch.setitem(sys.modules, "cupy.cuda", fake and fake.cuda)
    availability = module.probe()
    assert availability.score == 0 and "\n" not in availability.detail
    assert ("cannot be imported" in availability.detail) == (failing == "import")


def test_an_instance_where_it_cannot_run(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match="cuda.*cupy is not installed"):
        CudaBackend()


def test_nothing_touches_the_device_before_it_is_chosen():
    code = "import sys, realizar_cuda.backend, realizar_cuda.fusion, realizar_cuda.device; print('cupy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
