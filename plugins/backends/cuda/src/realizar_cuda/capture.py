"""A step as a CUDA graph: one launch for all its kernels. What changes from step to step lies on the device."""

from __future__ import annotations

from typing import Any

from realizar.backend import StepFn
from realizar_cuda.device import Device
from realizar_cuda.staged_step import StagedStep


class CapturedStep:
    """Runs a step the first time as it is, records it the second time, and replays it from then on.

    The first run compiles kernels, several at a time, and takes memory, which cannot be recorded. All runs compute as
    many tokens as the bucket holds; those beyond the step's counts are marked as nobody's.
    graph: None until it is recorded.
    """

    def __init__(self, device: Device, run: StepFn, step: StagedStep) -> None:
        self._device, self._run, self._step = device, run, step
        self._has_run = False
        self.graph: Any = None

    def __call__(self) -> None:
        if self.graph is not None:
            self.graph.launch(self._device.stream)
        elif not self._has_run:
            self._device.prepare(self._device.names_launched(self.run_full))
            self.run_full()
            self._has_run = True
        else:
            self.graph = self._record()
            self.graph.launch(self._device.stream)

    def _record(self) -> Any:
        stream = self._device.stream
        stream.begin_capture()
        try:
            self.run_full()
        finally:
            graph = stream.end_capture()
        return graph

    def run_full(self) -> None:
        """Run it as it is, with all rows in use."""
        step = self._step
        counts = step.num_tokens, step.num_seqs, step.num_rows
        step.num_tokens, step.num_seqs, step.num_rows = (
            len(step.input_ids),
            len(step.context_lens),
            len(step.logits_rows),
        )
        try:
            self._run()
        finally:
            step.num_tokens, step.num_seqs, step.num_rows = counts
