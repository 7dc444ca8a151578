"""The compile cache: whose directory it may be, and what happens to bad entries."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numba.core.bytecode import FunctionIdentity

from realizar.progress import silent
from realizar_numba import cache as cache_module
from realizar_numba.cache import CodeCache, default_directory, refusal
from realizar_numba.kernels import compiled
from realizar_numba.kernels.compiled import Kernels


def build_plus_one():
    from realizar_numba.simd.memory import load_i32, store_i32

    def plus_one(thread, num_threads, address):
        store_i32(address, load_i32(address) + np.int32(1))

    return plus_one


def build_plus(addend):
    from realizar_numba.simd.memory import load_i32, store_i32

    def plus(thread, num_threads, address):
        store_i32(address, load_i32(address) + np.int32(addend))

    return plus


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "code"


def _use(cache: CodeCache, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Load a small function as a new process would, run it, and tell what had to be compiled."""
    monkeypatch.setattr(compiled, "_addresses", {})
    said: list[str] = []
    kernels = Kernels("generic", cache, lambda stage, done, total: said.append(stage))
    value = np.array([41], np.int32)
    kernels.function("one", build_plus_one)(0, 1, value.ctypes.data)
    kernels.function("seven", build_plus, 7)(0, 1, value.ctypes.data)
    assert value[0] == 49
    return said


def test_second_process_compiles_nothing(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _use(CodeCache(directory), monkeypatch) == ["compiling one", "compiling seven"]
    cache = CodeCache(directory)
    assert _use(cache, monkeypatch) == []
    assert cache.problems == []


def test_functions_of_two_processes_may_have_the_same_name(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba numbers functions from 1 in each process: here two with the same number, loaded side by side."""
    symbols = set()
    for addend in (2, 30):
        monkeypatch.setattr(compiled, "_addresses", {})
        monkeypatch.setattr(FunctionIdentity, "_unique_ids", itertools.count(1_000_000))
        cache = CodeCache(directory)
        Kernels("generic", cache, silent).address("plus", build_plus, addend)
    monkeypatch.setattr(compiled, "_addresses", {})
    kernels, value = Kernels("generic", CodeCache(directory), silent), np.zeros(1, np.int32)
    for addend in (2, 30):
        kernels.function("plus", build_plus, addend)(0, 1, value.ctypes.data)
    assert value[0] == 32
    for path in directory.glob("*.code"):
        code = CodeCache(directory).read(path)
        assert code is not None
        symbols.add(code.symbol)
    assert len(symbols) == 1


def test_what_the_cache_holds_is_found_without_building(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(CodeCache(directory), monkeypatch)
    monkeypatch.setattr(compiled, "_addresses", {})
    monkeypatch.setattr(compiled, "compile_function", None)
    Kernels("generic", CodeCache(directory), silent).address("seven", build_plus, 7)


def _aged(directory: Path, name: str, days: float, nbytes: int = 10) -> Path:
    """A file last used so many days ago."""
    path = directory / name
    path.write_bytes(bytes(nbytes))
    then = time.time() - days * 86400
    os.utime(path, (then, then))
    return path


def test_files_not_used_for_long_are_deleted(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the first write of a process; files of others are not touched."""
    cache = CodeCache(directory)
    old, unfinished, foreign = (_aged(directory, name, 31) for name in ("a.code", "b.code.part", "c.nbi"))
    recent, folder = _aged(directory, "d.code", 29), directory / "e.code"
    folder.mkdir()
    os.utime(folder, (0, 0))
    _use(cache, monkeypatch)
    assert [path.exists() for path in (old, unfinished, foreign, recent, folder)] == [False, False, True, True, True]
    assert cache.problems == []


def test_a_large_directory_loses_what_was_used_longest_ago(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "KEPT_NBYTES", 250)
    cache = CodeCache(directory)
    files = [_aged(directory, f"{days}.code", days, 100) for days in (3, 1, 2, 4)]
    cache.evict(directory)
    assert [path.exists() for path in files] == [False, True, True, False]


def test_a_use_makes_a_file_recent(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(CodeCache(directory), monkeypatch)
    first, second = directory.glob("*.code")
    for path, days in ((first, 20), (second, 0.1)):
        os.utime(path, (time.time() - days * 86400,) * 2)
    before = second.stat().st_mtime
    assert _use(CodeCache(directory), monkeypatch) == []
    assert time.time() - first.stat().st_mtime < 86400
    assert second.stat().st_mtime == before


def test_a_file_that_cannot_be_deleted(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = CodeCache(directory)
    path = _aged(directory, "a.code", 31)

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    cache.evict(directory)
    assert cache.problems == [f"compile cache entry {path} cannot be deleted (Permission denied)"]


def test_a_file_that_another_process_deletes_first(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = CodeCache(directory)
    path = _aged(directory, "a.code", 31)
    listed = list(cache_module._own_files(directory))
    path.unlink()
    monkeypatch.setattr(cache_module, "_own_files", lambda directory: listed)
    cache.evict(directory)
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
