"""Where models are kept, and the lock that one process at a time holds on one of them.

<models>/<alias>/<file>            the model, whole and verified
<models>/<alias>/receipt.json      written last: its presence says that the file is whole
<models>/.staging/<alias>/<any>/   a pull under way, or what a killed one left behind
<models>/.locks/<alias>.lock       empty; the operating system drops the lock when its holder dies
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from realizar.progress import Progress
from realizar.store.catalog import Alias
from realizar.store.stages import WAITING

_POLL_S = 0.2


def models_folder() -> Path:
    """The folder of all models: `$REALIZAR_HOME/models`, else the user's cache folder; not created here."""
    home = os.environ.get("REALIZAR_HOME")
    root = Path(home).expanduser().absolute() if home else platformdirs.user_cache_path("realizar", appauthor=False)
    return root / "models"


def model_folder(alias: Alias) -> Path:
    """The folder of one model's file and receipt; not created here."""
    return models_folder() / alias.name


def model_path(alias: Alias) -> Path:
    """Where the model's file is, or would be."""
    return model_folder(alias) / alias.file


def staging_folder(alias: Alias) -> Path:
    """Where pulls of this model work: in the same file system as its final place, so that a rename is atomic."""
    return models_folder() / ".staging" / alias.name


@contextmanager
def locked(alias: Alias, progress: Progress) -> Iterator[None]:
    """Hold the model's lock, waiting for another process that has it.

    Works between processes and between threads; dropped by the operating system when the holder is killed.
    The lock file itself stays: unlinking it would let two processes lock two files of one name.
    """
    path = models_folder() / ".locks" / f"{alias.name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _try_lock(descriptor):
            progress(WAITING, 0, 0)
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Make a rename in this folder outlast a power cut, where the system lets a folder be synced."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
