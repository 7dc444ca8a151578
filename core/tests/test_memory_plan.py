"""What a model takes in memory, against what is really allocated, and against limits."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner

from realizar.backend import Bucket, CacheSpec, Step
from realizar.cli.plan import plan_command
from realizar.errors import MemoryExceeded, PluginError
from realizar.host_memory import available_memory
from realizar.memory_plan import MemoryPlan, plan_memory
from realizar.reference import Numpy64Backend, NumpyBackend
from realizar.selection import build_graph
from realizar.testing.models import tiny_model

PLAN = MemoryPlan(
    weights_nbytes=1000, scratch_nbytes=200, kv_token_nbytes=10, kv_type="F16", context=33, sequences=2, limit=4096,
    block_size=16, budget_nbytes=3000,
)  # fmt: skip


def test_the_cache_is_whole_blocks_of_every_sequence():
    assert PLAN.kv_nbytes == 2 * 48 * 10
    assert PLAN.total_nbytes == 1000 + 200 + 960


@pytest.mark.parametrize(
    ("budget", "context"), [(3000, 80), (1200 + 2 * 160, 16), (1200 + 2 * 160 - 1, 0), (0, 0), (10**9, 4096)]
)
def test_the_largest_context_fits_and_one_block_more_does_not(budget, context):
    plan = attrs.evolve(PLAN, budget_nbytes=budget)
    assert plan.largest_context == context
    if context:
        attrs.evolve(plan, context=context).prove("it")
    if context < PLAN.limit:
        with pytest.raises(MemoryExceeded):
            attrs.evolve(plan, context=context + 1).prove("it")


def test_an_unknown_budget_refuses_nothing():
    plan = attrs.evolve(PLAN, budget_nbytes=None)
    plan.prove("it")
    assert plan.largest_context is None


def test_a_model_without_a_cache_may_have_its_whole_context():
    assert attrs.evolve(PLAN, kv_token_nbytes=0).largest_context == 4096


def test_a_refusal_has_all_numbers():
    plan = attrs.evolve(PLAN, weights_nbytes=3 << 20, kv_token_nbytes=1 << 20, budget_nbytes=40 << 20)
    with pytest.raises(MemoryExceeded) as raised:
        plan.prove("tiny.gguf")
    assert str(raised.value) == (
        "tiny.gguf needs 99 MiB (weights 3 MiB, F16 cache of 2 x 33 tokens 96 MiB, scratch 0 MiB), available are "
        "40 MiB; a context of 16 tokens fits: --ctx 16"
    )
    with pytest.raises(MemoryExceeded, match="no context fits"):
        attrs.evolve(plan, budget_nbytes=1 << 20).prove("it")


@pytest.mark.parametrize("cls", [NumpyBackend, Numpy64Backend])
def test_the_plan_is_what_the_reference_allocates(cls):
    model = tiny_model("Q8_0")
    graph, bucket = build_graph(model.config, model.tensors), Bucket(8, 2, 3)
    plan = plan_memory(
        cls, graph, model.tensors, kv_type="F32", context=40, limit=256, bucket=bucket, block_size=16, sequences=2
    )
    backend = cls()
    weights = {name: backend.load(model.tensors[name], ops) for name, ops in graph.tensor_ops.items()}
    assert plan.weights_nbytes == sum(weight.nbytes for weight in weights.values())
    step = Step.empty(max_tokens=8, max_seqs=2, max_rows=3, max_blocks=3)
    cache = backend.make_cache(CacheSpec(graph.attention_layers, 6, 16, "F32"))
    values = backend.make_plan(graph, weights, cache, step).values
    assert plan.scratch_nbytes == sum(value.nbytes for value in values.values())
    if cls is NumpyBackend:
        assert plan.kv_nbytes == sum(layer.keys.nbytes + layer.values.nbytes for layer in cache)


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_available_memory_is_the_least_of_system_and_groups(tmp_path):
    meminfo = _write(tmp_path / "meminfo", "MemTotal: 9000 kB\nMemAvailable:    4000 kB\n")
    membership = _write(tmp_path / "self", "0::/a/b\n")
    groups = tmp_path / "groups"
    _write(groups / "memory.max", "max\n")
    assert available_memory(meminfo, groups, membership) == 4000 * 1024
    _write(groups / "a/memory.max", "1000000\n")
    _write(groups / "a/memory.current", "700000\n")
    _write(groups / "a/memory.stat", "anon 5\nactive_file 1000\ninactive_file 2000\n")
    assert available_memory(meminfo, groups, membership) == 303000
    _write(groups / "a/b/memory.max", "10\n")
    _write(groups / "a/b/memory.current", "700\n")
    assert available_memory(meminfo, groups, membership) == 0


def test_where_nothing_is_known_nothing_is_said(tmp_path):
    assert available_memory(tmp_path / "a", tmp_path / "b", tmp_path / "c") is None


@pytest.fixture
def opened(monkeypatch):
    monkeypatch.setattr("realizar.engine.footprint.open_named", lambda *_, **__: tiny_model().open())
    monkeypatch.setattr(NumpyBackend, "memory_budget", classmethod(lambda _: 10 << 20))


def test_the_command_shows_the_plan(opened):
    shown = CliRunner().invoke(plan_command, ["tiny", "--backend", "numpy", "--ctx", "64", "--batch", "2"])
    assert shown.exit_code == 0, shown.output
    assert "F32 cache, 2 x 64 tokens of 512 bytes" in shown.output
    assert "the largest context that fits is 256 tokens" in shown.output
    fields = json.loads(CliRunner().invoke(plan_command, ["tiny", "--backend", "numpy", "--format", "json"]).output)
    assert fields["total_nbytes"] == fields["weights_nbytes"] + fields["kv_nbytes"] + fields["scratch_nbytes"]


def test_the_command_fails_where_the_model_does_not_fit(opened):
    result = CliRunner().invoke(plan_command, ["tiny", "--backend", "numpy", "--ctx", "256", "--batch", "1000"])
    assert isinstance(result.exception, MemoryExceeded)
    assert "together" in result.output


def test_a_cache_type_that_the_backend_lacks_is_refused(opened):
    result = CliRunner().invoke(plan_command, ["tiny", "--backend", "numpy", "--kv-type", "Q4_0"])
    assert isinstance(result.exception, PluginError)
