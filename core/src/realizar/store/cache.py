"""Where models are kept, and the lock that one process at a time holds on one of them.

<models>/<key>/<file>            the model, whole and verified; a model from Hugging Face stays in Hugging Face's cache
<models>/<key>/receipt.json      comes in one rename with the files: its presence says that they are whole
<models>/.staging/<key>/<any>/   a pull under way, or what a killed one left behind
<models>/.locks/<key>.lock       empty; the operating system drops the lock when its holder dies

The key is an alias, `sha256-` and the digest of a file from a URL, or `hf-` and a digest of the name.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from realizar.errors import StoreError
from realizar.progress import Progress
from realizar.store.stages import WAITING

_POLL_S = 0.2


def models_folder() -> Path:
    """The folder of all models: `$REALIZAR_HOME/models`, else the user's cache folder; not created here."""
    home = os.environ.get("REALIZAR_HOME")
    root = Path(home).expanduser().absolute() if home else platformdirs.user_cache_path("realizar", appauthor=False)
    return root / "models"


def model_folder(key: str) -> Path:
    """The folder of one model's files and receipt; not created here."""
    return models_folder() / key


def staging_folder(key: str) -> Path:
    """Where pulls of this model work: in the same file system as its final place, so that a rename is atomic."""
    return models_folder() / ".staging" / key


def check_room(folder: Path, nbytes: int, name: str, remedy: str = "REALIZAR_HOME") -> None:
    """Raise StoreError unless the disk of `folder` has room for what pulling `name` needs.

    remedy: the environment variable that names another disk.
    """
    free = shutil.disk_usage(folder).free
    if free < nbytes:
        raise StoreError(
            f"{folder}: pulling {name} needs {nbytes} bytes of disk, {free} are free; "
            f"make room or set {remedy} to a folder on a larger disk"
        )


@contextmanager
def locked(key: str, progress: Progress) -> Iterator[None]:
    """Hold the model's lock, waiting for another process that has it.

    Works between processes and between threads; dropped by the operating system when the holder is killed.
    The lock file itself stays: unlinking it would let two processes lock two files of one name.
    """
    path = models_folder() / ".locks" / f"{key}.lock"
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
