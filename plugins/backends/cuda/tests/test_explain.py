"""Every kernel of ours, explained without a GPU."""

from __future__ import annotations

import importlib.util

import pytest

from realizar.errors import RequestError
from realizar_cuda.backend import CudaBackend
from realizar_cuda.explain import catalogue

NO_NVRTC = importlib.util.find_spec("cupy") is None


def facts(kernel: str, target: str | None = None) -> dict[str, dict]:
    return {section.title: section.facts for section in CudaBackend.explain(kernel, target).sections}


@pytest.mark.parametrize("kernel", CudaBackend.explainable())
def test_our_kernels_have_no_known_bug(kernel):
    assert facts(kernel)["bugs in the source"] == {"found": "none"}


def test_templates_and_plain_kernels_are_known():
    assert {"gemv", "attention", "rms_norm", "route"} <= set(catalogue())
    assert catalogue()["gemv"][1].is_template
    assert not catalogue()["rms_norm"][1].is_template
    assert "template" in facts("gemv")["machine code"]["not looked at"]


@pytest.mark.skipif(not NO_NVRTC, reason="cupy is installed")
def test_without_nvrtc_it_says_so():
    assert "cupy" in facts("rms_norm")["machine code"]["not looked at"]


@pytest.mark.skipif(NO_NVRTC, reason="cupy, which brings NVRTC, is not installed")
def test_machine_code_tells_registers_and_occupancy():
    found = facts("rms_norm", "sm_90")["machine code"]
    assert 8 < found["registers a thread"] <= 64
    assert found["bytes of local memory a thread"] == 0
    assert found["bytes of static shared memory a block"] == 128
    assert found["occupancy, blocks of 256 threads"] == 1
    with pytest.raises(RequestError, match="sm_90"):
        facts("rms_norm", "hopper")
