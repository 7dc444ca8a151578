"""X-Trace-Level: times that were measured, in every wire's answers, and nothing without the header."""

from __future__ import annotations

import json
import time

import pytest

BODY = {"prompt": "abc", "max_tokens": 6, "temperature": 0, "ignore_eos": True}


def times(trace, *names):
    return sum(row["time_us"] for row in trace["breakdown"] if not names or row["name"] in names)


@pytest.mark.parametrize("level", ["brick", "Step", "LAYER"])
async def test_the_breakdown_adds_up_to_what_the_client_waited(serving, slow_llm, pool_of, level):
    async with serving(pool_of(slow=slow_llm)) as client:
        start = time.perf_counter()
        response = await client.post("/v1/completions", json=BODY, headers={"X-Trace-Level": level})
        trace = (await response.json())["trace"]
        wall_us = (time.perf_counter() - start) * 1e6
    assert (trace["level"], trace["provenance"], trace["steps"]) == (level.lower(), "measured", 6)
    assert times(trace) == pytest.approx(trace["total_time_us"], abs=len(trace["breakdown"]))
    assert all(row["time_us"] >= -0.1 for row in trace["breakdown"])
    assert 0.5 * wall_us <= trace["total_time_us"] <= wall_us
    assert times(trace, "waiting", "between steps") <= 0.5 * trace["total_time_us"]


async def test_each_level_has_its_rows(serving):
    async with serving() as client:
        rows = {}
        for level in ("brick", "step", "layer"):
            response = await client.post("/v1/completions", json=BODY, headers={"X-Trace-Level": level})
            trace = (await response.json())["trace"]
            rows[level] = {row["name"]: row.get("details") for row in trace["breakdown"]}
            assert trace["operations"] == len(trace["breakdown"]) - 2
    assert rows["step"]["prefill"]["tokens"] >= 3
    assert rows["step"]["decode"] == {"tokens": 1, "step_tokens": 1, "sequences": 1}
    assert rows["layer"]["layer 1"] == {"count": 6}
    assert rows["brick"]["linear mlp.down_proj"] == {"count": 12}


async def test_nothing_is_measured_without_the_header(serving):
    async with serving() as client:
        assert "trace" not in await (await client.post("/v1/completions", json=BODY)).json()


async def test_a_level_that_is_not_known_is_refused(serving):
    async with serving() as client:
        response = await client.post("/v1/completions", json=BODY, headers={"X-Trace-Level": "atom"})
        error = (await response.json())["error"]
    assert (response.status, error["param"]) == (400, "X-Trace-Level")
    assert "expected brick, step or layer" in error["message"]


HELLO = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": HELLO, "max_tokens": 4}), ("/v1/completions", BODY),
        ("/v1/messages", {"messages": HELLO, "max_tokens": 4}),
        ("/api/chat", {"messages": HELLO, "options": {"num_predict": 4}}),
        ("/completion", {"prompt": "a", "n_predict": 4}),
    ],
)  # fmt: skip
async def test_every_wire_has_it_whole_and_streamed(serving, path, body):
    async with serving() as client:
        for stream in (False, True):
            body = {**body, "model": "tiny", "stream": stream}
            response = await client.post(path, json=body, headers={"X-Trace-Level": "layer"})
            text = await response.text()
            assert response.status == 200, text
            objects = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if "{" in line]
            found = [each["trace"] for each in objects if "trace" in each]
            assert len(found) == 1
            assert "layer 0" in {row["name"] for row in found[0]["breakdown"]}


async def test_several_answers_have_several_traces_in_order(serving):
    async with serving() as client:
        body = {**BODY, "prompt": ["a", "b" * 20], "n": 2}
        response = await client.post("/v1/completions", json=body, headers={"X-Trace-Level": "step"})
        traces = (await response.json())["trace"]
        assert len(traces) == 4
        assert traces[0]["tokens"] < 20 < traces[2]["tokens"]
        prompts = await client.post("/completion", json={"prompt": ["a", "b"]}, headers={"X-Trace-Level": "step"})
        assert ["trace" in each for each in await prompts.json()] == [False, True]


async def test_arguments_of_the_engine_are_no_variables_of_a_template(serving):
    async with serving() as client:
        for name in ("trace", "priority", "deadline_s", "self", "chat_template"):
            body = {"messages": HELLO, "chat_template_kwargs": {name: 1}}
            response = await client.post("/v1/chat/completions", json=body)
            assert (response.status, (await response.json())["error"]["param"]) == (400, f"chat_template_kwargs.{name}")
