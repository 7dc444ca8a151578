"""A plugin for the tests of this server: the kit's tiny models, and backends that are slow or fail."""

from __future__ import annotations

import time
from typing import Any

from realizar import hookimpl
from realizar.backend import Plan
from realizar.formats import Format
from realizar.reference import NumpyBackend
from realizar.testing.tiny_files import FIRST_BYTE, ByteTokenizers, TinyFormat
from realizar.tokenizers import TokenizerFactory

REALIZAR_API = (1, 0)


class Slow(NumpyBackend):
    """Takes at least 20 ms a step."""

    name = "slow"
    priority = -1

    def logits(self, plan: Plan) -> Any:
        time.sleep(0.02)
        return super().logits(plan)


class Faulty(NumpyBackend):
    """Fails every step that has a sequence longer than FAULTY_AFTER tokens."""

    name = "faulty"
    priority = -1

    def logits(self, plan: Plan) -> Any:
        if plan.step.context_lens[: plan.step.num_seqs].max() > FAULTY_AFTER:
            raise RuntimeError("device lost")
        return super().logits(plan)


class Scripted(NumpyBackend):
    """Writes what the newest text of `SCRIPT` says, a byte a step, and ends; for one request at a time."""

    name = "scripted"
    priority = -1

    def logits(self, plan: Plan) -> Any:
        logits = super().logits(plan)
        logits[: plan.step.num_rows, SCRIPT.pop(0) if SCRIPT else END] += 1e4
        return logits


def say(text: str) -> None:
    """What the next answer is; for one that is constrained: what it would like to be."""
    SCRIPT[:] = [FIRST_BYTE + byte for byte in text.encode()]


SCRIPT: list[int] = []

END = 2
"""The end token of tiny models."""

FAULTY_AFTER = 64
"""Tokens of a sequence beyond which the faulty backend fails."""


@hookimpl
def realizar_formats() -> list[Format]:
    return [TinyFormat()]


@hookimpl
def realizar_tokenizers() -> list[TokenizerFactory]:
    return [ByteTokenizers()]


@hookimpl
def realizar_backends() -> list[type[NumpyBackend]]:
    return [Slow, Faulty, Scripted]
