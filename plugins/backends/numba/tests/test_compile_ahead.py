"""Compiling ahead: everything is there afterwards, and a process that fails leaves its work to who needs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from realizar_numba import compile_ahead as module
from realizar_numba.cache import CodeCache
from realizar_numba.compile_ahead import Wanted, compile_ahead
from realizar_numba.kernels import compiled
from realizar_numba.kernels.compiled import Kernels
from realizar_numba.kernels.interleave import build_interleave
from realizar_numba.kernels.rows import build_embedding, build_gather
from realizar_numba.linker import machine

KERNELS = [
    Wanted("gather", build_gather, ()),
    Wanted("embedding F32", build_embedding, ("F32",)),
    Wanted("interleave", build_interleave, ()),
]


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CodeCache:
    """An empty cache, and a process that has loaded nothing."""
    monkeypatch.setattr(compiled, "_addresses", {})
    return CodeCache(tmp_path / "code")


def test_what_was_compiled_ahead_is_not_compiled_again(fresh: CodeCache) -> None:
    said: list[tuple[str, int, int]] = []
    kernels = Kernels("generic", fresh, lambda *what: said.append(what))
    with kernels.gathering(2):
        assert [kernels.address(wanted.label, wanted.build, *wanted.config) for wanted in KERNELS] == [0, 0, 0]
    assert said == [(f"compiling {wanted.label}", i + 1, 3) for i, wanted in enumerate(KERNELS)]
    assert len(list(fresh.directory.iterdir())) == 3
    assert all(kernels.address(wanted.label, wanted.build, *wanted.config) for wanted in KERNELS)
    assert len(said) == 3


@pytest.mark.parametrize("processes", [1, 2])
def test_one_kernel_or_one_process_is_no_reason_to_start_others(
    fresh: CodeCache, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setattr(compiled, "compile_ahead", lambda *_: pytest.fail("started processes"))
    kernels = Kernels("generic", fresh, lambda *_: None)
    with kernels.gathering(processes):
        for wanted in KERNELS[: 1 if processes > 1 else 3]:
            kernels.address(wanted.label, wanted.build, *wanted.config)


def test_without_a_cache_nothing_is_compiled_ahead(fresh: CodeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "compile_ahead", lambda *_: pytest.fail("started processes"))
    fresh.directory = None
    kernels = Kernels("generic", fresh, lambda *_: None)
    with kernels.gathering(2):
        for wanted in KERNELS:
            assert kernels.address(wanted.label, wanted.build, *wanted.config) == 0


def test_a_process_that_cannot_start_working_is_survived(
    fresh: CodeCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module.sys, "executable", "/bin/false" if Path("/bin/false").exists() else "/usr/bin/false")
    with caplog.at_level("INFO"):
        compile_ahead(KERNELS, fresh.directory, 2, lambda *_: None)
    assert "compiled where it is used" in caplog.text
    assert not list(fresh.directory.iterdir())


def test_lines_name_kernels_and_are_answered(
    fresh: CodeCache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other process's part, in this one."""
    monkeypatch.setattr(module.sys, "stdin", [wanted.line for wanted in KERNELS[:1]])
    module.main(str(fresh.directory))
    assert capsys.readouterr().out == "done\n"
    path = fresh.path(("realizar_numba.kernels.rows", "build_gather"), machine())
    assert fresh.read(path) is not None


def test_drafts_leave_the_plan_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A model whose kernels were all compiled ahead computes the same."""
    from realizar.reference import NumpyBackend
    from realizar.selection import build_graph
    from realizar.testing.driver import Driver, Program, whole
    from realizar.testing.models import tiny_model
    from realizar_numba.backend import NumbaBackend

    monkeypatch.setattr(compiled, "_addresses", {})
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "code"))
    model = tiny_model()
    prompts = ((3, 1, 4), (1, 5))
    program = Program(build_graph(model.config, model.tensors), model.tensors, prompts, (True, True))
    said: list[str] = []
    backend = NumbaBackend(progress=lambda stage, *_: said.append(stage))
    found = Driver(backend, program, kv_type="F32").run(whole(prompts))
    expected = Driver(NumpyBackend(), program, kv_type="F32").run(whole(prompts))
    backend.close()
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert len(said) == len(set(said)), "compiled ahead, and again where it is used"
