"""`realizar explain kernel` on a backend made up here, and the roofline by hand."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from realizar.backend import Floor
from realizar.cli.main import cli
from realizar.errors import RequestError, UnsupportedOp
from realizar.kernel_report import KernelReport, Section, roofline
from realizar.reference import NumpyBackend

REPORT = KernelReport(
    "linear Q4_1 decode",
    "fast9",
    "int8",
    (Section("hot loop", {"dot instruction": "8 dotx", "spills": 0}),),
    3.2,
    "dotx",
)
FLOOR = Floor((20e9, 25e9), (1e12, 9e11))


class TalkingBackend(NumpyBackend):
    """Explains two kernels."""

    name = "talking"

    @classmethod
    def explainable(cls):
        return ["linear Q4_1 decode", "linear Q4_1 prefill"]

    @classmethod
    def explain(cls, kernel, target=None):
        return REPORT if target is None else KernelReport(kernel, target, "float32", ())

    def floor(self):
        return FLOOR


@pytest.fixture
def explain(monkeypatch):
    """Runs `realizar explain kernel`; returns click's result."""
    backends = {"talking": TalkingBackend, "numpy": NumpyBackend}
    monkeypatch.setattr("realizar.cli.explain.choose_backend", lambda name: (backends[name or "talking"], ""))
    return lambda *args: CliRunner().invoke(cli, ["explain", "kernel", *args])


def test_without_a_name_all_are_listed(explain):
    assert explain().stdout.splitlines() == TalkingBackend.explainable()
    assert json.loads(explain("--json").stdout) == TalkingBackend.explainable()


@pytest.mark.parametrize("name", [["linear", "Q4_1", "decode"], ["linear q4_1 decode"]])
def test_text(explain, name):
    assert explain(*name).stdout == (
        "linear Q4_1 decode (fast9)\n\nhot loop\n  dot instruction  8 dotx\n  spills           0\n"
    )
    assert explain(*name, "--asm").stdout.endswith("\n\ndotx\n")


def test_json(explain):
    fields = json.loads(explain("linear Q4_1 decode", "--json", "--floor").stdout)
    assert (fields["name"], fields["target"], fields["operation"]) == ("linear Q4_1 decode", "fast9", "int8")
    assert fields["operations_per_byte"] == 3.2
    assert fields["sections"]["hot loop"] == {"dot instruction": "8 dotx", "spills": 0}
    assert fields["sections"]["roofline"]["position"] == "memory bound"
    assert "assembly" not in fields
    assert json.loads(explain("linear Q4_1 decode", "--json", "--asm").stdout)["assembly"] == "dotx"


def test_another_instruction_set(explain):
    assert explain("linear Q4_1 prefill", "--isa", "slow1").stdout == "linear Q4_1 prefill (slow1)\n"


def test_an_unknown_name_lists_near_ones(explain):
    error = explain("linear", "Q4_1", "decod").exception
    assert isinstance(error, RequestError)
    assert str(error) == (
        "backend 'talking' has no kernel 'linear Q4_1 decod' among 2; "
        "did you mean: linear Q4_1 decode, linear Q4_1 prefill"
    )
    assert "list them with: realizar explain kernel" in str(explain("xyz").exception)


def test_a_backend_without_explanations_says_so(explain):
    assert str(explain("--backend", "numpy").exception) == "backend 'numpy' cannot explain its kernels"
    with pytest.raises(UnsupportedOp, match="backend 'numpy' cannot explain"):
        NumpyBackend.explain("rope")


def test_a_floor_that_cannot_be_measured(explain, monkeypatch):
    monkeypatch.setattr(TalkingBackend, "floor", lambda self: None)
    assert "cannot measure this machine's floor" in str(explain("linear Q4_1 decode", "--floor").exception)


@pytest.mark.parametrize(("intensity", "position"), [(39, "memory bound"), (41, "compute bound")])
def test_roofline(intensity, position):
    """25 GB/s and 1000 Gop/s meet at 40 operations a byte."""
    facts = roofline(KernelReport("k", "t", "int8", (), intensity), FLOOR).facts
    assert facts == {
        "memory, GB/s": 25.0, "operations that memory can feed, Gop/s": intensity * 25.0, "int8 peak, Gop/s": 1000.0,
        "operations a byte at the ridge": 40.0, "position": position,
    }  # fmt: skip


def test_roofline_of_what_was_not_measured():
    floats = roofline(KernelReport("k", "t", "float32", (), 1.0), FLOOR).facts
    assert floats["position"] == "unknown: the peak of float32 is not measured"
    assert "reads no weights" in str(roofline(KernelReport("k", "t", "float32", ()), FLOOR).facts["position"])
