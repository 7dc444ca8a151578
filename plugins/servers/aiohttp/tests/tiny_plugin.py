"""A plugin for the tests of this server: the kit's tiny models, and backends that are slow or fail."""

from __future__ import annotations

import time
from typing import Any

from realizar import hookimpl
from realizar.backend import Plan
from realizar.formats import Format
from realizar.reference import NumpyBackend
from realizar.testing.tiny_files import ByteTokenizers, TinyFormat
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
    return [Slow, Faulty]
