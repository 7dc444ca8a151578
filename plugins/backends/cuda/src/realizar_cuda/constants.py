"""Small lists of numbers that attributes carry, on the device once each."""

from __future__ import annotations

from typing import Any

import numpy as np

from realizar_cuda.device import Device


class Constants:
    """Uploads each list at its first use; never during a capture, as a step runs before it is captured."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._arrays: dict[tuple[str, tuple[float, ...]], Any] = {}

    def floats(self, numbers: tuple[float, ...]) -> int:
        """Address of the numbers as float32."""
        return self._address("f4", numbers)

    def doubles(self, numbers: tuple[float, ...]) -> int:
        """Address of the numbers as float64."""
        return self._address("f8", numbers)

    def _address(self, kind: str, numbers: tuple[float, ...]) -> int:
        if (kind, numbers) not in self._arrays:
            self._arrays[kind, numbers] = self._device.upload(np.array(numbers, kind))
        return int(self._arrays[kind, numbers].data.ptr)
