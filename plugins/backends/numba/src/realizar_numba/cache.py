"""Compiled code on disk, keyed by everything it depends on.

Numba's own cache watches one source file per function and cannot key closures, so this is a store of its own: one
file per kernel, named by the SHA-256 of its key. The files are code, so a directory that another user could write is
not used. Files that nobody reads any more, of older sources or versions, are deleted in time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs

from realizar_numba.linker import ObjectCode

DIGEST_NBYTES = 32

KEPT_S = 30 * 86400
"""Seconds since its last use after which a file is deleted."""

KEPT_NBYTES = 512 << 20
"""Size of the directory above which the files that were not used for longest are deleted."""

_TOUCHED_S = 86400
"""A use is noted in the time of a file at most this often."""

_SUFFIX, _TEMPORARY_SUFFIX = ".code", ".code.part"


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
        self._evicted = False
        if reason := refusal(self.directory):
            self._disable(f"compile cache {self.directory} is not used: {reason}")

    def path(self, key: tuple[Any, ...], machine: tuple[Any, ...]) -> Path | None:
        """The file of a key on a machine (triple, CPU name, features), or None when there is no cache."""
        if self.directory is None:
            return None
        import llvmlite
        import numba

        versions = (numba.__version__, llvmlite.__version__, sys.implementation.cache_tag, source_digest())
        whole = repr((versions, machine, key))
        return self.directory / (hashlib.sha256(whole.encode()).hexdigest() + _SUFFIX)

    def read(self, path: Path) -> ObjectCode | None:
        """The code stored at path, or None; a damaged file is reported and counts as absent."""
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
        _note_use(path)
        symbol, _, code = payload.partition(b"\0")
        return ObjectCode(symbol.decode(), code)

    def write(self, path: Path, code: ObjectCode) -> None:
        """Store code at path, at once or not at all; a failure disables the cache and is reported."""
        payload = code.symbol.encode() + b"\0" + code.data
        temporary = None
        try:
            with tempfile.NamedTemporaryFile(dir=path.parent, suffix=_TEMPORARY_SUFFIX, delete=False) as file:
                temporary = Path(file.name)
                file.write(hashlib.sha256(payload).digest() + payload)
            os.replace(temporary, path)
        except OSError as error:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
            self._disable(f"compile cache {path.parent} cannot be written ({error.strerror}); nothing is kept")
            return
        if not self._evicted:
            self._evicted = True
            self.evict(path.parent)

    def evict(self, directory: Path) -> None:
        """Delete files not used for KEPT_S, then the ones used longest ago until KEPT_NBYTES are left.

        Other processes may read, write and evict meanwhile: who misses a file compiles it again.
        """
        now, total = time.time(), 0
        for used, nbytes, path in sorted(_own_files(directory), reverse=True):
            total += nbytes
            if now - used > KEPT_S or total > KEPT_NBYTES:
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    self._report(f"compile cache entry {path} cannot be deleted ({error.strerror})")

    def _report(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def _disable(self, problem: str) -> None:
        self.directory = None
        self._report(problem)


def _note_use(path: Path) -> None:
    """Make the file's time a recent one; a file that another process deletes meanwhile needs no note."""
    with contextlib.suppress(FileNotFoundError):
        if time.time() - path.stat().st_mtime > _TOUCHED_S:
            os.utime(path)


def _own_files(directory: Path) -> Iterator[tuple[float, int, Path]]:
    """Time of last use, size and path of each file that is the cache's own, unfinished ones included."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith((_SUFFIX, _TEMPORARY_SUFFIX)):
                with contextlib.suppress(FileNotFoundError):  # deleted since it was listed
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        yield status.st_mtime, status.st_size, Path(entry.path)
