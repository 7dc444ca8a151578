"""The compile cache: whose directory it may be, and what happens to bad entries."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from realizar_numba import cache as cache_module
from realizar_numba.cache import CodeCache, default_directory, refusal
from realizar_numba.kernels import compiled
from realizar_numba.kernels.compiled import Kernels


def build_plus_one():
    from realizar_numba.simd.memory import load_i32, store_i32

    def plus_one(address):
        store_i32(address, load_i32(address) + np.int32(1))

    return plus_one


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "code"


def _use(cache: CodeCache, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Load a small function as a new process would, run it, and tell what had to be compiled."""
    monkeypatch.setattr(compiled, "_compiled", {})
    said: list[str] = []
    kernels = Kernels("generic", cache, lambda stage, done, total: said.append(stage))
    value = np.array([41], np.int32)
    kernels.function("small function", build_plus_one)(value.ctypes.data)
    assert kernels.address("small kernel", build_plus_one) != 0
    assert value[0] == 42
    return said


def test_second_process_compiles_nothing(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _use(CodeCache(directory), monkeypatch) == ["compiling small function", "compiling small kernel"]
    cache = CodeCache(directory)
    assert _use(cache, monkeypatch) == []
    assert cache.problems == []


def test_new_directory_is_private(directory: Path) -> None:
    CodeCache(directory)
    assert directory.stat().st_mode & 0o777 == 0o700


def test_edited_sources_miss(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(CodeCache(directory), monkeypatch)
    monkeypatch.setattr(cache_module, "source_digest", lambda: "other sources")
    assert len(_use(CodeCache(directory), monkeypatch)) == 2


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[:-7],
    "changed": lambda data: data[:40] + b"x" + data[41:],
    "empty": lambda data: b"",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_entries_are_reported(directory: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    """They are compiled again, and good from then on."""
    _use(CodeCache(directory), monkeypatch)
    for path in directory.iterdir():
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    cache = CodeCache(directory)
    assert len(_use(cache, monkeypatch)) == 2
    assert len(cache.problems) == 2 and all("damaged" in problem for problem in cache.problems)
    assert _use(CodeCache(directory), monkeypatch) == []


def test_a_directory_that_others_may_use_is_not_used(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)
    cache = CodeCache(directory)
    assert len(cache.problems) == 1 and "chmod 700" in cache.problems[0] and str(directory) in cache.problems[0]
    assert len(_use(cache, monkeypatch)) == 2
    assert list(directory.iterdir()) == []


def test_a_symbolic_link_is_not_used(directory: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir(mode=0o700)
    directory.symlink_to(real)
    assert "symbolic link" in str(refusal(directory))


def test_a_foreign_directory_is_not_used(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory.mkdir(mode=0o700)
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    assert f"belongs to user {owner}" in str(refusal(directory))


def test_a_file_in_its_place(directory: Path) -> None:
    directory.write_text("")
    assert CodeCache(directory).directory is None


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert CodeCache(tmp_path / "file" / "code").problems[0].startswith("compile cache")


def test_a_directory_that_cannot_be_written(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory.mkdir(mode=0o700)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert refusal(directory) == "it cannot be written"


def test_a_full_disk_is_survived(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    cache = CodeCache(directory)
    assert len(_use(cache, monkeypatch)) == 2
    assert cache.problems == [f"compile cache {directory} cannot be written (No space left on device); nothing is kept"]
    assert list(directory.iterdir()) == []


def test_an_entry_that_cannot_be_read(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(CodeCache(directory), monkeypatch)
    for path in list(directory.iterdir()):
        path.unlink()
        path.mkdir()
    cache = CodeCache(directory)
    assert len(_use(cache, monkeypatch)) == 2
    assert "cannot be read" in cache.problems[0]


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.delenv("REALIZAR_HOME", raising=False)
    assert default_directory().parts[-2:] == ("realizar", "numba")
    monkeypatch.setenv("REALIZAR_HOME", str(tmp_path))
    assert default_directory() == tmp_path / "numba"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "elsewhere"))
    assert default_directory() == tmp_path / "elsewhere"


def test_keys_tell_machines_apart(directory: Path) -> None:
    cache = CodeCache(directory)
    paths = {cache.path(key, machine) for key in (("a",), ("b",)) for machine in (("x86", "zen4"), ("x86", "zen3"))}
    assert len(paths) == 4
