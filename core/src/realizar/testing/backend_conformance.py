"""What every backend must show, whatever it runs on."""

from __future__ import annotations

import contextlib
import gc
import tracemalloc
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from realizar.architectures.bert import Bert
from realizar.architectures.llama import Llama
from realizar.backend import Availability, Backend, Buffer
from realizar.dtypes import DTYPES
from realizar.errors import UnsupportedOp
from realizar.reference import Numpy64Backend
from realizar.tensors import LazyTensor
from realizar.testing.driver import Driver, Program, Prompts, Schedule, chunked, one_by_one, whole
from realizar.testing.models import tiny_encoder, tiny_model
from realizar.testing.op_variants import NUM_ROWS, OP_VARIANTS, OpVariant, weight_variants
from realizar.testing.strategies import Batch, batches, reproducible, seeds
from realizar.testing.tolerance import Tolerance

Rows = NDArray[np.float32]

_DRAWN = np.random.default_rng(0)
PROMPTS: Prompts = tuple(tuple(_DRAWN.integers(0, 300, n).tolist()) for n in (17, 1, 40, 5))
OTHERS: Prompts = tuple(tuple(_DRAWN.integers(0, 300, n).tolist()) for n in (17, 1, 40, 5))
"""Token ids for `tiny_model`: sequences shorter and longer than a block of the cache."""

CHUNKS = chunked(PROMPTS, (16, 1, 7, 1))
"""Prefill in chunks beside decode, with steps that shrink as sequences end."""

_TABLE_PROMPTS = tuple(tuple(token % NUM_ROWS for token in prompt) for prompt in PROMPTS)
_TABLE_BATCH = Batch(_TABLE_PROMPTS, CHUNKS)


class BackendConformance:
    """Subclass it, give `make_backend`, and state what the backend promises.

    The judge is the reference in float64, the measure NMSE; what the backend has no kernel for is skipped by name.
    """

    tolerance: ClassVar[Tolerance] = Tolerance(nmse=1e-9)
    """Of one op on float32 weights."""

    weight_tolerances: ClassVar[Mapping[str, Tolerance]] = {}
    """Weight type -> tolerance of `linear` and `embedding`, where it is wider than `tolerance`."""

    kv_tolerances: ClassVar[Mapping[str, Tolerance]] = {
        "F16": Tolerance(nmse=1e-6), "BF16": Tolerance(nmse=2e-5), "Q8_0": Tolerance(nmse=2e-4),
    }  # fmt: skip
    """Cache type -> tolerance of `attention`, where it is wider than `tolerance`."""

    model_factor: ClassVar[float] = 30.0
    """How many times its widest op's tolerance a model of two layers may use up."""

    model_types: ClassVar[tuple[str, ...]] = ("F32", "F16", "Q8_0", "Q4_1", "Q6_K")
    """Weight types of the small models that are run whole."""

    batch_invariant: ClassVar[bool] = False
    """Whether logits have the same bits alone, in a batch, and however a prompt is chunked."""

    max_step_nbytes: ClassVar[int | None] = 16 * 1024
    """NumPy and Python memory that a step may take at its peak beyond its plan; None where nothing is promised."""

    block_sizes: ClassVar[tuple[int, ...]] = (16,)
    """Tokens of a cache block that are tried; 16 is what the engine uses."""

    max_examples: ClassVar[int] = 4
    """Generated batches that each variant of an op is tried on, beside a fixed one."""

    def make_backend(self) -> Backend:
        """A new instance, as an engine would make one."""
        raise NotImplementedError(f"{type(self).__name__} must give make_backend()")

    def test_probe(self) -> None:
        """`probe` tells whether the backend can run here, and on what or why not."""
        availability = type(self.make_backend()).probe()
        assert isinstance(availability, Availability)
        assert isinstance(availability.score, int) and availability.score >= 0
        assert isinstance(availability.detail, str) and availability.detail

    @pytest.mark.parametrize("variant", OP_VARIANTS, ids=lambda variant: variant.label)
    def test_op(self, variant: OpVariant) -> None:
        """Each op agrees with its definition."""
        for kv_type in self._usable(variant.op).kv_types if variant.op == "attention" else (None,):
            self._check_examples(variant, kv_type)

    @pytest.mark.parametrize("kind", DTYPES)
    @pytest.mark.parametrize("op", ["linear", "embedding"])
    def test_weight_type(self, op: str, kind: str) -> None:
        """Every weight type runs, in kernels of its own or dequantized at load."""
        for variant in weight_variants(op, DTYPES[kind]):
            self._check_examples(variant)

    def test_model(self) -> None:
        """A model agrees with the reference, for every cache type, with prefill in chunks beside decode."""
        for weight_type in self.model_types:
            program = _program(weight_type)
            expected = _run(Numpy64Backend(), program, whole(PROMPTS))
            for kv_type in self._usable().kv_types:
                actual = self._run(program, CHUNKS, kv_type)
                self._model_tolerance(weight_type, kv_type).check(actual, expected, f"{weight_type}, {kv_type} cache")

    @pytest.mark.parametrize("schedule", [whole(PROMPTS), one_by_one(PROMPTS)], ids=["batch", "alone"])
    def test_encoder(self, schedule: Schedule) -> None:
        """A model whose tokens see all of their sequence agrees with the reference, in a batch and alone."""
        model = tiny_encoder()
        program = Program(Bert().build(model.config, model.tensors), model.tensors, PROMPTS, (True,) * len(PROMPTS))
        expected = _run(Numpy64Backend(), program, one_by_one(PROMPTS))
        for kv_type in self._usable("layer_norm").kv_types:
            actual = self._run(program, schedule, kv_type)
            self._model_tolerance("F32", kv_type).check(actual, expected, f"encoder, {kv_type} cache")

    def test_claimed_block_equals_its_ops(self) -> None:
        """A block that `compile_block` claims gives what its nodes give one by one."""
        if type(self._usable()).compile_block is Backend.compile_block:
            pytest.skip("the backend claims no blocks")
        for weight_type in self.model_types:
            program = _program(weight_type)
            walking = self._usable()
            walking.compile_block = lambda block, plan: None  # type: ignore[method-assign]
            tolerance = self._model_tolerance(weight_type, walking.kv_types[0])
            expected = _run(walking, program, CHUNKS)
            tolerance.check(self._run(program, CHUNKS), expected, f"claimed against walked, {weight_type}")

    def test_captured_step_equals_uncaptured(self) -> None:
        """A step wrapped by `capture` gives what the bare step gives."""
        if type(self._usable()).capture is Backend.capture:
            pytest.skip("the backend captures no steps")
        program, bare = _program(), self._usable()
        bare.capture = lambda step, plan: step  # type: ignore[method-assign]
        tolerance = self._model_tolerance("F32", bare.kv_types[0])
        tolerance.check(self._run(program, CHUNKS), _run(bare, program, CHUNKS), "captured against bare")

    def test_prepacked_copies(self) -> None:
        """Weights loaded from prepacked bytes, which another instance made, give the bits that the tensors give."""
        if self._usable().prepacked_layout is None:
            pytest.skip("the backend makes no prepacked copies")
        for weight_type in self.model_types:
            program = _program(weight_type)
            with contextlib.closing(self._usable()) as maker:
                actual = _run(_loading_copies(self._usable(), maker), program, CHUNKS)
            _same_bits(actual, self._run(program, CHUNKS), f"from copies, {weight_type}")

    def test_same_step_gives_same_bits(self) -> None:
        """Steps are deterministic, in one instance and from one to another."""
        program = _program()
        with contextlib.closing(self._usable()) as backend:
            driver = Driver(backend, program)
            first = _join(driver.run(CHUNKS))
            driver.restart()
            _same_bits(_join(driver.run(CHUNKS)), first, "the second run")
        _same_bits(self._run(program, CHUNKS), first, "another instance")

    def test_recycled_cache_blocks_leave_no_trace(self) -> None:
        """What other sequences left in the cache does not show."""
        program = _program()
        with contextlib.closing(self._usable()) as backend:
            driver = Driver(backend, program)
            driver.restart(OTHERS)
            driver.run(CHUNKS)
            driver.restart(PROMPTS)
            _same_bits(_join(driver.run(CHUNKS)), self._run(program, CHUNKS), "after other sequences")

    @pytest.mark.parametrize("schedule", [one_by_one(PROMPTS), CHUNKS], ids=["alone", "chunked"])
    def test_batch_does_not_matter(self, schedule: Schedule) -> None:
        """A sequence gives the same alone, in a batch, and in chunks: in bits, if the backend promises that."""
        for weight_type in self.model_types:
            program = _program(weight_type)
            expected, actual = self._run(program, whole(PROMPTS)), self._run(program, schedule)
            if self.batch_invariant:
                _same_bits(actual, expected, f"against one step, {weight_type}")
            else:
                tolerance = self._model_tolerance(weight_type, self._usable().kv_types[0])
                tolerance.check(actual, expected, f"against one step, {weight_type}")

    def test_steps_allocate_nothing(self) -> None:
        """After the first, a step takes at most `max_step_nbytes` and keeps none of it.

        Measured with tracemalloc, which sees Python's and NumPy's memory, over a prefill of 128 tokens.
        """
        if self.max_step_nbytes is None:
            pytest.skip("the backend does not promise to allocate nothing")
        prompt = tuple(np.arange(128).tolist())
        with contextlib.closing(self._usable()) as backend:
            driver = Driver(backend, _program(prompts=(prompt,)))
            for _ in range(2):
                driver.restart()
                driver.step_views([(0, 128)])
            peak, kept = _traced(driver)
        assert peak <= self.max_step_nbytes, f"a step took {peak} bytes, {self.max_step_nbytes} are allowed"
        assert kept <= 2048, f"five steps kept {kept} bytes"

    def test_notes_are_sentences(self) -> None:
        """`notes` gives texts, also after weights were loaded."""
        with contextlib.closing(self._usable()) as backend:
            Driver(backend, _program("Q4_1"))
            assert all(isinstance(note, str) and note for note in backend.notes())

    def _usable(self, *ops: str) -> Backend:
        """A new instance; skips the test if it cannot run here or has no kernel for one of `ops`."""
        backend = self.make_backend()
        availability = type(backend).probe()
        if not availability.score:
            pytest.skip(f"{backend.name} cannot run here: {availability.detail}")
        missing = sorted({"embedding", *ops} - type(backend).supported_ops())
        if missing:
            pytest.skip(f"{backend.name} has no kernel for {', '.join(missing)}")
        return backend

    def _run(self, program: Program, schedule: Schedule, kv_type: str | None = None) -> Rows:
        return _run(self._usable(), program, schedule, kv_type)

    def _model_tolerance(self, weight_type: str, kv_type: str) -> Tolerance:
        widths = (self.tolerance, self.weight_tolerances.get(weight_type), self.kv_tolerances.get(kv_type))
        return Tolerance(self.model_factor * max(width.nmse for width in widths if width))

    def _check_examples(self, variant: OpVariant, kv_type: str | None = None) -> None:
        """Try a variant on one fixed batch and on generated ones."""

        @reproducible(self.max_examples)
        @example(_TABLE_BATCH, 0, self.block_sizes[0])
        @given(batches(NUM_ROWS), seeds, st.sampled_from(self.block_sizes))
        def check(batch: Batch, seed: int, block_size: int) -> None:
            self._check_op(variant, batch, seed, kv_type, block_size)

        try:
            check()
        except UnsupportedOp as error:
            pytest.skip(str(error))

    def _check_op(self, variant: OpVariant, batch: Batch, seed: int, kv_type: str | None, block_size: int) -> None:
        program = _op_program(variant, batch, seed)
        actual = _run(self._usable(variant.op), program, batch.schedule, kv_type, block_size)
        expected = _run(Numpy64Backend(), program, batch.schedule)
        scale = _dot_product_scale(program) if variant.op == "linear" else None
        self._op_tolerance(variant, kv_type).check(actual, expected, variant.label, scale)

    def _op_tolerance(self, variant: OpVariant, kv_type: str | None) -> Tolerance:
        if kv_type is not None:
            return self.kv_tolerances.get(kv_type, self.tolerance)
        weight_type = variant.weights["weight"][1] if "weight" in variant.weights else "F32"
        return self.weight_tolerances.get(weight_type, self.tolerance)


def _program(weight_type: str = "F32", prompts: Prompts = PROMPTS) -> Program:
    """A whole model; logits of every position are wanted."""
    model = tiny_model(weight_type)
    return Program(Llama().build(model.config, model.tensors), model.tensors, prompts, (True,) * len(prompts))


def _op_program(variant: OpVariant, batch: Batch, seed: int) -> Program:
    """One op; loud and quiet inputs, except for attention, whose softmax turns rounding of loud ones into anything."""
    scales = (1.0, 0.05) if variant.op == "attention" else (1.0, 0.05, 40.0)
    every = tuple(variant.op != "gather_rows" or s % 2 == 1 for s in range(len(batch.prompts)))
    start = 500 if "positions" in variant.step_inputs else 0
    return Program(variant.graph(), variant.tensors(seed, scales[seed % len(scales)]), batch.prompts, every, start)


def _run(
    backend: Backend, program: Program, schedule: Schedule, kv_type: str | None = None, block_size: int = 16
) -> Rows:
    """The wanted rows of all sequences, one sequence after another."""
    with contextlib.closing(backend):
        return _join(Driver(backend, program, kv_type=kv_type, block_size=block_size).run(schedule))


def _loading_copies(backend: Backend, maker: Backend) -> Backend:
    """`backend`, which loads what `maker` prepacks instead of the tensors."""
    load = backend.load

    def load_copy(tensor: LazyTensor, ops: frozenset[str]) -> Buffer:
        nbytes = backend.prepacked_nbytes(tensor)
        if not nbytes:
            return load(tensor, ops)
        data = maker.prepack(tensor, ops)
        assert data.dtype == np.uint8 and data.shape == (nbytes,), (
            f"prepack gives {data.shape}, expected {nbytes} bytes"
        )
        data.setflags(write=False)
        return backend.load_prepacked(tensor, ops, data)

    backend.load = load_copy  # type: ignore[method-assign]
    return backend


def _join(sequences: list[Rows]) -> Rows:
    return np.concatenate(sequences)


def _same_bits(actual: Rows, expected: Rows, what: str) -> None:
    different = int(np.sum(actual.view(np.uint32) != expected.view(np.uint32)))
    assert not different, f"{what}: {different} of {actual.size} logits have other bits"


def _dot_product_scale(program: Program) -> NDArray[np.float64]:
    """|x_t| |w_o| / sqrt(n) for every output of `linear`: the size of a dot product of unrelated vectors of n elements.

    So a quiet row of the weight counts as much as a loud one, and a sum that happens to cancel is no error.
    """
    tokens = [token for prompt in program.prompts for token in prompt]
    x = program.tensors["x.table"].to_float32().astype(np.float64)[tokens]
    weight = program.tensors["weight"].to_float32().astype(np.float64)
    lengths = np.linalg.norm(x, axis=1), np.linalg.norm(weight, axis=1)
    scale: NDArray[np.float64] = np.outer(*lengths) / np.sqrt(x.shape[1])
    if "bias" in program.tensors:
        scale = np.hypot(scale, program.tensors["bias"].to_float32())
    return scale


def _traced(driver: Driver) -> tuple[int, int]:
    """(bytes at the peak of a step, bytes kept) over five steps; what every step makes anew is there before."""

    def step() -> int:
        driver.restart()
        gc.collect()
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        driver.step_views([(0, 128)])
        return tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    try:
        step()
        before, _ = tracemalloc.get_traced_memory()
        peak = max(step() for _ in range(5))
        gc.collect()
        return peak, tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
