"""Speed of bare steps on a GPU: random weights of real shapes, through the engine's own model runner.

    python tests/benchmarks/cuda_steps.py [1b-q4_k] [1b-f16] [8b-q4_k] [--contexts 64 8192] [--kernels]

"device" is the graph of a decode step replayed by itself; "step" adds what the runner does: filling and uploading the
step's arrays, bringing the logits to the host. Sampling and text are not in it. --kernels: what each kernel takes.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from collections.abc import Iterable
from typing import Any

import attrs
import numpy as np
from random_blocks import random_rows

from realizar.architectures.llama import Llama
from realizar.backend import BackendOptions, Bucket, CacheSpec
from realizar.dtypes import DTYPES
from realizar.engine.runner import ModelRunner
from realizar.engine.sequence import Chunk
from realizar.engine.sequence import Sequence as Running
from realizar.model import ModelConfig
from realizar.tensors import LazyTensor
from realizar_cuda.backend import CudaBackend

BLOCK_SIZE, STEP_TOKENS, MAX_SEQUENCES = 16, 512, 64
PROMPT = 2048
"""Tokens of the prompt that prefill is timed with."""

TILE_ROWS = 1024
"""Rows that are drawn; larger matrices repeat them, at other addresses."""


@attrs.frozen
class Shape:
    """A model. head: type of the output layer; tied: whether it is the embedding."""

    layers: int
    hidden: int
    ffn: int
    head_dim: int
    kind: str
    head: str
    tied: bool


SHAPES = {
    "1b-q4_k": Shape(16, 2048, 8192, 64, "Q4_K", "Q6_K", True),
    "1b-f16": Shape(16, 2048, 8192, 64, "F16", "F16", True),
    "8b-q4_k": Shape(32, 4096, 14336, 128, "Q4_K", "Q6_K", False),
}
HEADS, KEY_HEADS, VOCABULARY = 32, 8, 128256


def tensor(name: str, shape: tuple[int, ...], kind: str, rng: np.random.Generator) -> LazyTensor:
    """A random tensor, drawn when it is read."""
    if len(shape) == 1:
        ones = rng.uniform(0.9, 1.1, shape).astype(np.float32)
        return LazyTensor(name, shape, DTYPES["F32"], name, lambda: ones)

    def read() -> Any:
        rows = (min(TILE_ROWS, shape[0]), shape[1])
        if kind == "F16":
            tile = (rng.standard_normal(rows, np.float32) / np.sqrt(shape[1])).astype(np.float16)
        else:
            tile = random_rows(kind, rows, rng)
        return np.tile(tile, (-(-shape[0] // rows[0]), 1))[: shape[0]]

    return LazyTensor(name, shape, DTYPES[kind], name, read)


def tensors(s: Shape) -> dict[str, LazyTensor]:
    """By their Hugging Face names."""
    rng = np.random.default_rng(0)
    query, key = HEADS * s.head_dim, KEY_HEADS * s.head_dim
    layer = {
        "input_layernorm": (s.hidden,), "self_attn.q_proj": (query, s.hidden), "self_attn.k_proj": (key, s.hidden),
        "self_attn.v_proj": (key, s.hidden), "self_attn.o_proj": (s.hidden, query),
        "post_attention_layernorm": (s.hidden,), "mlp.gate_proj": (s.ffn, s.hidden), "mlp.up_proj": (s.ffn, s.hidden),
        "mlp.down_proj": (s.hidden, s.ffn),
    }  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {"model.norm": (s.hidden,)}
    for i in range(s.layers):
        shapes |= {f"model.layers.{i}.{name}": shape for name, shape in layer.items()}
    made = {f"{name}.weight": tensor(f"{name}.weight", shape, s.kind, rng) for name, shape in shapes.items()}
    table = (VOCABULARY, s.hidden)
    made["model.embed_tokens.weight"] = tensor("embed", table, s.head if s.tied else s.kind, rng)
    return made if s.tied else {**made, "lm_head.weight": tensor("lm_head", table, s.head, rng)}


class Case:
    """A loaded model and sequences of any length."""

    def __init__(self, s: Shape, max_model_len: int) -> None:
        self.config = ModelConfig(
            model_type="llama", vocab_size=VOCABULARY, hidden_size=s.hidden, intermediate_size=s.ffn,
            num_hidden_layers=s.layers, num_attention_heads=HEADS, num_key_value_heads=KEY_HEADS, head_dim=s.head_dim,
            max_position_embeddings=131072, rms_norm_eps=1e-5, rope_theta=500000.0,
        )  # fmt: skip
        found = tensors(s)
        graph = Llama().build(self.config, found)
        self.backend = CudaBackend(BackendOptions(kv_type="F16"))
        started = time.perf_counter()
        weights = {name: self.backend.load(found[name], ops) for name, ops in graph.tensor_ops.items()}
        self.load_s = time.perf_counter() - started
        self.per_sequence = -(-max_model_len // BLOCK_SIZE)
        blocks = max(self.per_sequence, MAX_SEQUENCES * (512 // BLOCK_SIZE))
        spec = CacheSpec(graph.attention_layers, blocks, BLOCK_SIZE, "F16")
        limit = Bucket(STEP_TOKENS, MAX_SEQUENCES, MAX_SEQUENCES)
        self.runner = ModelRunner(self.backend, graph, weights, spec, limit, max_model_len)

    def sequences(self, count: int, length: int) -> list[Running]:
        """Prefilled sequences, each with blocks of its own."""
        rng = np.random.default_rng(1)
        each = self.per_sequence if count == 1 else 512 // BLOCK_SIZE
        made = []
        for s in range(count):
            table = list(range(s * each, (s + 1) * each))
            ids = rng.integers(0, VOCABULARY, length).tolist()
            made.append(Running(ids, length, _never, _never, block_table=table))
        for sequence in made:
            self.prefill(sequence)
        return made

    def prefill(self, sequence: Running) -> float:
        """Seconds for all its pending tokens."""
        started = time.perf_counter()
        while sequence.num_pending:
            count = min(STEP_TOKENS, sequence.num_pending)
            rows = self.runner.run([Chunk.next(sequence, count)])[0]
        sequence.token_ids.append(int(rows[-1].argmax()))
        return time.perf_counter() - started

    def decode(self, sequences: Iterable[Running], steps: int) -> float:
        """Seconds a step, with the choice of the likeliest token."""
        running = list(sequences)
        times = []
        for _ in range(steps):
            started = time.perf_counter()
            rows = self.runner.run([Chunk.next(sequence, 1) for sequence in running])
            times.append(time.perf_counter() - started)
            for sequence, row in zip(running, rows, strict=True):
                sequence.token_ids.append(int(row[-1].argmax()))
        return float(np.median(times))

    def replayed(self, count: int, repeats: int = 30) -> float:
        """Seconds of one replay of the graph of a decode step of `count` sequences, as its arrays stand."""
        compiled = next(c for c in self.runner._buckets if c.bucket.holds(count, count, count))
        graph = compiled.plan.state["captured"].graph
        stream, device = self.backend.runtime.device.stream, self.backend.runtime.device
        times = []
        for _ in range(5):
            device.synchronize()
            started = time.perf_counter()
            for _ in range(repeats):
                graph.launch(stream)
            device.synchronize()
            times.append((time.perf_counter() - started) / repeats)
        return float(np.median(times))

    def kernels(self, count: int) -> list[tuple[str, int, float]]:
        """(name, launches a step, microseconds in all) of each kernel of a decode step, each kind replayed alone."""
        device = self.backend.runtime.device
        compiled = next(c for c in self.runner._buckets if c.bucket.holds(count, count, count))
        launches: list[tuple[Any, ...]] = []
        original = device.launch
        device.launch = lambda *args: launches.append(args)
        try:
            compiled.plan.state["captured"].run_full()
        finally:
            device.launch = original
        found = []
        for key in dict.fromkeys((name, tuple(grid)) for name, grid, *_ in launches):
            alike = [args for args in launches if (args[0], tuple(args[1])) == key]
            stream = device.stream
            stream.begin_capture()
            for args in alike:
                device.launch(*args)
            graph = stream.end_capture()
            times = []
            for _ in range(5):
                device.synchronize()
                started = time.perf_counter()
                for _ in range(10):
                    graph.launch(stream)
                device.synchronize()
                times.append((time.perf_counter() - started) / 10)
            found.append((f"{key[0]} {key[1]}", len(alike), 1e6 * float(np.median(times))))
        return found


def _prompt() -> Running:
    return Running([5] * PROMPT, PROMPT, _never, _never, block_table=list(range(PROMPT // BLOCK_SIZE)))


def _never(*_: Any) -> None:
    raise AssertionError("the runner's logits are taken as it gives them")


def report(name: str, contexts: list[int], with_kernels: bool) -> None:
    """Rows of the table for one model."""
    case = Case(SHAPES[name], max(*contexts, PROMPT) + 512)
    first = case.sequences(1, contexts[0])[0]
    case.decode([first], 8)
    if with_kernels:
        for kernel, launches, microseconds in case.kernels(1):
            print(
                f"    {microseconds:8.1f} us, {microseconds / launches:7.2f} each of {launches:4d}: {kernel}",
                flush=True,
            )
    for context in contexts:
        sequence = case.sequences(1, context)[0]
        step = case.decode([sequence], 48)
        print(f"| {name} | 1 | {context} | {1 / case.replayed(1):.0f} | {1 / step:.0f} |", flush=True)
    for count in (8, 32, 64):
        sequences = case.sequences(count, 128)
        step = case.decode(sequences, 24)
        print(f"| {name} | {count} | 128 | {count / case.replayed(count):.0f} | {count / step:.0f} |", flush=True)
        if with_kernels and count == 32:
            for kernel, launches, microseconds in case.kernels(count):
                print(
                    f"    {microseconds:8.1f} us, {microseconds / launches:7.2f} each of {launches:4d}: {kernel}",
                    flush=True,
                )
    case.prefill(_prompt())
    seconds = min(case.prefill(_prompt()) for _ in range(3))
    print(f"| {name} | prefill {PROMPT} | | | {PROMPT / seconds:.0f} | (loaded in {case.load_s:.1f} s)", flush=True)
    case.backend.close()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(SHAPES))
    parser.add_argument("--contexts", type=int, nargs="+", default=[64, 8192])
    parser.add_argument("--kernels", action="store_true", help="also the time of each kernel of a step")
    chosen = parser.parse_args()
    found = CudaBackend.probe()
    if not found.score:
        sys.exit(f"the cuda backend cannot run here: {found.detail}")
    print(f"{found.detail}, {datetime.date.today():%B %Y}; F16 cache, tokens/s\n")
    print("| model | sequences | context | device | step |\n|---|---|---|---|---|")
    for name in chosen.models:
        report(name, chosen.contexts, chosen.kernels)


if __name__ == "__main__":
    main()
