"""A plugin with a backend that fails on command: it raises, hangs, runs out of memory, gives NaN, ends its thread."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import numpy as np

from realizar import hookimpl
from realizar.backend import Plan
from realizar.errors import TransientFault
from realizar.reference import NumpyBackend

REALIZAR_API = (1, 0)


class Crash(BaseException):
    """What no step catches: the engine's thread ends by it."""


class Faults:
    """Commands, one for each step to come; "" is a step without fault."""

    def __init__(self) -> None:
        self._commands: deque[str] = deque()
        self._go_on = threading.Event()
        self.num_steps = 0

    def order(self, *commands: str) -> None:
        """Let the next steps fail like this, and no others."""
        self._commands = deque(commands)
        self._go_on.clear()

    def go_on(self) -> None:
        """End whatever hangs."""
        self._go_on.set()

    def strike(self, logits: Any) -> Any:
        """The logits of a step, unless it fails."""
        self.num_steps += 1
        command = self._commands.popleft() if self._commands else ""
        match command:
            case "raise":
                raise RuntimeError("device lost")
            case "transient":
                raise TransientFault("the device was busy")
            case "memory":
                raise MemoryError("cannot allocate 1 GiB")
            case "crash":
                raise Crash("the thread is gone")
            case "hang":
                self._go_on.wait(20)
            case "nan":
                return np.full_like(logits, np.nan)
        return logits


FAULTS = Faults()


class FaultBackend(NumpyBackend):
    """The reference, unless a fault was ordered."""

    name = "faults"
    priority = -1

    def logits(self, plan: Plan) -> Any:
        return FAULTS.strike(super().logits(plan))


@hookimpl
def realizar_backends() -> list[type[NumpyBackend]]:
    return [FaultBackend]
