"""The runner against a dense llama forward pass in float64: no cache, no batch, no chunks."""

from __future__ import annotations

import numpy as np
import pytest

from realizar.architectures.llama import Llama
from realizar.backend import Bucket, CacheSpec
from realizar.engine.runner import ModelRunner
from realizar.engine.sequence import Chunk, Sequence
from realizar.reference import NumpyBackend
from realizar.testing.models import TinyModel, tiny_model

MODEL = tiny_model(seed=5)
IDS = [int(i) for i in np.random.default_rng(1).integers(0, 300, 23)]
WIDE = Bucket(64, 4, 64)


def dense_logits(model: TinyModel, ids: list[int]) -> np.ndarray:
    """Logits [T, V] of a llama model, as the papers write it."""
    config = model.config
    weight = {name: tensor.to_float32().astype(np.float64) for name, tensor in model.tensors.items()}
    heads, groups, dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim

    def norm(x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + config.rms_norm_eps) * weight[name]

    angle = np.outer(np.arange(len(ids)), config.rope_theta ** (-np.arange(0, dim, 2) / dim))

    def rotated(x):
        first, second = np.split(x, 2, axis=-1)
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], -1)

    x = weight["model.embed_tokens.weight"][ids]
    for i in range(config.num_hidden_layers):
        layer = f"model.layers.{i}."
        h = norm(x, layer + "input_layernorm.weight")
        q, k, v = (
            (h @ weight[f"{layer}self_attn.{part}_proj.weight"].T).reshape(len(ids), count, dim)
            for part, count in (("q", heads), ("k", groups), ("v", groups))
        )
        k, v = (np.repeat(part, heads // groups, axis=1) for part in (rotated(k), v))
        scores = np.einsum("qhd,khd->hqk", rotated(q), k) / np.sqrt(dim)
        scores[:, np.triu(np.ones((len(ids), len(ids)), bool), 1)] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        x = (
            x
            + np.einsum("hqk,khd->qhd", weights, v).reshape(len(ids), -1) @ weight[f"{layer}self_attn.o_proj.weight"].T
        )
        h = norm(x, layer + "post_attention_layernorm.weight")
        gate, up = (h @ weight[f"{layer}mlp.{part}_proj.weight"].T for part in ("gate", "up"))
        x = x + (gate / (1 + np.exp(-gate)) * up) @ weight[layer + "mlp.down_proj.weight"].T
    return norm(x, "model.norm.weight") @ weight["model.embed_tokens.weight"].T


class Buckets(NumpyBackend):
    """Two plans, as a backend with recorded graphs would have."""

    name = "buckets"

    def buckets(self, limit: Bucket):
        return Bucket(1, 1, 1), limit


def runner(backend: NumpyBackend | None = None, limit: Bucket = WIDE) -> ModelRunner:
    backend = backend or NumpyBackend()
    graph = Llama().build(MODEL.config, MODEL.tensors)
    weights = {name: backend.load(MODEL.tensors[name], ops) for name, ops in graph.tensor_ops.items()}
    return ModelRunner(backend, graph, weights, CacheSpec(graph.attention_layers, 12, 8, "F32"), limit, 40)


def sequence(ids: list[int], blocks: list[int], every_position: bool = True) -> Sequence:
    def never(*_: object) -> None:
        raise AssertionError("the runner calls nobody back")

    return Sequence(list(ids), 40, never, never, every_position=every_position, block_table=blocks)


def close(got: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(got, wanted, atol=1e-3, rtol=0)


@pytest.fixture(scope="module")
def wanted() -> np.ndarray:
    return dense_logits(MODEL, IDS)


def test_whole_prompt(wanted):
    running = sequence(IDS, [7, 2, 9])
    (rows,) = runner().run([Chunk.next(running, len(IDS))])
    assert rows.dtype == np.float32
    assert running.num_computed == len(IDS)
    close(rows, wanted)


@pytest.mark.parametrize(
    "cuts", [[1] * 23, [8, 8, 7], [7, 9, 7], [22, 1]], ids=["one by one", "blocks", "across", "last"]
)
def test_chunks_over_scattered_blocks(wanted, cuts):
    model, running = runner(), sequence(IDS, [11, 0, 5])
    close(np.concatenate([model.run([Chunk.next(running, count)])[0].copy() for count in cuts]), wanted)


def test_last_row_only(wanted):
    model, running = runner(), sequence(IDS, [3, 1, 2], every_position=False)
    assert model.run([Chunk.next(running, 20)])[0].shape == (0, 300)
    (row,) = model.run([Chunk.next(running, 3)])
    close(row, wanted[-1:])


def test_sequences_beside_each_other(wanted):
    model = runner()
    first, second, third = sequence(IDS[:9], [0, 4]), sequence(IDS, [1, 3, 8], False), sequence(IDS[:2], [2])
    close(model.run([Chunk.next(first, 8)])[0], wanted[:8])
    rows = model.run([Chunk.next(first, 1), Chunk.next(second, 23), Chunk.next(third, 2)])
    assert [len(r) for r in rows] == [1, 1, 2]
    for got, expected in zip(rows, (wanted[8:9], wanted[-1:], wanted[:2]), strict=True):
        close(got, expected)


def test_steps_run_in_the_smallest_bucket_that_holds_them(wanted):
    model, running = runner(Buckets()), sequence(IDS, [1, 2, 3])
    first = model.run([Chunk.next(running, 1)])[0]
    rest = model.run([Chunk.next(running, 22)])[0]
    assert first.base is not rest.base
    close(first, wanted[:1])  # still there: the second step ran in the other plan
    close(rest, wanted[1:])
