"""Spans of what happened, as a Chrome trace."""

from __future__ import annotations

import json
import threading
import time

import pytest

from realizar.sampling import SamplingParams
from realizar.trace import Tracer


def test_a_span_is_measured():
    tracer = Tracer()
    before = time.perf_counter_ns()
    with tracer.span("work", tokens=3):
        time.sleep(0.01)
    (event,) = tracer.events
    assert (event["name"], event["ph"], event["args"]) == ("work", "X", {"tokens": 3})
    assert 10_000 <= event["dur"] <= (time.perf_counter_ns() - before) / 1000
    assert event["ts"] >= before / 1000
    assert event["tid"] == threading.get_native_id()


def test_a_span_ends_with_an_exception():
    tracer = Tracer()
    with pytest.raises(ValueError), tracer.span("work"):
        raise ValueError
    assert len(tracer.events) == 1


def test_an_llm_traces_load_steps_and_blocks(open_llm, tmp_path):
    tracer = Tracer()
    llm = open_llm(tracer=tracer)
    llm.generate([5, 6, 7], SamplingParams(temperature=0, max_tokens=3, ignore_eos=True))
    llm.close()
    path = tmp_path / "trace.json"
    tracer.write(path)
    events = json.loads(path.read_text())["traceEvents"]
    names = [event["name"] for event in events]
    assert names.count("load") == 1
    assert names.count("prefill") == 1
    assert names.count("decode") == 2
    blocks = set(names) - {"load", "prefill", "decode"}
    assert len(blocks) >= 3, f"blocks of a model of two layers: {blocks}"
    assert all(names.count(block) == 3 for block in blocks)
    by_name = {event["name"]: event for event in events}
    assert by_name["load"]["args"]["backend"] == "numpy"
    assert by_name["prefill"]["args"] == {"tokens": 3, "sequences": 1}
    assert by_name["decode"]["args"] == {"tokens": 1, "sequences": 1}
    step = by_name["prefill"]
    first = [e for e in events if e["name"] in blocks][: len(blocks)]
    for block in first:
        assert step["ts"] <= block["ts"] and block["ts"] + block["dur"] <= step["ts"] + step["dur"]
