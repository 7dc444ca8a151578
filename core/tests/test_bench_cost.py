"""What a step reads and computes, counted by hand."""

from __future__ import annotations

import attrs
import pytest

from realizar.backend import Floor
from realizar.bench import Case
from realizar.bench.cost import Cost
from realizar.graph import Block, Graph, Node, WeightSpec
from realizar.selection import build_graph
from realizar.testing.models import tiny_model

HIDDEN, FFN, KV, VOCABULARY, LAYERS = 64, 128, 32, 300, 2
MATRICES = LAYERS * (2 * HIDDEN * HIDDEN + 2 * KV * HIDDEN + 3 * FFN * HIDDEN)
NORMS = 4 * (2 * LAYERS + 1) * HIDDEN


def cost(weight_type: str = "F32", kv_type: str = "F16", **options) -> Cost:
    model = tiny_model(weight_type, **options)
    return Cost(build_graph(model.config, model.tensors), model.tensors, kv_type)


def test_sizes_are_those_of_the_tiny_model():
    config = tiny_model().config
    assert (config.hidden_size, config.intermediate_size, config.vocab_size) == (HIDDEN, FFN, VOCABULARY)


@pytest.mark.parametrize(("weight_type", "bits"), [("F32", 32), ("F16", 16), ("Q4_1", 5), ("Q8_0", 8.5)])
def test_decode_reads_every_weight_once(weight_type, bits):
    head = VOCABULARY * HIDDEN
    assert cost(weight_type).decode_nbytes(0) == (MATRICES + head) * bits / 8 + NORMS


def test_of_a_table_that_is_looked_up_one_row_counts():
    tied, untied = (cost(tied=tied).decode_nbytes(0) for tied in (True, False))
    assert untied - tied == 4 * HIDDEN


@pytest.mark.parametrize(("kv_type", "nbytes"), [("F16", 2), ("F32", 4)])
def test_keys_and_values_count_once_a_sequence(kv_type, nbytes):
    model = cost(kv_type=kv_type)
    assert model.decode_nbytes(100, 3) - model.decode_nbytes(0, 3) == 3 * 100 * LAYERS * 2 * KV * nbytes


def test_a_sliding_window_bounds_the_context():
    model = cost(sliding_window=16)
    assert model.decode_nbytes(16) == model.decode_nbytes(1000) > model.decode_nbytes(15)


def test_prefill_wants_logits_of_one_token():
    assert cost().prefill_operations(10) == 2 * (10 * MATRICES + VOCABULARY * HIDDEN)


def moe(experts: int, used: int) -> Cost:
    """One layer of experts [E, 8, 4] and [E, 4, 8] with a router, in F32."""
    tensors = tiny_model().tensors
    stacks = {"gate": (experts, 8, 4), "up": (experts, 8, 4), "down": (experts, 4, 8), "router": (experts, 4)}
    weights = {name: WeightSpec(name, shape, "F32") for name, shape in stacks.items()}
    attributes = {"num_experts_per_tok": used, "kind": "silu", "norm_topk_prob": True}
    node = Node("moe_ffn", ("x", "router", "gate", "up", "down"), "y", attributes)
    some = next(iter(tensors.values()))
    lazy = {name: attrs.evolve(some, name=name, shape=shape) for name, shape in stacks.items()}
    return Cost(Graph((Block("layer 0", (node,), weights),), {"x": 4, "y": 4}), lazy, "F16")


def test_only_the_experts_that_are_used():
    matrix = 4 * 8 * 4
    model = moe(experts=8, used=2)
    router = 4 * 8 * 4
    assert model.decode_nbytes(0) == 2 * 3 * matrix + router
    # Two tokens that choose 2 of 8 each miss an expert with (3/4)^2.
    assert model.decode_nbytes(0, 2) == pytest.approx(8 * (1 - 9 / 16) * 3 * matrix + router)
    assert model.prefill_operations(5) == 2 * 5 * (2 * 3 * 32 + 32)


def test_tokens_per_second_at_the_floor():
    model, floor = cost(), Floor((1e9, 4e9, 2e9), (1e12, 3e12))
    assert model.tokens_per_s(Case(10, 0), floor) == pytest.approx(10 / model.prefill_operations(10) * 3e12)
    context = 32 + 2.5
    decode = model.tokens_per_s(Case(0, 4, n_depth=32, n_batch=2), floor)
    assert decode == pytest.approx(2 / model.decode_nbytes(context, 2) * 4e9)
