"""float16 conversions for CPUs without F16C, judged by NumPy's."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir
from numba.core.registry import cpu_target

from realizar_numba.simd.halves import NAMES, define_half_conversions

pytestmark = pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="only for x86-64")


@pytest.fixture(scope="module")
def converted():
    """Arrays through the functions, called as compiled code calls them: extended(u2) -> u4, truncated(u4) -> u2."""
    cpu_target.target_context  # noqa: B018 (initializes LLVM)
    define_half_conversions()
    module = ir.Module()
    i16, i32, i64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
    half, single = ir.HalfType(), ir.FloatType()
    for name, (source, kind), (target, result) in (
        (NAMES[0], (i16, half), (i32, single)),
        (NAMES[1], (i32, single), (i16, half)),
    ):
        callee = ir.Function(module, ir.FunctionType(result, [kind]), name)
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [i64, i64]), f"call{name}")
        b = ir.IRBuilder(function.append_basic_block())
        read, write = (b.inttoptr(a, ir.PointerType(t)) for a, t in zip(function.args, (source, target), strict=True))
        b.store(b.bitcast(b.call(callee, [b.bitcast(b.load(read), kind)]), target), write)
        b.ret_void()
    machine = llvm.Target.from_default_triple().create_target_machine(codemodel="jitdefault", jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(module)), machine)
    engine.finalize_object()

    def through(name: str, values: np.ndarray, out: np.dtype) -> np.ndarray:
        address = engine.get_function_address(f"call{name}")
        function = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(address)
        found = np.empty(len(values), out)
        for i in range(len(values)):
            function(values.ctypes.data + i * values.itemsize, found.ctypes.data + i * found.itemsize)
        return found

    return through


def test_every_half_extends_as_in_numpy(converted) -> None:
    codes = np.arange(1 << 16, dtype=np.uint16)
    found = converted(NAMES[0], codes, np.dtype(np.uint32)).view(np.float32)
    expected = codes.view(np.float16).astype(np.float32)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(found[numbers].view(np.uint32), expected[numbers].view(np.uint32))


def test_floats_round_as_in_numpy(converted) -> None:
    """Every half, those just beside it, every tie between neighbours, and random patterns of bits."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    halves = halves[np.isfinite(halves)]
    ties = np.unique(halves)[:-1] + np.diff(np.unique(halves)) / 2
    random = np.random.default_rng(0).integers(0, 1 << 32, 20000, dtype=np.uint32).view(np.float32)
    beside = [np.nextafter(halves, np.float32(side)) for side in (-np.inf, np.inf)]
    limits = np.float32([65519.996, 65520, 65536, 1e38, np.inf, -np.inf, np.nan, 2**-25, 2**-24, 0.0, -0.0])
    values = np.concatenate([halves, ties, random, *beside, limits]).astype(np.float32)
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    found = converted(NAMES[1], values.view(np.uint32), np.dtype(np.uint16)).view(np.float16)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(found[numbers].view(np.uint16), expected[numbers].view(np.uint16))


def test_the_portable_path_needs_no_f16c() -> None:
    """A float16 matrix on code for the plainest x86-64, in a process of its own: the CPU is chosen at its start."""
    code = """
import numpy as np
from realizar.backend import BackendOptions
from realizar.dtypes import dtype
from realizar.testing.models import memory_tensor
from realizar_numba.backend import NumbaBackend
weights = np.random.default_rng(0).standard_normal((16, 32)).astype(np.float16)
backend = NumbaBackend(BackendOptions(threads=1))
weight = backend.load(memory_tensor("w", weights, dtype("F16")), frozenset({"linear"}))
x, out = np.eye(32, dtype=np.float32), np.empty((32, 16), np.float32)
backend.linear(x, weight, out=out)
np.testing.assert_array_equal(out, weights.T.astype(np.float32))
"""
    environment = {**os.environ, "NUMBA_CPU_NAME": "x86-64", "REALIZAR_ISA": "generic"}
    environment.pop("NUMBA_CPU_FEATURES", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
