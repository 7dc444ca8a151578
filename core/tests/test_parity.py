"""Parity with planted bugs: each must be found where it is, and named for what it is."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from realizar.backend import kernel
from realizar.cli.parity import parity_command
from realizar.cli.parity_view import parity_table
from realizar.errors import ParityError
from realizar.parity import Finding, compare, diagnose, linear_of_ones, load_weights, prove_parity, repeat
from realizar.parity.diagnosis import CAUSES, STATE
from realizar.parity.units import first_layers, units
from realizar.reference import NumpyBackend
from realizar.selection import build_graph
from realizar.testing.models import tiny_encoder, tiny_model

STEPS = [[5, 3, 8, 1, 2], [7], [4]]


class PartOfTheSum(NumpyBackend):
    """Sums a part of the columns of a linear layer."""

    divisor = 2

    @kernel("linear")
    def linear(self, x: Any, weight: Any, bias: Any = None, *, out: Any) -> None:
        part = x.shape[1] // self.divisor
        np.matmul(x[:, :part], weight[:, :part].T, out=out)


class QuarterOfTheSum(PartOfTheSum):
    divisor = 4


class EighthOfTheSum(PartOfTheSum):
    divisor = 8


class LeftoverState(NumpyBackend):
    """Adds to what the last call of another shape left behind."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.left = np.float32(0)

    @kernel("linear")
    def linear(self, x: Any, weight: Any, bias: Any = None, *, out: Any) -> None:
        np.matmul(x, weight.T, out=out)
        out += self.left
        self.left = np.float32(out.shape[1] / 1024)


class LastColumnsForgotten(NumpyBackend):
    @kernel("act_mul")
    def act_mul(self, gate: Any, up: Any, *, kind: str, out: Any) -> None:
        super().act_mul(gate, up, kind=kind, out=out)
        out[:, -8:] = 1


class NoNumbers(NumpyBackend):
    @kernel("rms_norm")
    def rms_norm(self, x: Any, weight: Any, *, eps: float, out: Any) -> None:
        super().rms_norm(x, weight, eps=eps, out=out)
        out[0, 3] = np.nan


def findings(cls: type[NumpyBackend], level: str = "op", model: Any = None, steps: Any = STEPS) -> list[Finding]:
    model = model or tiny_model()
    graph, candidate = build_graph(model.config, model.tensors), cls()
    weights = load_weights(candidate, graph, model.tensors)
    return list(compare(graph, model.tensors, candidate, weights, NumpyBackend(), steps, level=level))


@pytest.mark.parametrize("level", ["op", "layer"])
@pytest.mark.parametrize("model", [tiny_model(), tiny_model("Q8_0", biased=True, tied=False)], ids=["F32", "Q8_0"])
def test_the_reference_agrees_with_itself_to_the_bit(level, model):
    found = findings(NumpyBackend, level, model)
    assert len(found) == 3 * len(units(build_graph(model.config, model.tensors), level))
    assert all(finding.ok and finding.error == 0 == finding.free_error for finding in found)


def test_an_encoder_is_compared_in_one_step():
    assert all(finding.error == 0 for finding in findings(NumpyBackend, model=tiny_encoder(), steps=[[5, 3, 8]]))


@pytest.mark.parametrize(("cls", "ratio"), [(PartOfTheSum, 2), (QuarterOfTheSum, 4), (EighthOfTheSum, 8)])
def test_a_part_of_a_sum_is_named_by_its_ratio_at_the_first_linear_layer(cls, ratio):
    bad = [finding for finding in findings(cls) if not finding.ok]
    assert bad[0].unit == "layer 0: linear self_attn.q_proj.weight -> q"
    assert {finding.diagnosis for finding in bad} == {CAUSES[ratio]}
    assert all("linear" in finding.unit for finding in bad), "ops behind it get the reference's inputs, and are right"


def test_what_becomes_of_an_error_is_seen_in_the_free_run():
    found = {finding.unit: finding for finding in findings(PartOfTheSum) if finding.step == 0}
    rope = found["layer 0: rope -> q"]
    assert rope.error == 0
    assert rope.free_error > 0.1


def test_forgotten_columns_are_named():
    bad = [finding for finding in findings(LastColumnsForgotten) if not finding.ok]
    assert {finding.unit for finding in bad} == {f"layer {i}: act_mul -> gate" for i in (0, 1)}
    assert "only columns 120-127 of 128 differ" in bad[0].diagnosis


def test_a_value_that_is_no_number_is_named():
    bad = next(finding for finding in findings(NoNumbers) if not finding.ok)
    assert bad.diagnosis.startswith("1 values are not finite, the first at row 0, column 3")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (np.zeros((2, 3)), "all zeros"),
        (-np.ones((2, 3)), "the sign is turned"),
        (np.full((2, 3), 3.0), "0.3333 times"),
        (np.array([[1.001, 1, 1], [1, 0.9, 1.1]]), "only rows 1 of 2"),
        (np.full((2, 3), 1.0) + [[0.001, -0.001, 0.001]], "precision, not structure"),
        (np.array([[7, -2, 5], [-1, 4, 8.0]]), "no constant ratio"),
        (np.where(np.arange(24) % 2, 1.0, 9.0).reshape(2, 12), "and 2 runs more of 12 differ"),
    ],
)
def test_diagnoses(found, words):
    expected = np.ones(found.shape, np.float32)
    if "precision" in words:
        expected *= np.linspace(0.97, 1.03, expected.size).reshape(expected.shape).astype(np.float32)
        found = expected * (1 + 0.03 * np.sign(found - 1.0))
    assert words in diagnose(found.astype(np.float32), expected)


def test_4_64_8_of_ones_gives_64_twice_with_another_shape_between():
    """The historic case: it gave 8, then 16, since the accumulator outlived the call."""
    backend = NumpyBackend()
    for tokens, columns, rows in ((4, 64, 8), (3, 32, 5), (4, 64, 8)):
        np.testing.assert_array_equal(linear_of_ones(backend, tokens, columns, rows), columns)


@pytest.mark.parametrize("weight_type", ["Q4_0", "Q8_0", "BF16"])
def test_ones_of_other_types(weight_type):
    np.testing.assert_allclose(linear_of_ones(NumpyBackend(), 2, 64, 3, weight_type), 64, rtol=0.01)


@pytest.mark.parametrize(("cls", "ok"), [(NumpyBackend, True), (PartOfTheSum, True), (LeftoverState, False)])
def test_only_state_makes_results_vary(cls, ok):
    model = tiny_model()
    graph, backend = build_graph(model.config, model.tensors), cls()
    found = list(repeat(graph, backend, load_weights(backend, graph, model.tensors), STEPS))
    assert all(repetition.ok for repetition in found) == ok
    assert {r.diagnosis for r in found if not r.ok} == (set() if ok else {STATE})
    assert all("linear" in repetition.unit for repetition in found if not repetition.ok)


@pytest.mark.parametrize("changes", [{}, {"tied": False}, {"num_hidden_layers": 5}])
def test_the_gate_lets_the_right_backend_through(changes):
    _gate(NumpyBackend, **changes)


@pytest.mark.parametrize("cls", [PartOfTheSum, NoNumbers, LastColumnsForgotten])
@pytest.mark.parametrize("tied", [True, False])
def test_the_gate_stops_a_wrong_one(cls, tied):
    with pytest.raises(ParityError, match="does not compute this model as the reference does"):
        _gate(cls, tied=tied)


def test_the_gate_reads_few_rows_of_the_vocabulary(monkeypatch):
    """More tokens than it looks at: the rows are those of the same ids on both sides."""
    monkeypatch.setattr("realizar.parity.gate.ROWS", 50)
    _gate(NumpyBackend, tied=False)
    with pytest.raises(ParityError):
        _gate(PartOfTheSum)


def test_a_model_of_a_proving_backend_is_proven_at_load(monkeypatch, tmp_path):
    from realizar.engine import loader

    class Proving(PartOfTheSum):
        name, proves_parity = "proving", True

    monkeypatch.setattr(loader, "open_named", lambda *_, **__: tiny_model().open())
    monkeypatch.setattr(loader, "choose_backend", lambda _: (Proving, "named"))
    with pytest.raises(ParityError, match="realizar parity MODEL --backend proving"):
        loader.load_model("tiny", loader.BackendOptions())


def _gate(cls: type[NumpyBackend], **changes: Any) -> None:
    model = tiny_model(**changes)
    graph, backend = build_graph(model.config, model.tensors), cls()
    prove_parity(backend, graph, load_weights(backend, graph, model.tensors), model.tensors, "F32")


def test_the_first_layers_keep_head_and_tail():
    model = tiny_model(num_hidden_layers=4)
    graph = first_layers(build_graph(model.config, model.tensors), 2)
    assert [block.name for block in graph.blocks] == ["embed", "layer 0", "layer 1", "head"]


@pytest.fixture
def opened(monkeypatch):
    """The command meets a tiny model, and a wrong backend under the name "wrong"."""
    backends = {None: NumpyBackend, "numpy": NumpyBackend, "wrong": QuarterOfTheSum, "numpy64": NumpyBackend}
    monkeypatch.setattr("realizar.cli.parity.open_named", lambda *_, **__: tiny_model().open())
    monkeypatch.setattr("realizar.cli.parity.choose_backend", lambda name: (backends[name], "named"))


@pytest.mark.parametrize("tui", [[], ["--tui"]])
def test_the_command_shows_where_results_part(opened, tui):
    good = CliRunner().invoke(parity_command, ["tiny", *tui])
    assert good.exit_code == 0, good.output
    assert "all good" in good.output
    bad = CliRunner().invoke(parity_command, ["tiny", "--backend", "wrong", "--layers", "1", *tui])
    assert bad.exit_code == 1
    assert "beyond the tolerance" in bad.output
    assert "a partial tile" in bad.output


def test_the_command_gives_json(opened):
    result = CliRunner().invoke(parity_command, ["tiny", "--backend", "wrong", "--json", "--decode", "0"])
    lines = [json.loads(line) for line in result.output.splitlines()]
    assert {"step", "unit", "error", "free_error", "diagnosis", "ok"} <= lines[0].keys()
    assert lines[-1]["runs"] == 3
    assert not all(line["ok"] for line in lines)


def test_the_live_view_keeps_the_latest(capsys):
    with parity_table("a", "b", live=True) as table:
        for i in range(40):
            table.add(Finding(0, f"layer {i}: add -> x", 1, 2, 0.0, 0.0, None))
        shown = table._watched()
    assert shown.renderables[0].row_count == 16
    assert "40 results compared" in capsys.readouterr().out
