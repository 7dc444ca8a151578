"""Fused blocks against their nodes one by one, and one thread against several: the same bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest
from numpy.typing import NDArray

from realizar.architectures.llama import Llama
from realizar.backend import BackendOptions, Step, kernel
from realizar.graph import Block, Graph, Node, WeightSpec
from realizar.tensors import LazyTensor
from realizar.testing.driver import Driver, Program, chunked
from realizar.testing.models import tiny_model
from realizar_numba.backend import NumbaBackend
from realizar_numba.runtime import ProgramRunner

PROMPTS = ((5, 7, 200, 3, 9, 11, 250, 2, 4, 8, 17), (1,), (30, 31, 32))
SCHEDULE = chunked(PROMPTS, (9, 1, 2))


def _llama(kind: str, **changes: Any) -> Program:
    model = tiny_model(kind, **changes)
    return Program(Llama().build(model.config, model.tensors), model.tensors, PROMPTS, (True,) * len(PROMPTS))


def _run(backend: NumbaBackend, program: Program, kv_type: str | None = None) -> NDArray[np.float32]:
    return np.concatenate(Driver(backend, program, kv_type=kv_type).run(SCHEDULE))


def _walking(backend: NumbaBackend) -> NumbaBackend:
    backend.compile_block = lambda block, plan: None  # type: ignore[method-assign]
    return backend


def _fused(backend: NumbaBackend) -> NumbaBackend:
    """The backend, which fails if a block is not fused."""
    compile_block = backend.compile_block

    def checked(block: Block, plan: Any) -> Any:
        run = compile_block(block, plan)
        assert isinstance(run, ProgramRunner), f"block {block.name!r} was not fused"
        return run

    backend.compile_block = checked  # type: ignore[method-assign]
    return backend


def _assert_same_bits(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    assert np.isfinite(expected).all() and expected.any()
    np.testing.assert_array_equal(actual.view(np.uint32), expected.view(np.uint32))


MODELS = {
    "Q4_1": _llama("Q4_1"),
    "Q8_0 untied with biases": _llama("Q8_0", tied=False, biased=True),
    "Q6_K": _llama("Q6_K"),
    "F16": _llama("F16"),
    "F32 with biases": _llama("F32", biased=True),
    "Q2_K": _llama("Q2_K"),
    "IQ2_S": _llama("IQ2_S"),
    "Q8_K, dequantized": _llama("Q8_K"),
    "heads of 32, window": _llama("Q4_1", head_dim=32, sliding_window=5, hidden_act="gelu_tanh"),
    "heads of 8": _llama("Q4_1", head_dim=8, num_attention_heads=4, num_key_value_heads=1),
    "heads of 80": _llama("F16", head_dim=80, num_attention_heads=2, num_key_value_heads=2),
}


@pytest.mark.parametrize("name", MODELS)
def test_fused_equals_walked(make_backend: Callable[..., NumbaBackend], name: str) -> None:
    program = MODELS[name]
    _assert_same_bits(_run(_fused(make_backend()), program), _run(_walking(make_backend()), program))


@pytest.mark.parametrize("threads", [1, 3, 7])
@pytest.mark.parametrize("name", ["Q4_1", "F16"])
def test_threads_do_not_change_bits(make_backend: Callable[..., NumbaBackend], name: str, threads: int) -> None:
    expected = _run(make_backend(2), MODELS[name])
    _assert_same_bits(_run(make_backend(threads), MODELS[name]), expected)


def test_float32_cache_walked_and_fused(make_backend: Callable[..., NumbaBackend]) -> None:
    program = MODELS["Q4_1"]
    _assert_same_bits(_run(make_backend(), program, "F32"), _run(_walking(make_backend()), program, "F32"))


def _with_layers(program: Program, change: Callable[[Block], Block], **values: int) -> Program:
    """The program with every layer's block changed, and more values."""
    graph = program.graph
    blocks = tuple(change(block) if block.layer_id is not None else block for block in graph.blocks)
    return attrs.evolve(program, graph=Graph(blocks, {**graph.values, **values}, graph.row_values, graph.output))


def _replace(block: Block, old: Callable[[Node], bool], new: Callable[[Node], list[Node]]) -> Block:
    nodes = [made for node in block.nodes for made in (new(node) if old(node) else [node])]
    return attrs.evolve(block, nodes=tuple(nodes))


def _rope_elsewhere(block: Block) -> Block:
    """Rotated queries under another name."""

    def is_query_rope(node: Node) -> bool:
        return node.op == "rope" and node.output == "q"

    block = _replace(block, is_query_rope, lambda node: [attrs.evolve(node, output="q2")])
    attention = lambda node: [attrs.evolve(node, inputs=("q2", *node.inputs[1:]))]  # noqa: E731
    return _replace(block, lambda node: node.op == "attention", attention)


def _norm_of_queries(block: Block) -> Block:
    """A norm per head between projection and rotation, as in Qwen3."""
    weights = {**block.weights, "q_norm": WeightSpec("q_norm", (16,), "F32")}
    norm = Node("rms_norm", ("q", "q_norm"), "q", {"eps": 1e-6})
    block = attrs.evolve(block, weights=weights)
    return _replace(block, lambda node: node.op == "rope" and node.output == "q", lambda node: [norm, node])


def _softcap_everywhere(block: Block) -> Block:
    """Capped scores, a capped and activated residual stream, sums the other way round."""

    def capped(node: Node) -> list[Node]:
        return [attrs.evolve(node, attrs={**node.attrs, "softcap": 5.0})]

    def swapped(node: Node) -> list[Node]:
        cap = Node("softcap", ("mixed",), "mixed", {"cap": 3.0})
        act = Node("act", ("mixed",), "mixed", {"kind": "gelu"})
        return [cap, act, Node("add", ("mixed", "x"), "x2"), Node("add", ("x2", "x2"), "x")]

    block = _replace(block, lambda node: node.op == "attention", capped)
    return _replace(block, lambda node: node.op == "add", swapped)


def _kept_gate(block: Block) -> Block:
    """The gate's values are needed once more after the product, so nothing may swallow them."""

    def product(node: Node) -> list[Node]:
        return [attrs.evolve(node, output="product"), Node("add", ("gate", "product"), "gate")]

    return _replace(block, lambda node: node.op == "act_mul", product)


def _attention_on_itself(block: Block) -> Block:
    """Keys serve as values too."""
    twice = lambda node: [attrs.evolve(node, inputs=("q", "k", "k"))]  # noqa: E731
    return _replace(block, lambda node: node.op == "attention", twice)


def _layer_norms(block: Block) -> Block:
    """Layer norm, which subtracts the mean."""
    return _replace(block, lambda node: node.op == "rms_norm", lambda node: [attrs.evolve(node, op="layer_norm")])


GRAPHS: dict[str, tuple[Callable[[Block], Block], dict[str, int]]] = {
    "rope elsewhere": (_rope_elsewhere, {"q2": 64}),
    "norm of queries": (_norm_of_queries, {}),
    "softcap everywhere": (_softcap_everywhere, {"x2": 64}),
    "kept gate": (_kept_gate, {"product": 128}),
    "attention on itself": (_attention_on_itself, {}),
    "layer norms": (_layer_norms, {}),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_unusual_graphs(make_backend: Callable[..., NumbaBackend], name: str) -> None:
    """What fits no fusion is still one program, and right."""
    change, values = GRAPHS[name]
    program = _with_layers(MODELS["Q4_1"], change, **values)
    norm: dict[str, LazyTensor] = {"q_norm": _ones("q_norm", 16)}
    program = attrs.evolve(program, tensors={**program.tensors, **norm})
    _assert_same_bits(_run(_fused(make_backend()), program), _run(_walking(make_backend()), program))


def _ones(name: str, width: int) -> LazyTensor:
    from realizar.dtypes import dtype
    from realizar.testing.models import memory_tensor

    return memory_tensor(name, np.linspace(0.5, 1.5, width, dtype=np.float32), dtype("F32"))


def test_mixed_types_in_one_layer(make_backend: Callable[..., NumbaBackend]) -> None:
    """Queries of one type, keys of another, values in float: phases split by what they read."""
    program = MODELS["Q4_1"]
    others = {"k_proj": tiny_model("Q8_0").tensors, "v_proj": tiny_model("F16").tensors}
    tensors = dict(program.tensors)
    for name in tensors:
        for part, source in others.items():
            if part in name:
                tensors[name] = source[name]
    program = attrs.evolve(program, tensors=tensors)
    _assert_same_bits(_run(_fused(make_backend()), program), _run(_walking(make_backend()), program))


@pytest.mark.parametrize("name", ["Q4_1", "Q8_0 untied with biases", "F16"])
def test_only_the_output_head_takes_two_lanes_a_row(backend: NumbaBackend, name: str) -> None:
    graph, tensors = MODELS[name].graph, MODELS[name].tensors
    names = {spec.tensor for block in graph.blocks for spec in block.weights.values()}
    loaded = {name: backend.load(tensors[name], frozenset({"linear"})) for name in names}
    step = Step.empty(max_tokens=4, max_seqs=1, max_rows=1, max_blocks=1)
    weights = backend.make_plan(graph, loaded, [], step).weights
    precise = {key for key, weight in weights.items() if getattr(weight, "lanes_per_row", 1) == 2}
    head = graph.blocks[-1]
    heads = {head.weights[node.inputs[1]].tensor for node in head.nodes if node.op == "linear"}
    assert precise == {name for name in heads if loaded[name].takes_integers}
    assert all(weights[key].data is loaded[key].data for key in precise)


class OwnNorm(NumbaBackend):
    """One op overridden in NumPy, the rest inherited."""

    calls = 0

    @kernel("rms_norm")
    def rms_norm(self, x: Any, weight: Any, *, eps: float, out: Any) -> None:
        type(self).calls += 1
        out[:] = x / np.sqrt(np.mean(np.square(x), axis=-1, keepdims=True) + np.float32(eps)) * weight


def test_an_override_is_used(make_backend: Callable[..., NumbaBackend]) -> None:
    """Blocks with the overridden op are walked, the others stay fused."""
    program = MODELS["F32 with biases"]
    backend = OwnNorm(BackendOptions(threads=2))
    try:
        found = _run(backend, program)
    finally:
        backend.close()
    assert OwnNorm.calls > 0
    expected = _run(make_backend(), program)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_traced_steps_show_blocks(backend: NumbaBackend) -> None:
    """With a tracer a step runs block by block, with the same result."""
    from realizar.trace import Tracer

    expected = _run(backend, MODELS["Q4_1"])
    backend.tracer = Tracer()
    _assert_same_bits(_run(backend, MODELS["Q4_1"]), expected)
