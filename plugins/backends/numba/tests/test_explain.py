"""What the compiler makes of the kernels: none may lose its vector code unnoticed."""

from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
import sys

import pytest

from realizar.backend import Floor
from realizar.errors import BackendUnavailable
from realizar.kernel_report import roofline
from realizar_numba import isa
from realizar_numba.assembly import Loop
from realizar_numba.backend import NumbaBackend
from realizar_numba.explain import DOTS, catalogue, compile_entry
from realizar_numba.weights.registry import INTEGER_LAYOUTS, LAYOUTS

x86_64 = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason=f"reads x86-64 assembly, not {platform.machine()}'s"
)
pytestmark = x86_64

MOST_VECTORS = {"avx512vnni": 9.0, "avx512": 15.0, "avxvnni": 14.0, "avx2": 19.0}
"""Vectors of 512 bits (two of 256 count as one) that instructions may handle for 64 products, in any type."""

MOST_VECTORS_VNNI = {"Q4_0": 4.0, "Q4_1": 4.0, "Q8_0": 4.0, "Q4_K": 4.75, "IQ4_NL": 5.25, "IQ4_XS": 5.5, "Q5_0": 6.25}
"""The same for common types, whose decoding is limited by memory only as long as it is short."""

MOST_OTHERS = 6.0
"""Instructions without a vector for 64 products."""

WIDE_REGISTERS = ("avx512vnni", "avx512")
"""Paths with 32 registers, enough for every tile of one lane; 16 of 256 bits are not."""


@functools.cache
def loop_of(name: str, path: str) -> Loop:
    """The hot loop of a kernel; several tests look at the same one, and compiling it takes seconds."""
    loop = compile_entry(catalogue()[name], path).loop
    assert loop is not None
    return loop


def decode_loop(name: str, path: str) -> tuple[Loop, int]:
    """The hot loop of the kernel that decodes a type, and its products."""
    loop = loop_of(f"linear {name} decode", path)
    return loop, loop.products(DOTS[path])


def check(name: str, path: str) -> None:
    if path not in isa.available():
        pytest.skip(f"path {path}: this CPU lacks {', '.join(sorted(isa.PATHS[path] - isa.cpu_features()))}")
    loop, products = decode_loop(name, path)
    assert products >= 512, f"{DOTS[path]} in the hot loop: {loop.named(DOTS[path])}"
    vectors = 64 * sum(instruction.bits for instruction in loop.vectors) / 512 / products
    bound = MOST_VECTORS_VNNI.get(name, MOST_VECTORS[path]) if path == "avx512vnni" else MOST_VECTORS[path]
    assert vectors <= bound
    assert 64 * (len(loop.instructions) - len(loop.vectors)) / products <= MOST_OTHERS
    if path in WIDE_REGISTERS:
        assert loop.num_spills == 0


@pytest.mark.parametrize("name", INTEGER_LAYOUTS)
def test_every_integer_kernel_is_made_of_dot_products_here(name):
    path = isa.available()[0]
    if path not in DOTS:
        pytest.skip(f"path {path} has no dot product of bytes")
    check(name, path)


@pytest.mark.parametrize("path", DOTS)
@pytest.mark.parametrize("name", ["Q4_1", "Q8_0", "Q6_K"])
def test_every_path_is_made_of_dot_products(name, path):
    check(name, path)


CPUS = {"avx512vnni": "icelake-server", "avx512": "skylake-avx512", "avxvnni": "alderlake"}
"""CPUs whose code any x86-64 machine can compile, though it cannot run it."""

MOST_SPILLS = {"avx512vnni": 0, "avx512": 8, "avxvnni": 16}
"""Of a wide tile: sums that rest in memory while a block is multiplied."""


@pytest.mark.parametrize("name", ["linear Q4_1 decode", "linear Q4_1 prefill", "linear Q8_0 prefill"])
@pytest.mark.parametrize("path", CPUS)
def test_paths_of_other_cpus_are_made_of_dot_products(name, path):
    """Compiled in a process of its own, since a process compiles for one CPU."""
    features = ",".join(f"+{feature}" for feature in sorted(isa.PATHS[path]))
    environment = {**os.environ, "NUMBA_CPU_NAME": CPUS[path], "NUMBA_CPU_FEATURES": features}
    line = [sys.executable, "-m", "realizar", "explain", "kernel", *name.split(), "--isa", path, "--json"]
    done = subprocess.run(line, env=environment, check=True, capture_output=True, text=True)
    facts = {key: value for section in json.loads(done.stdout)["sections"].values() for key, value in section.items()}
    assert facts["compiled for"] == CPUS[path]
    assert DOTS[path] in facts["dot instruction"]
    assert facts["products"] >= 512
    assert facts["spills"] <= MOST_SPILLS[path]
    assert facts["vector instructions for 64 products"] <= MOST_VECTORS[path]


def test_the_portable_path_would_fail_this():
    """The bounds tell vector code with the instruction from vector code without it."""
    loop = loop_of("linear Q4_1 decode", "generic")
    assert loop.products("vpdpbusd") == 0


@pytest.mark.parametrize("name", ["linear F16 decode", "linear F16 prefill", "attention keys F16"])
def test_float_kernels_multiply_and_add_at_once(name):
    path = isa.available()[0]
    if path not in DOTS:
        pytest.skip(f"path {path} may have no fused multiplication")
    loop = loop_of(name, path)
    assert loop.products("vfmadd") >= 64
    assert not loop.named("v?mul[sp]s|v?add[sp]s")


def test_names_are_unique_and_cover_every_weight_type():
    names = NumbaBackend.explainable()
    assert len({name.lower() for name in names}) == len(names)
    assert {f"linear {layout} {use}" for layout in LAYOUTS for use in ("decode", "prefill")} <= set(names)


@pytest.mark.parametrize("name", ["rms_norm", "quantize", "rope", "act silu", "gated silu", "attention values Q8_0"])
def test_other_kernels_have_vectors_in_their_hot_loop(name):
    report = NumbaBackend.explain(name)
    facts = {section.title: section.facts for section in report.sections}
    assert facts["hot loop, one pass"]["vector instructions"] > 5
    assert report.operations_per_byte is None
    assert "ret" in report.assembly


def test_report_of_a_matrix_kernel():
    """Q4_1 has 20 bytes for 32 weights (ggml `block_q4_1`), and is stored in as many."""
    path = isa.available()[0]
    report = NumbaBackend.explain("linear Q4_1 decode", path)
    assert (report.name, report.target, report.operation) == ("linear Q4_1 decode", path, "int8")
    assert report.operations_per_byte == pytest.approx(2 / 0.625)
    assert [section.title for section in report.sections] == [
        "kernel", "hot loop, one pass", "vector instructions of a pass", "work"
    ]  # fmt: skip
    assert roofline(report, Floor((30e9,), (900e9,))).facts["position"] == "memory bound"
    prefill = NumbaBackend.explain("linear Q4_1 prefill", path)
    assert roofline(prefill, Floor((30e9,), (900e9,))).facts["position"] == "compute bound"


def test_a_path_that_cannot_be_compiled_for():
    with pytest.raises(BackendUnavailable, match="instruction set avx9: unknown instruction set; known: avx512vnni"):
        NumbaBackend.explain("rope", "avx9")
