"""Times of one request: its own steps, what they consist of, and nothing for those who did not ask."""

from __future__ import annotations

import time

import pytest

from realizar.engine import engine as engine_module
from realizar.engine.request_trace import run_traced
from realizar.errors import RequestError
from realizar.reference import NumpyBackend
from realizar.sampling import SamplingParams
from realizar.trace import Tracer

GREEDY = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True)
PROMPT = [5, 6, 7, 8]


def traced(llm, level, params=GREEDY):
    completions = llm.stream(PROMPT, params, trace=level).completions()
    return completions[0].trace


def test_steps_are_those_of_the_request(open_llm):
    llm = open_llm(backend="slow")
    start = time.perf_counter()
    trace = traced(llm, "step")
    wall_s = time.perf_counter() - start
    assert [step.phase for step in trace.steps] == ["prefill"] + ["decode"] * 5
    assert [step.tokens for step in trace.steps] == [4, 1, 1, 1, 1, 1]
    assert all(step.step_tokens == step.tokens and step.sequences == 1 for step in trace.steps)
    assert all(step.seconds >= 0.02 for step in trace.steps), "the backend takes 20 ms a step"
    assert trace.waiting_s + trace.steps_s <= trace.total_s <= wall_s
    assert trace.waiting_s + trace.steps_s >= 0.5 * wall_s
    assert trace.parts == ()


@pytest.mark.parametrize("level", ["layer", "brick"])
def test_parts_add_up_to_the_steps(open_llm, level):
    trace = traced(open_llm(), level, SamplingParams(temperature=0, max_tokens=40, ignore_eos=True))
    parts_s = sum(part.seconds for part in trace.parts)
    assert len(trace.steps) == 40
    assert 0.3 * trace.steps_s <= parts_s <= trace.steps_s
    assert all(part.seconds > 0 for part in trace.parts)


def test_layers_are_the_blocks_of_the_graph(open_llm):
    trace = traced(open_llm(), "layer")
    assert [part.name for part in trace.parts] == ["embed", "layer 0", "layer 1", "head"]
    assert {part.count for part in trace.parts} == {6}


def test_bricks_are_ops_with_their_weights(open_llm):
    trace = traced(open_llm(), "brick")
    counts = {part.name: part.count for part in trace.parts}
    assert counts["linear self_attn.q_proj"] == counts["attention"] == 2 * 6
    assert counts["embedding embed_tokens"] == 6
    assert not any("fused" in name for name in counts)


class Fusing(NumpyBackend):
    """Layers are fused, the rest is not."""

    name = "fusing"

    def compile_block(self, block, plan):
        return self._walk_quietly(block, plan) if block.layer_id is not None else None

    def _walk_quietly(self, block, plan):
        calls = [self._bind(node, block, plan) for node in block.nodes]

        def run():
            for call in calls:
                call()

        return run


class Capturing(NumpyBackend):
    """Its step is one program, which nobody sees into."""

    name = "capturing"

    def capture(self, step, plan):
        return step


@pytest.fixture
def swapped(monkeypatch):
    """Makes `numpy` another class for a while."""
    return lambda cls: monkeypatch.setattr("realizar.engine.loader.choose_backend", lambda name: (cls, "test"))


def test_a_fused_block_stands_whole(open_llm, swapped):
    swapped(Fusing)
    counts = {part.name: part.count for part in traced(open_llm(), "brick").parts}
    assert counts["layer 0 (fused)"] == counts["layer 1 (fused)"] == counts["embedding embed_tokens"] == 6
    assert "attention" not in counts


def test_a_recorded_step_is_said_to_have_no_parts(open_llm, swapped):
    swapped(Capturing)
    trace = traced(open_llm(), "layer")
    assert (trace.sees_inside, trace.parts, len(trace.steps)) == (False, (), 6)


def test_who_did_not_ask_pays_nothing(open_llm, monkeypatch):
    """Steps without a traced sequence run as they always did: no tracer, no span, no clock."""
    llm = open_llm()
    runner = llm._engine._runner
    seen = []

    def run(chunks, plain=runner.run):
        seen.append((runner.backend.tracer, {chunk.sequence.trace is None for chunk in chunks}))
        return plain(chunks)

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(engine_module, "run_traced", lambda *_: pytest.fail("a step was traced"))
    assert llm.generate(PROMPT, GREEDY).trace is None
    assert seen == [(None, {True})] * 6
    monkeypatch.setattr(engine_module, "run_traced", run_traced)
    seen.clear()
    assert traced(llm, "layer") is not None
    assert all(isinstance(tracer, Tracer) for tracer, _ in seen)
    assert runner.backend.tracer is None, "the next step is free again"


def test_requests_beside_each_other_are_told_apart(open_llm):
    llm = open_llm(backend="slow")
    quiet = llm.stream([9] * 8, SamplingParams(temperature=0, max_tokens=40, ignore_eos=True))
    next(quiet)
    layers, bricks = llm.stream(PROMPT, GREEDY, trace="layer"), llm.stream(PROMPT[:3], GREEDY, trace="brick")
    by_layer, by_brick = layers.completion().trace, bricks.completion().trace
    assert quiet.completion().trace is None
    assert len(by_layer.steps) == len(by_brick.steps) == 6
    assert max(step.sequences for step in by_layer.steps) == 3
    assert sum(step.tokens for step in by_brick.steps) == 3 + 5
    assert [part.name for part in by_layer.parts] == ["embed", "layer 0", "layer 1", "head"]
    assert "attention" in {part.name for part in by_brick.parts}


def test_the_same_tokens_with_and_without(open_llm):
    llm = open_llm()
    plain = llm.generate(PROMPT, GREEDY)
    for level in ("step", "layer", "brick"):
        assert llm.stream(PROMPT, GREEDY, trace=level).completion().token_ids == plain.token_ids


def test_each_choice_has_its_trace(open_llm):
    params = SamplingParams(temperature=1, seed=3, n=2, max_tokens=4, ignore_eos=True)
    traces = [done.trace for done in open_llm().stream(PROMPT, params, trace="step").completions()]
    assert len(traces) == 2
    assert traces[0] is not traces[1]


def test_a_tracer_of_the_engine_sees_traced_steps_too(open_llm):
    tracer = Tracer()
    llm = open_llm(tracer=tracer)
    traced(llm, "layer")
    names = [event["name"] for event in tracer.events]
    assert (names.count("prefill"), names.count("decode"), names.count("layer 0")) == (1, 5, 6)


def test_levels_are_checked(open_llm):
    with pytest.raises(RequestError, match="trace: found 'atom', expected one of step, layer, brick, or none"):
        open_llm().stream(PROMPT, GREEDY, trace="atom")
