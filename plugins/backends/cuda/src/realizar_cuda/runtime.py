"""What an instance of the backend owns: device, ops, weights; and how its plans are made and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realizar.backend import Bucket, Buffer, Plan, Step, StepFn
from realizar.errors import BackendUnavailable
from realizar.graph import Block, Graph
from realizar.progress import Progress
from realizar_cuda.capture import CapturedStep
from realizar_cuda.device import Device
from realizar_cuda.fusion import Bind, BlockFusion
from realizar_cuda.ops import Ops
from realizar_cuda.probe import probe
from realizar_cuda.staged_step import stage, staged
from realizar_cuda.weights import WeightLoader

CAPTURED_TOKENS = 64
"""Tokens of the largest bucket that becomes a graph; larger steps have enough to do on the device to hide launches."""

STEP_ARRAYS = ("input_ids", "token_type_ids", "positions", "logits_rows")
"""Arrays of a step that nodes take as inputs."""


def open_device(progress: Progress) -> Device:
    """The device; raises BackendUnavailable where there is none that can be used."""
    availability = probe()
    if not availability.score:
        raise BackendUnavailable(f"backend 'cuda' cannot run here: {availability.detail}")
    return Device(progress)


class Runtime:
    """Made with an instance of the backend."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.ops = Ops(device)
        self.loader = WeightLoader(self.device)

    def make_plan(self, graph: Graph, weights: Mapping[str, Buffer], cache: Sequence[Any], step: Step) -> Plan:
        """Values on the device, full of NaN so that nothing unwritten passes for a number; a staged step."""
        self.device.activate()
        own = stage(step, self.device)
        rows = {True: len(step.logits_rows), False: len(step.input_ids)}
        values = {
            name: self.device.filled((rows[name in graph.row_values], width), np.nan)
            for name, width in graph.values.items()
        }
        output = values[graph.output]
        values |= {name: own.arrays[name] for name in STEP_ARRAYS}
        host = self.device.pinned(output.size, np.float32).reshape(output.shape)
        return Plan(graph, weights, cache, own, values, {"host logits": host})

    def compile_block(self, block: Block, plan: Plan, bind: Bind) -> StepFn | None:
        """The block in few launches, if its bucket is small; they compute all rows, also those beyond the counts."""
        if len(plan.step.input_ids) > CAPTURED_TOKENS:
            return None
        calls = BlockFusion(block, plan, self.ops, bind).compile()

        def run() -> None:
            for call in calls:
                call()

        return run

    def capture(self, run: StepFn, plan: Plan) -> StepFn:
        """The step as a graph, if its bucket is small."""
        step = staged(plan)
        if len(step.input_ids) > CAPTURED_TOKENS:
            return run
        captured = plan.state["captured"] = CapturedStep(self.device, run, step)
        return captured

    def with_upload(self, run: StepFn, plan: Plan) -> StepFn:
        """The step's arrays to the device, then the step."""
        step, device = staged(plan), self.device
        to, source = int(step.device.data.ptr), step.host.ctypes.data

        def uploaded() -> None:
            device.activate()
            step.finish()
            device.copy(to, source, step.host.nbytes)
            run()

        return uploaded

    def logits(self, plan: Plan) -> NDArray[np.float32]:
        """Wait for the step and bring its wanted rows to the host."""
        rows = plan.step.num_rows
        host: NDArray[np.float32] = plan.state["host logits"][:rows]
        if rows:
            output = plan.values[plan.graph.output]
            self.device.copy(host.ctypes.data, int(output.data.ptr), host.nbytes, to_host=True)
        self.device.synchronize()
        return host

    def read(self, plan: Plan, name: str) -> NDArray[np.float32]:
        """A value's rows of the last step."""
        self.device.synchronize()
        count = plan.step.num_rows if name in plan.graph.row_values else plan.step.num_tokens
        rows: NDArray[np.float32] = plan.values[name][:count].get()
        return rows

    def write(self, plan: Plan, name: str, rows: NDArray[np.float32]) -> None:
        """Replace a value's rows."""
        plan.values[name][: len(rows)] = self.device.upload(np.ascontiguousarray(rows, np.float32))
        self.device.synchronize()

    def close(self) -> None:
        """Release everything on the device."""
        self.device.close()


def buckets(limit: Bucket) -> Sequence[Bucket]:
    """Powers of two for decoding, captured one by one when they are first needed, and the largest step."""
    sizes = [size for size in (1, 2, 4, 8, 16, 32, 64) if size < limit.max_tokens]
    small = [Bucket(n, min(n, limit.max_seqs), min(n, limit.max_rows)) for n in sizes]
    return (*small, limit)
