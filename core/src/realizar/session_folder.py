"""Where a server keeps saved caches, under names of its own making."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from realizar.errors import RequestError
from realizar.store.cache import models_folder

MAX_SESSIONS = 256
"""Files that a folder takes: requests must not fill a disk."""

_NAME = re.compile(r"[0-9a-f]{32}\.session", re.ASCII)


class SessionFolder:
    """Files that only this user may read, for they hold what prompts said; names cannot be guessed.

    path: created when something is saved; by default beside the folder of models.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path if path is not None else models_folder().parent / "sessions"

    def new(self) -> Path:
        """A path for a new file; raises RequestError if there are MAX_SESSIONS."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        count = sum(1 for file in self.path.iterdir() if _NAME.fullmatch(file.name))
        if count >= MAX_SESSIONS:
            raise RequestError(f"there are {count} saved sessions, as many as are kept; remove some on the server")
        return self.path / f"{secrets.token_hex(16)}.session"

    def find(self, name: str) -> Path:
        """The file of that name; raises RequestError unless a server made it and it is there."""
        if not _NAME.fullmatch(name) or not (self.path / name).is_file():
            raise RequestError(f"filename: found {name[:80]!r}, expected a name that saving returned")
        return self.path / name
