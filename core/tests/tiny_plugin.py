"""A plugin for core's own tests: the kit's tiny models and two backends that misbehave on request."""

from __future__ import annotations

import time

import numpy as np

from realizar import hookimpl
from realizar.backend import Plan
from realizar.formats import Format
from realizar.reference import NumpyBackend
from realizar.testing.tiny_files import ByteTokenizers, TinyFormat
from realizar.tokenizers import TokenizerFactory

REALIZAR_API = (1, 0)

NAN_ID, FAIL_ID = 298, 299
"""Prompt tokens at which the faulty backend gives NaN for that row, and fails the step."""


class Slow(NumpyBackend):
    """Takes at least 20 ms a step."""

    name = "slow"
    priority = -1

    def logits(self, plan: Plan) -> np.ndarray:
        time.sleep(0.02)
        return super().logits(plan)


class Faulty(NumpyBackend):
    """NaN logits for a row that ends in NAN_ID; an exception for a step that has FAIL_ID."""

    name = "faulty"
    priority = -1

    def logits(self, plan: Plan) -> np.ndarray:
        step = plan.step
        ids = step.input_ids[: step.num_tokens]
        if FAIL_ID in ids:
            raise RuntimeError("device lost")
        logits = super().logits(plan).copy()
        logits[ids[step.logits_rows[: step.num_rows]] == NAN_ID] = np.nan
        return logits


@hookimpl
def realizar_formats() -> list[Format]:
    return [TinyFormat()]


@hookimpl
def realizar_tokenizers() -> list[TokenizerFactory]:
    return [ByteTokenizers()]


@hookimpl
def realizar_backends() -> list[type[NumpyBackend]]:
    return [Slow, Faulty]
