"""Discovery: whatever a plugin does wrong is a record, and everybody else still works."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import pytest

from realizar.backend import BackendOptions
from realizar.plugins import Host, Record, Source


def only(host: Host, name: str) -> Record:
    """The one record of that name."""
    (record,) = [record for record in host.records if record.name == name]
    return record


def test_core_alone_has_the_reference_and_its_architectures(site: Any) -> None:
    host = site.host()
    assert {(r.kind, r.name, r.status) for r in host.records} >= {
        ("backend", "numpy", "ok"), ("backend", "numpy64", "ok"), ("architecture", "llama", "ok"),
    }  # fmt: skip
    assert {(r.distribution, r.version) for r in host.records} == {
        ("realizar-core", importlib.metadata.version("realizar-core"))
    }


def test_a_good_plugin_is_recorded_with_its_distribution(site: Any) -> None:
    site.add("acme", "format", "backend", "tokenizer", version="2.3")
    records = [record for record in site.host().records if record.name == "acme"]
    assert {(r.kind, r.distribution, r.version, r.status) for r in records} == {
        (kind, "dist-acme", "2.3", "ok") for kind in ("format", "backend", "tokenizer")
    }
    (backend,) = [record for record in records if record.kind == "backend"]
    assert (backend.score, backend.detail) == (7, "seven")
    assert backend.contribution(BackendOptions(threads=2)).options.threads == 2


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ("import no_such_module", "failed", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)", "failed", "SystemExit: 3"),
        ("1 / 0", "failed", "ZeroDivisionError: division by zero"),
        ("del REALIZAR_API", "refused", "REALIZAR_API is missing; expected REALIZAR_API = (1, 1) in plugin_"),
        ("REALIZAR_API = '1.0'", "refused", "REALIZAR_API is '1.0'; expected two integers such as (1, 1)"),
        ("REALIZAR_API = (1, 0, 0)", "refused", "expected two integers"),
        ("REALIZAR_API = (0, 9)", "refused", "written for API 0.9; this host speaks 1.1"),
        ("REALIZAR_API = (2, 0)", "refused", "written for API 2.0; this host speaks 1.1"),
        ("REALIZAR_API = (1, 2)", "refused", "needs API 1.2; this host speaks 1.1: upgrade realizar-core"),
        ("@realizar.hookimpl\ndef realizar_format(): return []", "failed", "unknown hook 'realizar_format'; known: "),
        ("def realizar_formats(): return [F()]", "failed", "realizar_formats is not marked with @realizar.hookimpl"),
        ("@realizar.hookimpl\ndef realizar_formats(): return 5", "failed", "TypeError: 'int' object is not iterable"),
        ("@realizar.hookimpl\ndef realizar_formats(): return [5]", "failed", "gave 5; expected an instance of Format"),
        ("@realizar.hookimpl\ndef realizar_formats(): return [F]", "failed", "expected an instance of Format"),
        ("@realizar.hookimpl\ndef realizar_formats(): raise OSError('disk')", "failed", "OSError: disk"),
        ("@realizar.hookimpl\ndef realizar_formats(): yield F(); raise SystemExit(1)", "failed", "SystemExit: 1"),
        ("@realizar.hookimpl\ndef realizar_backends(): return [B()]", "failed", "expected a subclass of Backend"),
        ("@realizar.hookimpl\ndef realizar_backends(): return [F]", "failed", "expected a subclass of Backend"),
        ("del F.name\n@realizar.hookimpl\ndef realizar_formats(): return [F()]", "failed", "which has no `name`"),
        ("F.priority = 'high'\n@realizar.hookimpl\ndef realizar_formats(): return [F()]", "failed", "priority 'high'"),
    ],
)  # fmt: skip
def test_a_bad_plugin_is_one_line_and_the_rest_works(site: Any, body: str, status: str, detail: str) -> None:
    site.add("aaa", "format")
    site.add("bad", body=body + "\n")
    site.add("zzz", "format")
    host = site.host()
    record = only(host, "bad")
    assert (record.kind, record.status, record.distribution) == ("plugin", status, "dist-bad")
    assert detail in record.detail
    assert bool(record.traceback) == (status == "failed")
    assert only(host, "aaa").status == only(host, "zzz").status == "ok"
    assert only(host, "numpy").status == "ok"


def test_an_entry_point_without_a_module_fails_alone(site: Any) -> None:
    site.add("ghost")
    for module in site.folder.glob("*.py"):
        module.unlink()
    assert only(site.host(), "ghost").detail.startswith("ModuleNotFoundError")


def test_a_plugin_gives_all_or_nothing(site: Any) -> None:
    site.add("half", "format", body="@realizar.hookimpl\ndef realizar_tokenizers(): raise ValueError('late')\n")
    host = site.host()
    assert [(r.kind, r.status) for r in host.records if r.name == "half"] == [("plugin", "failed")]
    assert host.contributions("format") == []


@pytest.mark.parametrize(
    ("probe", "status", "detail"),
    [
        ("return Availability(0, 'no such device')", "unavailable", "no such device"),
        ("raise RuntimeError('driver')", "failed", "probe: RuntimeError: driver"),
        ("raise SystemExit(9)", "failed", "probe: SystemExit: 9"),
        ("return 5", "failed", "probe: AttributeError"),
    ],
)
def test_a_backend_that_cannot_run_says_why(site: Any, probe: str, status: str, detail: str) -> None:
    site.add("gpu", "backend", body=f"class B(B):\n    @classmethod\n    def probe(cls): {probe}\n")
    host = site.host()
    record = only(host, "gpu")
    assert (record.kind, record.status) == ("backend", status)
    assert record.detail.startswith(detail)
    assert "gpu" not in [r.name for r in host.contributions("backend")]


def test_core_keeps_its_names(site: Any) -> None:
    site.add("numpy", "backend", distribution="aaa")
    first, second = [record for record in site.host().records if record.name == "numpy"]
    assert (first.distribution, first.status) == ("realizar-core", "ok")
    assert (second.distribution, second.status) == ("aaa", "refused")
    assert second.detail.startswith("the name is taken by realizar-core ")


def test_first_party_comes_before_strangers_and_strangers_in_order(site: Any) -> None:
    for distribution in ("realizar-zzz", "aaa", "realizar-gguf", "bbb"):
        site.add("gguf", "format", distribution=distribution)
    records = [record for record in site.host().records if record.name == "gguf"]
    assert [r.distribution for r in records] == ["realizar-gguf", "aaa", "bbb", "realizar-zzz"]
    assert [r.status for r in records] == ["ok", "refused", "refused", "refused"]
    assert "realizar-gguf 1.0" in records[1].detail


def test_a_name_counts_within_its_kind(site: Any) -> None:
    site.add("numpy", "format")
    assert [r.status for r in site.host().records if r.name == "numpy"] == ["ok", "ok"]


def test_one_plugin_cannot_give_a_name_twice(site: Any) -> None:
    site.add("twin", body="@realizar.hookimpl\ndef realizar_formats(): return [F(), F()]\n")
    assert [r.status for r in site.host().records if r.name == "twin"] == ["ok", "refused"]


@pytest.mark.parametrize(
    ("environ", "loaded"),
    [
        ({}, {"one", "two"}),
        ({"REALIZAR_PLUGINS": ""}, set()),
        ({"REALIZAR_PLUGINS": "two"}, {"two"}),
        ({"REALIZAR_PLUGINS": " two, one ,"}, {"one", "two"}),
    ],
)
def test_allow_list(site: Any, environ: dict[str, str], loaded: set[str]) -> None:
    site.add("one", "format")
    site.add("two", "format")
    host = site.host(**environ)
    assert {record.name for record in host.contributions("format")} == loaded
    assert "numpy" in [record.name for record in host.contributions("backend")]


def test_allow_list_does_not_import_the_others(site: Any) -> None:
    site.add("one", "format")
    site.add("two", body="raise SystemExit('imported')\n")
    assert all(record.name != "two" for record in site.host(REALIZAR_PLUGINS="one").records)


def test_allow_list_reports_who_is_missing(site: Any) -> None:
    site.add("one", "format")
    record = only(site.host(REALIZAR_PLUGINS="one,none"), "none")
    assert (record.kind, record.status) == ("plugin", "failed")
    assert record.detail == "REALIZAR_PLUGINS names it, but no installed distribution provides it"


def test_an_entry_point_without_distribution_is_a_stranger() -> None:
    source = Source.of(importlib.metadata.EntryPoint("x", "y", "realizar"))
    assert source == Source("x", "unknown", "")
    assert source.rank[0] == 2
