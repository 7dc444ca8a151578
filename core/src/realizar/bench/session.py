"""Round by round: ours, theirs, the machine itself, and again."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np

from realizar.backend import BackendOptions, Floor
from realizar.bench.case import Case
from realizar.bench.cost import Cost
from realizar.bench.llama_cpp import LlamaCpp
from realizar.bench.measure import Sample, measure
from realizar.bench.result import Report, Result
from realizar.engine import LLM
from realizar.engine.loader import open_named
from realizar.errors import ModelError, RequestError
from realizar.model import ModelFile
from realizar.progress import Progress, silent
from realizar.selection import build_graph, choose_backend

_LEAST_CONTEXT = 32
"""Tokens that warming up needs."""


@attrs.frozen
class _Track:
    """What one case has given so far."""

    case: Case
    ours: list[Sample] = attrs.field(factory=list)
    theirs: list[float] = attrs.field(factory=list)


class Session:
    """Measures one model.

    rounds: how often each case is measured. peer: measured between our rounds, while our threads sleep.
    with_floor: also measure what the machine allows, in every round.
    """

    def __init__(
        self, model: str, *, backend: str | None = None, kv_type: str | None = None, rounds: int = 5,
        peer: LlamaCpp | None = None, with_floor: bool = False, progress: Progress = silent,
    ) -> None:  # fmt: skip
        self._model, self._rounds, self._peer = model, rounds, peer
        self._backend = choose_backend(backend)[0]
        self._kv_type = kv_type or self._backend.kv_types[0]
        self._with_floor, self._progress = with_floor, progress
        self._rng = np.random.default_rng(0)

    def run(self, cases: Sequence[Case]) -> Report:
        """Measure all cases, those of one thread count together. Raises RealizarError if one cannot be run."""
        results: list[Result] = []
        floors: dict[int | None, Floor] = {}
        with contextlib.closing(open_named(self._model, progress=self._progress)) as file:
            cost = _cost(file, cases, self._kv_type)
            for threads, group in itertools.groupby(cases, lambda case: case.threads):
                tracks = [_Track(case) for case in group]
                measured = self._measure(file.path, tracks, threads)
                if measured:
                    floors[threads] = _joined(measured)
                results += [_result(track, cost, measured) for track in tracks]
            name = file.path.name
        peer = f"{self._peer.name} {self._peer.build}".strip() if self._peer else ""
        return Report(name, self._backend.name, results, floors, peer)

    def _measure(self, path: Path, tracks: list[_Track], threads: int | None) -> list[Floor]:
        """All rounds on one number of threads; what the machine allowed in each, if the backend measures that."""
        needed = max(_LEAST_CONTEXT, *(track.case.num_tokens for track in tracks))
        floors = []
        with contextlib.ExitStack() as stack:
            llm = stack.enter_context(
                LLM(
                    self._model, backend=self._backend.name, threads=threads, kv_type=self._kv_type,
                    max_model_len=needed, allow_download=False, progress=self._progress,
                )
            )  # fmt: skip
            gauge = stack.enter_context(contextlib.closing(self._backend(BackendOptions(threads=threads))))
            for track in tracks:
                measure(llm, track.case, self._rng)  # compiles and warms up
            for done in range(self._rounds):
                self._progress(f"rounds, {threads or 'all'} threads", done, self._rounds)
                for track in tracks:
                    self._round(llm, track, path)
                if self._with_floor:
                    floors.append(gauge.floor())
        return [floor for floor in floors if floor is not None]

    def _round(self, llm: LLM, track: _Track, path: Path) -> None:
        if self._peer is not None:
            llm.warm_up()  # the caches and pages that the peer has taken; its programs warm up too
        track.ours.append(measure(llm, track.case, self._rng))
        if self._peer is not None:
            track.theirs.append(self._peer.measure(path, track.case, self._kv_type))


def _cost(file: ModelFile, cases: Sequence[Case], kv_type: str) -> Cost:
    if file.config is None:
        raise ModelError(f"{file.path}: cannot be run, {file.no_config or 'the file has no model configuration'}")
    limit = file.config.max_position_embeddings
    for case in cases:
        if case.num_tokens > limit:
            raise RequestError(
                f"{case.name} needs {case.num_tokens} tokens of context; {file.path.name} takes {limit}: "
                f"choose a smaller depth (-d) or length (-p, -n)"
            )
    return Cost(build_graph(file.config, file.tensors), file.tensors, kv_type)


def _joined(floors: Sequence[Floor]) -> Floor:
    """All passes of all rounds."""
    reading = tuple(rate for floor in floors for rate in floor.bytes_per_s)
    return Floor(reading, tuple(rate for floor in floors for rate in floor.int8_ops_per_s))


def _result(track: _Track, cost: Cost, floors: Sequence[Floor]) -> Result:
    allowed = [cost.tokens_per_s(track.case, floor) for floor in floors]
    return Result(track.case, track.ours, track.theirs, allowed)
