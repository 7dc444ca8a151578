"""Each op of the reference against its formula, written out here element by element in Python's float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from realizar.backend import CacheSpec, Step
from realizar.errors import ModelError
from realizar.ops import ACTIVATIONS, OPS
from realizar.reference import Numpy64Backend, NumpyBackend

Real = NDArray[Any]

RNG = np.random.default_rng(7)
BACKENDS = [NumpyBackend, Numpy64Backend]

either = pytest.mark.parametrize("backend", BACKENDS, ids=lambda cls: cls.name)


def draw(*shape: int) -> Real:
    """Normal numbers in float64 that float32 holds exactly."""
    return RNG.standard_normal(shape).astype(np.float32).astype(np.float64)


def call(
    cls: type[NumpyBackend], name: str, *inputs: Real, width: int, rows: int | None = None, **attributes: Any
) -> Real:
    """Run one kernel in the backend's own precision."""
    cast = [array if array.dtype.kind == "i" else array.astype(cls.real) for array in inputs]
    out = np.full((rows or len(inputs[0]), width), np.nan, cls.real)
    getattr(cls(), name)(*cast, **attributes, out=out)
    assert out.dtype == cls.real
    return out


def check(cls: type[NumpyBackend], actual: Real, expected: Any) -> None:
    tolerance = 1e-5 if cls is NumpyBackend else 1e-12
    np.testing.assert_allclose(actual, np.array(expected, np.float64), rtol=tolerance, atol=tolerance)


def test_every_op_is_defined() -> None:
    assert NumpyBackend.supported_ops() == set(OPS)


def test_probe_tells_the_precision() -> None:
    assert [cls.probe().score for cls in BACKENDS] == [1, 1]
    assert [cls.probe().detail for cls in BACKENDS] == [
        "reference in float32, always present", "reference in float64, always present",
    ]  # fmt: skip


@either
def test_embedding(backend: type[NumpyBackend]) -> None:
    table, ids = draw(5, 3), np.array([4, 0, 4], np.int32)
    actual = call(backend, "embedding", ids, table, scale=8.0, width=3)
    check(backend, actual, [[8.0 * float(table[i, c]) for c in range(3)] for i in ids])


@either
@pytest.mark.parametrize("group", [6, 3, 1])
def test_rms_norm(backend: type[NumpyBackend], group: int) -> None:
    x, weight = draw(4, 6), draw(group)
    expected = [
        [
            float(value) * float(weight[c % group])
            / math.sqrt(sum(float(v) ** 2 for v in row[c - c % group : c - c % group + group]) / group + 0.25)
            for c, value in enumerate(row)
        ]
        for row in x
    ]  # fmt: skip
    check(backend, call(backend, "rms_norm", x, weight, eps=0.25, width=6), expected)


@either
@pytest.mark.parametrize("biased", [True, False])
def test_layer_norm(backend: type[NumpyBackend], biased: bool) -> None:
    x, weight, bias = draw(4, 5), draw(5), draw(5)
    expected = []
    for row in x.astype(float).tolist():
        mean = sum(row) / 5
        deviation = math.sqrt(sum((v - mean) ** 2 for v in row) / 5 + 0.25)
        expected.append([(v - mean) / deviation * weight[c] + (bias[c] if biased else 0) for c, v in enumerate(row)])
    inputs = (x, weight, bias) if biased else (x, weight)
    check(backend, call(backend, "layer_norm", *inputs, eps=0.25, width=5), expected)


@either
@pytest.mark.parametrize("shape", [(3,), (2, 3)])
def test_layer_norm_of_groups(backend: type[NumpyBackend], shape: tuple[int, ...]) -> None:
    """As of each group alone, with the factors that are its own or all groups'."""
    x, weight, bias = draw(4, 6), draw(*shape), draw(*shape)
    halves = []
    for group in range(2):
        own = (weight[group], bias[group]) if len(shape) == 2 else (weight, bias)
        halves.append(call(backend, "layer_norm", x[:, 3 * group : 3 * group + 3], *own, eps=0.25, width=3))
    check(backend, call(backend, "layer_norm", x, weight, bias, eps=0.25, width=6), np.concatenate(halves, axis=1))


@either
@pytest.mark.parametrize("biased", [True, False])
def test_linear(backend: type[NumpyBackend], biased: bool) -> None:
    x, weight, bias = draw(3, 4), draw(5, 4), draw(5)
    expected = [
        [
            sum(float(x[t, i]) * float(weight[o, i]) for i in range(4)) + (float(bias[o]) if biased else 0)
            for o in range(5)
        ]
        for t in range(3)
    ]
    inputs = (x, weight, bias) if biased else (x, weight)
    check(backend, call(backend, "linear", *inputs, width=5), expected)


@either
def test_rope(backend: type[NumpyBackend]) -> None:
    """Pairs are (0, 2) and (1, 3) of each head of 5 columns; the fifth stays."""
    x, positions, inv_freq = draw(3, 10), np.array([0, 7, 1000], np.int32), (1.0, 0.01)
    expected = x.astype(float)
    for t, position in enumerate(positions):
        for head in (0, 5):
            for i, frequency in enumerate(inv_freq):
                a, b = float(x[t, head + i]), float(x[t, head + i + 2])
                cos, sin = math.cos(position * frequency) * 0.5, math.sin(position * frequency) * 0.5
                expected[t, head + i], expected[t, head + i + 2] = a * cos - b * sin, b * cos + a * sin
    actual = call(backend, "rope", x, positions, head_dim=5, inv_freq=inv_freq, scale=0.5, width=10)
    check(backend, actual, expected)


@either
def test_rope_in_place(backend: type[NumpyBackend]) -> None:
    x, positions = draw(3, 6).astype(backend.real), np.array([1, 2, 3], np.int32)
    attributes = {"head_dim": 6, "inv_freq": (1.0, 0.1), "scale": 1.0}
    expected = call(backend, "rope", x, positions, width=6, **attributes)
    backend().rope(x, positions, **attributes, out=x)  # type: ignore[arg-type]
    assert np.array_equal(x, expected)


def two_sequences(lengths: tuple[int, int], counts: tuple[int, int], tables: list[list[int]]) -> Step:
    """A step in which each sequence's last `counts` tokens of `lengths` are computed; blocks of 2 tokens."""
    step = Step.empty(max_tokens=sum(counts), max_seqs=2, max_rows=1, max_blocks=4)
    positions = [p for n, c in zip(lengths, counts, strict=True) for p in range(n - c, n)]
    owners = [s for s in (0, 1) for _ in range(counts[s])]
    step.positions[:] = positions
    step.slot_mapping[:] = [tables[s][p // 2] * 2 + p % 2 for s, p in zip(owners, positions, strict=True)]
    step.query_start_loc[:] = [0, counts[0], sum(counts)]
    step.context_lens[:] = lengths
    for s, table in enumerate(tables):
        step.block_tables[s, : len(table)] = table
    step.num_tokens, step.num_seqs = sum(counts), 2
    return step


@either
@pytest.mark.parametrize("slopes", [(), (0.5, 2.0, 0.25, 0.125)])
@pytest.mark.parametrize(("window", "softcap"), [(0, 0.0), (2, 0.0), (0, 1.5), (3, 1.5)])
def test_attention(backend: type[NumpyBackend], window: int, softcap: float, slopes: tuple[float, ...]) -> None:
    """Two sequences of 5 and 3 tokens in scattered blocks, four query heads on two key heads, in two steps."""
    check_attention(backend, window, softcap, slopes, causal=True)


@either
@pytest.mark.parametrize("softcap", [0.0, 1.5])
def test_attention_to_all(backend: type[NumpyBackend], softcap: float) -> None:
    """The same where a token sees all of its sequence that there is after its step, later tokens too."""
    check_attention(backend, 0, softcap, (), causal=False)


def check_attention(
    backend: type[NumpyBackend], window: int, softcap: float, slopes: tuple[float, ...], *, causal: bool
) -> None:
    heads, kv_heads, dim, lengths = 4, 2, 3, (5, 3)
    q, k, v = (draw(8, n * dim) for n in (heads, kv_heads, kv_heads))
    attributes = {
        "num_heads": heads, "num_key_value_heads": kv_heads, "head_dim": dim, "scale": 0.7, "sliding_window": window,
        "softcap": softcap, "alibi_slopes": slopes, "causal": causal,
    }  # fmt: skip
    tables = [[5, 0, 3], [2, 4]]
    instance = backend()
    (cache,) = instance.make_cache(CacheSpec(((kv_heads, dim),), 6, 2, "F32"))
    first = two_sequences((3, 2), (3, 2), tables)
    second = two_sequences(lengths, (2, 1), tables)
    sequences = [slice(0, 5), slice(5, 8)]
    rows = [[0, 1, 2, 5, 6], [3, 4, 7]]
    actual = np.zeros((8, heads * dim), backend.real)
    for step, here in zip((first, second), rows, strict=True):
        out = np.full((len(here), heads * dim), np.nan, backend.real)
        cast = (array[here].astype(backend.real) for array in (q, k, v))
        instance.attention(*cast, **attributes, cache=cache, step=step, out=out)  # type: ignore[arg-type]
        actual[here] = out
    expected = np.zeros((8, heads * dim))
    for sequence in sequences:
        tokens = range(sequence.start, sequence.stop)
        for t in tokens:
            last = t if causal else tokens[-1] if t in rows[1] else max(set(rows[0]) & set(tokens))
            seen = [j for j in tokens if j <= last and (not window or t - j < window)]
            for head in range(heads):
                own, shared = slice(head * dim, (head + 1) * dim), slice(head // 2 * dim, (head // 2 + 1) * dim)
                scores = [
                    0.7 * sum(float(a) * float(b) for a, b in zip(q[t, own], k[j, shared], strict=True)) for j in seen
                ]
                if softcap:
                    scores = [softcap * math.tanh(score / softcap) for score in scores]
                if slopes:
                    scores = [score - slopes[head] * (t - j) for score, j in zip(scores, seen, strict=True)]
                total = sum(map(math.exp, scores))
                expected[t, own] = sum(math.exp(s) / total * v[j, shared] for s, j in zip(scores, seen, strict=True))
    check(backend, actual, expected)


def _to_bf16(x: np.ndarray) -> np.ndarray:
    """Nearest float with 8 significant bits, found by comparing both neighbours; ties to the even one."""
    low = (x.view(np.uint32) & 0xFFFF0000).view(np.float32)
    high = ((x.view(np.uint32) & 0xFFFF0000) + 0x10000).view(np.float32)
    even = (low.view(np.uint32) >> 16) % 2 == 0
    down, up = np.abs(x - low), np.abs(high - x)
    return np.where((down < up) | ((down == up) & even), low, high)


def _to_q8_0(x: np.ndarray) -> np.ndarray:
    """One block a row: 127 steps to the largest magnitude, the step as float16."""
    step = np.abs(x).max(axis=-1, keepdims=True) / np.float32(127)
    return np.round(x / step) * step.astype(np.float16).astype(np.float32)


ROUNDED = {"F16": lambda x: x.astype(np.float16).astype(np.float32), "BF16": _to_bf16, "Q8_0": _to_q8_0}


@pytest.mark.parametrize("kv_type", ROUNDED)
def test_cache_rounds_keys_and_values(kv_type: str) -> None:
    """One token attends to itself alone, so the output is the cached value: rounded as its type holds it."""
    step = two_sequences((1, 1), (1, 1), [[0], [1]])
    (cache,) = NumpyBackend().make_cache(CacheSpec(((1, 3),), 2, 2, kv_type))
    q, k, v = (draw(2, 3).astype(np.float32) for _ in range(3))
    out = np.empty((2, 3), np.float32)
    NumpyBackend().attention(
        q, k, v, num_heads=1, num_key_value_heads=1, head_dim=3, scale=1.0, sliding_window=0, softcap=0.0,
        alibi_slopes=(), causal=True, cache=cache, step=step, out=out,
    )  # fmt: skip
    np.testing.assert_allclose(out, ROUNDED[kv_type](v), rtol=1e-6)


@either
def test_mul_and_scale(backend: type[NumpyBackend]) -> None:
    x, y = draw(5, 4), draw(5, 4)
    check(backend, call(backend, "mul", x, y, width=4), x * y)
    check(backend, call(backend, "mul", x, y[:, :1], width=4), [[a * y[t, 0] for a in row] for t, row in enumerate(x)])
    check(backend, call(backend, "scale", x, factor=0.22, width=4), 0.22 * x.astype(np.float64))


@either
def test_add_and_softcap(backend: type[NumpyBackend]) -> None:
    x, y = draw(3, 4), draw(3, 4)
    check(backend, call(backend, "add", x, y, width=4), x.astype(float) + y)
    capped = [[5 * math.tanh(float(value) / 5) for value in row] for row in 9 * x]
    check(backend, call(backend, "softcap", 9 * x, cap=5.0, width=4), capped)


def _phi(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


FORMULAS: dict[str, Callable[[float], float]] = {
    "relu": lambda x: x if x > 0 else 0.0,
    "relu2": lambda x: x * x if x > 0 else 0.0,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "gelu": lambda x: x * _phi(x),
    "gelu_tanh": lambda x: x / (1 + math.exp(-2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "mish": lambda x: x * math.tanh(math.log1p(math.exp(x))),
    "selu": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * (math.exp(x) - 1)),
    "hardswish": lambda x: 0.0 if x <= -3 else x if x >= 3 else x * (x + 3) / 6,
}
POINTS = np.array([[-20, -5, -3, -1, -0.5, -1e-3, 0, 1e-3, 0.5, 1, 2.5, 3, 6, 20]], np.float32)


def test_every_activation_has_a_formula() -> None:
    assert FORMULAS.keys() == set(ACTIVATIONS)


@either
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activations(backend: type[NumpyBackend], kind: str) -> None:
    expected = [[FORMULAS[kind](float(x)) for x in POINTS[0]]]
    check(backend, call(backend, "act", POINTS, kind=kind, width=POINTS.shape[1]), expected)
    up = draw(*POINTS.shape)
    gated = call(backend, "act_mul", POINTS, up, kind=kind, width=POINTS.shape[1])
    check(backend, gated, np.array(expected) * up)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activations_survive_extremes(kind: str) -> None:
    extremes = np.array([[-1e4, -100, 100, 1e4]], np.float32)
    with np.errstate(all="raise", under="ignore"):
        out = call(NumpyBackend, "act", extremes, kind=kind, width=4)
    limits = {
        "sigmoid": [0, 0, 1, 1],
        "relu2": [0, 0, 1e4, 1e8],
        "selu": [-1.7580993, -1.7580993, 105.070099, 10507.0099],
    }
    np.testing.assert_allclose(out, [limits.get(kind, [0, 0, 100, 1e4])], rtol=1e-6, atol=1e-30)


@either
def test_gather_rows(backend: type[NumpyBackend]) -> None:
    x, rows = draw(4, 3), np.array([2, 0], np.int32)
    check(backend, call(backend, "gather_rows", x, rows, width=3, rows=2), [x[2], x[0]])


@either
@pytest.mark.parametrize("norm", [True, False])
def test_moe_ffn(backend: type[NumpyBackend], norm: bool) -> None:
    x, router = draw(4, 3), draw(5, 3)
    gate, up, down = draw(5, 2, 3), draw(5, 2, 3), draw(5, 3, 2)
    expected = []
    for row in x.astype(float):
        powers = [math.exp(float(router[e] @ row)) for e in range(5)]
        shares = {e: powers[e] / sum(powers) for e in sorted(range(5), key=lambda e: -powers[e])[:2]}
        total = sum(shares.values()) if norm else 1.0
        mixed = np.zeros(3)
        for e, share in shares.items():
            hidden = [FORMULAS["silu"](float(gate[e, f] @ row)) * float(up[e, f] @ row) for f in range(2)]
            mixed += share / total * (down[e].astype(float) @ hidden)
        expected.append(mixed)
    attributes = {"num_experts_per_tok": 2, "kind": "silu", "norm_topk_prob": norm}
    check(backend, call(backend, "moe_ffn", x, router, gate, up, down, **attributes, width=3), expected)


def test_moe_ffn_cannot_choose_more_experts_than_there_are() -> None:
    attributes = {"num_experts_per_tok": 6, "kind": "silu", "norm_topk_prob": True}
    with pytest.raises(ModelError, match="num_experts_per_tok is 6, the router has 5 experts"):
        call(
            NumpyBackend,
            "moe_ffn",
            draw(1, 3),
            draw(5, 3),
            draw(5, 2, 3),
            draw(5, 2, 3),
            draw(5, 3, 2),
            **attributes,
            width=3,
        )
