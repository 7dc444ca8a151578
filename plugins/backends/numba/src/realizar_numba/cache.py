"""Compiled code on disk, keyed by everything it depends on.

Numba's own cache watches one source file per function and cannot key closures, so this is a store of its
own behind the interface that Numba's compilers ask (`load_overload`, `save_overload`): one file per kernel,
named by the SHA-256 of its key. The files are pickles, so a directory that another user could write is not used.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import stat
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs

DIGEST_NBYTES = 32


def default_directory() -> Path:
    """`NUMBA_CACHE_DIR`, else `REALIZAR_HOME`/numba, else the user's cache directory for realizar."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen)
    if home := os.environ.get("REALIZAR_HOME"):
        return Path(home) / "numba"
    return platformdirs.user_cache_path("realizar") / "numba"


@cache
def source_digest() -> str:
    """SHA-256 over all sources of this package: an edited kernel never meets old code."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def refusal(directory: Path) -> str | None:
    """Why the directory must not be used, or None; makes it (mode 0700) if it does not exist."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
        status = directory.lstat()
    except OSError as error:
        return f"{error.strerror or error}"
    if not stat.S_ISDIR(status.st_mode):
        return "it is a symbolic link or not a directory"
    if hasattr(os, "getuid"):
        if status.st_uid != os.getuid():
            return f"it belongs to user {status.st_uid}, not to {os.getuid()}"
        if mode := stat.S_IMODE(status.st_mode) & 0o077:
            return f"others may use it (mode has {mode:03o}); run: chmod 700 '{directory}'"
    if not os.access(directory, os.W_OK | os.X_OK):
        return "it cannot be written"
    return None


class CodeCache:
    """A directory of compiled functions; `problems` says what went wrong, in words for a user."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory: Path | None = directory or default_directory()
        self.problems: list[str] = []
        if reason := refusal(self.directory):
            self._disable(f"compile cache {self.directory} is not used: {reason}")

    def entry(self, key: tuple[Any, ...], on_miss: Callable[[], None]) -> CacheEntry:
        """The place of the function with that key, in the form that Numba's compilers take as `_cache`."""
        return CacheEntry(self, key, on_miss)

    def path(self, key: tuple[Any, ...], machine: tuple[Any, ...]) -> Path | None:
        """The file of a key on a machine (triple, CPU name, features), or None when there is no cache."""
        if self.directory is None:
            return None
        import numba

        whole = repr((numba.__version__, source_digest(), machine, key))
        return self.directory / (hashlib.sha256(whole.encode()).hexdigest() + ".code")

    def read(self, path: Path) -> Any:
        """The object stored at path, or None; a damaged file is reported and counts as absent."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._report(f"compile cache entry {path} cannot be read ({error.strerror}); compiled again")
            return None
        payload = data[DIGEST_NBYTES:]
        if hashlib.sha256(payload).digest() != data[:DIGEST_NBYTES]:
            self._report(f"compile cache entry {path} is damaged; compiled again")
            return None
        return pickle.loads(payload)  # the directory is the user's own: `refusal`

    def write(self, path: Path, value: Any) -> None:
        """Store an object at path, at once or not at all; a failure disables the cache and is reported."""
        payload = pickle.dumps(value)
        temporary = None
        try:
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                temporary = Path(file.name)
                file.write(hashlib.sha256(payload).digest() + payload)
            os.replace(temporary, path)
        except OSError as error:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
            self._disable(f"compile cache {path.parent} cannot be written ({error.strerror}); nothing is kept")

    def _report(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def _disable(self, problem: str) -> None:
        self.directory = None
        self._report(problem)


class CacheEntry:
    """One function's place in a CodeCache; `on_miss` is called before it must be compiled."""

    def __init__(self, owner: CodeCache, key: tuple[Any, ...], on_miss: Callable[[], None]) -> None:
        self.owner, self.key, self.on_miss = owner, key, on_miss

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """The compiled function, or None (asked by Numba before it compiles)."""
        from numba.core.compiler import CompileResult

        target_context.refresh()
        path = self._path(target_context.codegen())
        payload = self.owner.read(path) if path is not None else None
        if payload is None:
            self.on_miss()
            return None
        return CompileResult._rebuild(target_context, *payload)

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep a freshly compiled function (called by Numba)."""
        path = self._path(result.library.codegen)
        if path is not None:
            self.owner.write(path, result._reduce())

    def _path(self, codegen: Any) -> Path | None:
        return self.owner.path(self.key, codegen.magic_tuple())
