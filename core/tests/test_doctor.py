"""Each check, well and ill."""

from __future__ import annotations

import json
from collections import namedtuple

import pytest
from click.testing import CliRunner

from realizar.cli import doctor
from realizar.errors import BackendUnavailable
from realizar.plugins import Record
from realizar.reference import NumpyBackend


class Fast(NumpyBackend):
    name = "fast"


def _record(name: str, kind: str, status: str = "ok", detail: str = "") -> Record:
    return Record(name, kind, f"realizar-{name}", "1.0", status, detail)


WHOLE = [_record("gguf", "format"), _record("bpe", "tokenizer"), _record("aiohttp", "server")]


@pytest.fixture(autouse=True)
def well(monkeypatch, tmp_path):
    """A machine where everything is as it should be."""
    monkeypatch.setenv("REALIZAR_HOME", str(tmp_path))
    monkeypatch.setattr(doctor, "available_memory", lambda: 8 << 30)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(50 << 30))
    monkeypatch.setattr(doctor, "choose_backend", lambda: (Fast, "highest score 50"))
    _install(monkeypatch, WHOLE)


def _install(monkeypatch, records):
    monkeypatch.setattr(doctor, "host", lambda: namedtuple("Host", "records")(records))


def _checks() -> dict[str, doctor.Check]:
    return {check.name: check for look in doctor.CHECKS for check in look()}


def test_all_is_well():
    assert {check.status for check in _checks().values()} == {"ok"}
    result = CliRunner().invoke(doctor.doctor_command, [])
    assert result.exit_code == 0
    assert "realizar pull smollm2" in result.output


@pytest.mark.parametrize(("memory", "status"), [(None, "ok"), (1 << 29, "warning")])
def test_memory(monkeypatch, memory, status):
    monkeypatch.setattr(doctor, "available_memory", lambda: memory)
    assert _checks()["memory"].status == status


def test_little_disk(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(1 << 30))
    assert _checks()["disk"].remedy == "free some, or set REALIZAR_HOME to another disk"


def test_a_folder_that_cannot_be_written(monkeypatch):
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    assert _checks()["disk"].status == "failed"
    assert CliRunner().invoke(doctor.doctor_command, []).exit_code == 1


@pytest.mark.parametrize(("kind", "status"), [("format", "failed"), ("tokenizer", "failed"), ("server", "warning")])
def test_a_kind_that_nobody_brings(monkeypatch, kind, status):
    _install(monkeypatch, [record for record in WHOLE if record.kind != kind])
    check = _checks()[f"{kind}s"]
    assert check.status == status
    assert check.remedy.startswith("pip install 'realizar[")


@pytest.mark.parametrize(("status", "said"), [("failed", "failed"), ("refused", "failed"), ("unavailable", "warning")])
def test_a_plugin_that_does_not_work(monkeypatch, status, said):
    _install(monkeypatch, [*WHOLE, _record("odd", "backend", status, "no such device")])
    check = _checks()["plugin odd"]
    assert check.status == said
    assert "no such device" in check.detail


def test_models_that_are_here(monkeypatch):
    model = namedtuple("Model", "name status detail")
    stored = [model("a", "ready", ""), model("b", "absent", ""), model("c", "damaged", "a byte is missing")]
    monkeypatch.setattr(doctor, "list_models", lambda: stored)
    checks = _checks()
    assert checks["models"].detail == "a"
    assert (checks["model c"].detail, checks["model c"].remedy) == ("a byte is missing", "realizar pull c")


def test_only_the_reference_runs(monkeypatch):
    monkeypatch.setattr(doctor, "choose_backend", lambda: (NumpyBackend, "highest score 1"))
    assert _checks()["backend"].status == "warning"


def test_nothing_runs(monkeypatch):
    def none():
        raise BackendUnavailable("no compute backend can run here")

    monkeypatch.setattr(doctor, "choose_backend", none)
    shown = json.loads(CliRunner().invoke(doctor.doctor_command, ["--json"]).output)
    assert {"name": "backend", "status": "failed"}.items() <= next(c for c in shown if c["name"] == "backend").items()


STATS = {"running": 1, "waiting": 2}


def _state(alive=True, **lane):
    model = {"id": "a", "alive": alive, "stats": STATS}
    lanes = [{"id": "a", "breaker": "closed", "stalled": False, "retry_after_s": 0, **lane}]
    resilience = {"lanes": lanes, "degradation": {"level": 0, "given_up": []}}
    return {"draining": False, "open_requests": 3, "models": [model], "resilience": resilience}


@pytest.mark.parametrize(
    ("state", "status", "words"),
    [
        (_state(), "ok", "1 running, 2 waiting"),
        (_state(alive=False), "failed", "stopped"),
        (_state(stalled=True), "failed", "stalled"),
        (_state(breaker="open", retry_after_s=4.5), "warning", "tried again in 4.5 s"),
        ({**_state(), "models": [{"id": "a", "alive": False, "stats": None}]}, "ok", "not loaded"),
        (
            {"draining": False, "open_requests": 0, "models": [{"id": "a", "alive": True, "stats": STATS}]},
            "ok",
            "1 run",
        ),
    ],
)
def test_a_served_model(state, status, words):
    check = {check.name: check for check in doctor.server(state)}["served a"]
    assert check.status == status
    assert words in check.detail


def test_a_server_that_ends_or_is_short_of_memory():
    state = {**_state(), "draining": True}
    state["resilience"]["degradation"]["given_up"] = ["prefix cache"]
    checks = {check.name: check for check in doctor.server(state)}
    assert checks["server"].status == "warning"
    assert checks["memory of the server"].detail == "given up: prefix cache"


def test_the_command_looks_at_a_server(monkeypatch, tmp_path):
    async def fetch(url, key):
        assert (url, key) == ("http://x", "k")
        return _state(alive=False)

    (tmp_path / "key").write_text("k\n")
    monkeypatch.setattr(doctor, "fetch_state", fetch)
    args = ["--server", "http://x", "--api-key-file", str(tmp_path / "key")]
    result = CliRunner().invoke(doctor.doctor_command, args)
    assert result.exit_code == 1
    assert "its engine has stopped" in result.output
