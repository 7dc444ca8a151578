"""Compiled kernels on disk, one file each, named by the SHA-256 of all that they depend on.

The files are machine code, so a directory that another user could write is not used.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import time
from pathlib import Path

import platformdirs

DIGEST_NBYTES = 32
KEPT_S = 30 * 86400
"""Seconds since its last use after which a file is deleted."""

_SUFFIX = ".cubin"


def default_directory() -> Path:
    """`REALIZAR_HOME`/cuda, else the user's cache directory for realizar."""
    if home := os.environ.get("REALIZAR_HOME"):
        return Path(home) / "cuda"
    return platformdirs.user_cache_path("realizar") / "cuda"


class CubinCache:
    """Code by key. problem: why nothing is kept, in words for a user, or None."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or default_directory()
        self.problem: str | None = None
        if reason := _refusal(self.directory):
            self.problem = f"kernel cache {self.directory} is not used: {reason}"
        else:
            self._evict()

    def read(self, key: str) -> bytes | None:
        """The code of a key, or None; a damaged file counts as absent."""
        if self.problem:
            return None
        path = self._path(key)
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None  # absent, or deleted by another process meanwhile: it is compiled again
        code = data[DIGEST_NBYTES:]
        return code if hashlib.sha256(code).digest() == data[:DIGEST_NBYTES] else None

    def write(self, key: str, code: bytes) -> None:
        """Keep code, at once or not at all; a failure is remembered as the `problem`."""
        if self.problem:
            return
        try:
            with tempfile.NamedTemporaryFile(dir=self.directory, suffix=".part", delete=False) as file:
                file.write(hashlib.sha256(code).digest() + code)
            os.replace(file.name, self._path(key))
        except OSError as error:
            self.problem = f"kernel cache {self.directory} cannot be written ({error.strerror}); nothing is kept"

    def _path(self, key: str) -> Path:
        return self.directory / (hashlib.sha256(key.encode()).hexdigest() + _SUFFIX)

    def _evict(self) -> None:
        """Delete what was not used for KEPT_S; other processes may do the same meanwhile."""
        for path in self.directory.iterdir():
            with contextlib.suppress(OSError):
                if path.suffix in (_SUFFIX, ".part") and time.time() - path.stat().st_mtime > KEPT_S:
                    path.unlink()


def _refusal(directory: Path) -> str | None:
    """Why the directory must not be used, or None; makes it (mode 0700) if it does not exist."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
        status = directory.lstat()
    except OSError as error:
        return str(error.strerror or error)
    if not stat.S_ISDIR(status.st_mode):
        return "it is a symbolic link or not a directory"
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        return f"it belongs to user {status.st_uid}, not to {os.getuid()}"
    if hasattr(os, "getuid") and stat.S_IMODE(status.st_mode) & 0o022:
        return f"others may write it; run: chmod 700 '{directory}'"
    return None
