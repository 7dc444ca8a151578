"""A plugin for core's own tests: the kit's tiny models, a backend without any slack and two that misbehave."""

from __future__ import annotations

import time

import attrs
import numpy as np

from realizar import hookimpl
from realizar.backend import Plan, Step, kernel
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


class Exact(NumpyBackend):
    """Computes every token by itself, so that nothing beside it and no chunk changes a bit of it."""

    name = "exact"
    priority = -1
    batch_invariant = True

    @kernel("linear")
    def linear(self, x: np.ndarray, *parameters: np.ndarray, out: np.ndarray) -> None:
        for t in range(len(x)):
            super().linear(x[t : t + 1], *parameters, out=out[t : t + 1])

    @kernel("attention")
    def attention(self, q, k, v, *, step: Step, out: np.ndarray, **attributes) -> None:
        for s in range(step.num_seqs):
            for t in range(step.query_start_loc[s], step.query_start_loc[s + 1]):
                token = slice(t, t + 1)
                alone = attrs.evolve(
                    step, positions=step.positions[token], slot_mapping=step.slot_mapping[token], num_seqs=1,
                    query_start_loc=np.array([0, 1], np.int32), context_lens=step.positions[token] + 1,
                    block_tables=step.block_tables[s : s + 1],
                )  # fmt: skip
                super().attention(q[token], k[token], v[token], step=alone, out=out[token], **attributes)


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
    return [Slow, Exact, Faulty]
