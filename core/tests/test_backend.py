"""The seam: kernels are found, the most derived definition wins, steps can be traced."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from realizar.architectures.llama import Llama
from realizar.backend import Backend, Bucket, CacheSpec, Plan, Step, StepFn, kernel
from realizar.errors import ModelError, UnsupportedOp
from realizar.graph import Block
from realizar.reference import NumpyBackend
from realizar.testing.driver import Driver, Program, whole
from realizar.testing.models import tiny_model
from realizar.trace import Tracer

MODEL = tiny_model()
PROGRAM = Program(Llama().build(MODEL.config, MODEL.tensors), MODEL.tensors, ((1, 2, 3),), (True,))


class Fused(NumpyBackend):
    """Claims every block and notes which; runs it by walking."""

    name = "fused"

    def compile_block(self, block: Block, plan: Plan) -> StepFn | None:
        self.claimed = [*getattr(self, "claimed", []), block.name]
        return self._walk(block, plan)


class Overriding(Fused):
    """Overrides one op below the class that wrote `compile_block`."""

    name = "overriding"

    @kernel("act_mul")
    def act_mul(self, gate: Any, up: Any, *, kind: str, out: Any) -> None:
        out[:] = 0


class Renaming(Fused):
    """The same under another method's name: the mark counts, not the name."""

    name = "renaming"

    @kernel("act_mul")
    def my_own_gate(self, gate: Any, up: Any, *, kind: str, out: Any) -> None:
        out[:] = 0


class FusedAgain(Overriding):
    """Writes `compile_block` too, and so answers for the op."""

    name = "fused again"

    def compile_block(self, block: Block, plan: Plan) -> StepFn | None:
        return super().compile_block(block, plan)


def run(backend: Backend) -> Any:
    return Driver(backend, PROGRAM).run(whole(PROGRAM.prompts))[0]


@pytest.mark.parametrize(
    ("cls", "claimed"),
    [
        (Fused, ["embed", "layer 0", "layer 1", "head"]),
        (Overriding, ["embed", "head"]),
        (Renaming, ["embed", "head"]),
        (FusedAgain, ["embed", "layer 0", "layer 1", "head"]),
    ],
)
def test_the_most_derived_definition_wins(cls: type[Fused], claimed: list[str]) -> None:
    backend = cls()
    logits = run(backend)
    assert backend.claimed == claimed
    assert np.array_equal(logits, run(NumpyBackend())) == (cls is Fused)


def test_overrides_agree_however_they_are_named() -> None:
    assert np.array_equal(run(Overriding()), run(Renaming()))


def test_a_kernel_needs_a_known_op() -> None:
    with pytest.raises(ModelError, match="unknown op 'conv'"):
        kernel("conv")


def test_a_missing_kernel_is_named_when_the_plan_is_compiled() -> None:
    class Small(Backend):
        name = "small"
        probe = NumpyBackend.probe
        load = NumpyBackend.load
        make_cache = NumpyBackend.make_cache
        real = np.float32
        embedding = NumpyBackend.embedding

    assert Small.supported_ops() == {"embedding"}
    with pytest.raises(UnsupportedOp, match="backend 'small' has no kernel for op 'rms_norm'; it has: embedding"):
        run(Small())


def test_a_traced_step_has_a_span_for_each_block() -> None:
    backend = NumpyBackend()
    expected = run(backend)
    backend.tracer = Tracer()
    assert np.array_equal(run(backend), expected)
    assert [event["name"] for event in backend.tracer.events] == ["embed", "layer 0", "layer 1", "head"]


def test_sizes() -> None:
    bucket = Bucket(max_tokens=8, max_seqs=2, max_rows=3)
    assert bucket.holds(8, 2, 3)
    assert not any(bucket.holds(*counts) for counts in ((9, 2, 3), (8, 3, 3), (8, 2, 4)))
    assert list(NumpyBackend().buckets(bucket)) == [bucket]
    assert CacheSpec(((2, 16), (1, 8)), 10, 4, "F32").nbytes == 2 * (2 * 16 + 8) * 40 * 4
    assert CacheSpec(((2, 16), (1, 8)), 10, 4, "F16").nbytes == 2 * (2 * 16 + 8) * 40 * 2
    assert CacheSpec(((2, 33), (1, 64)), 10, 4, "Q8_0").nbytes == 2 * (2 * 2 + 2) * 34 * 40
    step = Step.empty(max_tokens=8, max_seqs=2, max_rows=3, max_blocks=5)
    assert [a.shape for a in (step.positions, step.query_start_loc, step.block_tables, step.logits_rows)] == [
        (8,), (3,), (2, 5), (3,),
    ]  # fmt: skip
    assert step.block_tables.dtype == np.int32


def test_a_plan_has_rows_for_tokens_and_for_logits() -> None:
    backend = NumpyBackend()
    step = Step.empty(max_tokens=8, max_seqs=2, max_rows=3, max_blocks=1)
    plan = backend.make_plan(PROGRAM.graph, {}, [], step)
    assert plan.values["x"].shape == (8, 64)
    assert plan.values["logits"].shape == (3, 300)
    step.num_rows = 2
    assert backend.logits(plan).shape == (2, 300)
    assert backend.notes() == ()
