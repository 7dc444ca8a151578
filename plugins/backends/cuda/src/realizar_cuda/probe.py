"""Whether this machine has a GPU that the backend can run on, told in one line."""

from __future__ import annotations

import importlib.util
from typing import Any

from realizar.backend import Availability

MIN_CAPABILITY = (7, 0)
"""Volta: what all kernels need (`__dp4a`, warp shuffles with masks, 64-bit atomics)."""

MIN_DRIVER = 12000
"""CUDA version of the driver, as the runtime counts: 1000 major + 10 minor."""

MIN_FREE_NBYTES = 256 << 20
"""Free device memory below which not even kernels and buffers of a small model fit."""

SCORE = 100


def probe() -> Availability:
    """The device that would be used, or the first reason why none can be; makes no context that outlives a look."""
    if importlib.util.find_spec("cupy") is None:
        return Availability(0, "the package cupy is not installed; pip install 'realizar[cuda]' (CUDA 12) or [cuda13]")
    try:
        from cupy.cuda import runtime
    except Exception as error:  # CuPy turns a missing or mismatched library into several kinds of error
        return Availability(0, f"cupy cannot be imported: {_first_line(error)}")
    try:
        return judge(runtime)
    except Exception as error:  # a driver in trouble answers any call with an error, and probing never raises
        return Availability(0, f"the CUDA driver does not answer: {_first_line(error)}")


def free_memory() -> int | None:
    """Bytes that are free on the GPU that would be used; None where none can be."""
    if not probe().score:
        return None
    from cupy.cuda import runtime

    free: int = runtime.memGetInfo()[0]
    return free


def judge(runtime: Any) -> Availability:
    """What CuPy's `runtime` module says of device 0, or of the driver."""
    driver = runtime.driverGetVersion()
    if driver == 0:
        return Availability(0, "no NVIDIA driver is loaded")
    if driver < MIN_DRIVER:
        return Availability(0, f"the driver supports CUDA {_version(driver)}; {_version(MIN_DRIVER)} is needed")
    if runtime.runtimeGetVersion() // 1000 > driver // 1000:
        needed = runtime.runtimeGetVersion() // 1000
        return Availability(
            0, f"this cupy is for CUDA {needed}, the driver supports {_version(driver)}; install cupy-cuda12x"
        )
    count = runtime.getDeviceCount()
    if count == 0:
        return Availability(0, "the driver finds no GPU (is CUDA_VISIBLE_DEVICES empty?)")
    properties = runtime.getDeviceProperties(0)
    name, capability = properties["name"].decode(), (properties["major"], properties["minor"])
    if capability < MIN_CAPABILITY:
        found, wanted = (".".join(map(str, pair)) for pair in (capability, MIN_CAPABILITY))
        return Availability(0, f"{name} has compute capability {found}; {wanted} is needed")
    free, total = runtime.memGetInfo()
    if free < MIN_FREE_NBYTES:
        return Availability(0, f"{name} has {free >> 20} MiB of {total >> 20} MiB free; other processes hold the rest")
    more = f", first of {count}" if count > 1 else ""
    return Availability(SCORE, f"{name}, {total / 2**30:.0f} GiB, {free / 2**30:.1f} free{more}")


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
