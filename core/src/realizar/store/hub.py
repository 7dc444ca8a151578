"""A model of the Hugging Face Hub, kept in the cache of huggingface_hub: hf://org/repo[@revision][/file].

huggingface_hub reads the user's token and HF_HUB_OFFLINE, HF_TOKEN, HF_HOME, HF_ENDPOINT by itself.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from urllib.parse import unquote

import attrs

from realizar.errors import StoreError
from realizar.progress import Progress
from realizar.store import hub_client
from realizar.store.cache import check_room
from realizar.store.checksum import digest, verify
from realizar.store.hub_client import HubClient, HubFile
from realizar.store.hub_files import choose
from realizar.store.pins import Pin, is_plain_path
from realizar.store.receipt import Receipt
from realizar.store.stages import DOWNLOADING

_NAME = re.compile(r"hf://(?P<repo>[^/@]+/[^/@]+)(@(?P<revision>[^/@]+))?(/(?P<file>.+))?", re.DOTALL)
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")


@attrs.frozen
class HubSource:
    """A repository at a revision, and the file that was named in it, if any.

    Without a revision it is what `main` was when it was pulled last.
    """

    name: str
    repo: str
    revision: str
    wanted: str

    @classmethod
    def parse(cls, text: str) -> HubSource:
        """The source that a name means; a slash in the revision is written %2F. Raises StoreError."""
        match = _NAME.fullmatch(text)
        repo, revision = (match["repo"], unquote(match["revision"] or "main")) if match else ("", "")
        if match is None or not _REPO.fullmatch(repo) or not _REVISION.fullmatch(revision) or ".." in repo + revision:
            raise StoreError(f"{text!r}: expected hf://ORG/REPO, hf://ORG/REPO@REVISION or either with /FILE behind it")
        file = match["file"] or ""
        if file and not is_plain_path(file):
            raise StoreError(f"{text!r}: {file!r} is no path of a file in a repository")
        return cls(text, repo, revision, file)

    @property
    def key(self) -> str:
        """Its folder, which holds only the receipt."""
        return f"hf-{hashlib.sha256(self.name.encode()).hexdigest()}"

    @property
    def origin(self) -> str:
        """The repository at the revision as typed."""
        return f"{self.repo}@{self.revision}"

    @property
    def file(self) -> str:
        """Empty: where the model is, only the receipt says."""
        return ""

    def pins(self, receipt: Receipt | None) -> None:
        """None: what a branch means now, only the hub knows; huggingface_hub keeps what has not changed."""
        return None

    def means(self, receipt: Receipt) -> bool:
        """Whether the receipt is of this name."""
        return receipt.name == self.name

    def cached(self) -> Path | None:
        """The model as another program left it in huggingface_hub's cache; StoreError if that leaves a choice."""
        if not hub_client.is_installed():
            return None
        snapshot = HubClient(self.repo).snapshot(self.revision)
        return None if snapshot is None else snapshot / self._choose(_names(snapshot))[1]

    def fetch(self, staging: Path, folder: Path, progress: Progress) -> Receipt:
        """Bring the files that are not there into huggingface_hub's cache, and verify every byte.

        With HF_HUB_OFFLINE, the files that are there are hashed and taken. Raises StoreError.
        """
        client = HubClient(self.repo)
        snapshot = client.snapshot(self.revision) if client.offline else None
        if snapshot is not None:
            names, file = self._choose(_names(snapshot))
            pins = {name: _pin(snapshot / name, progress) for name in names}
            return Receipt(self.name, f"{self.repo}@{snapshot.name}", pins, file, str(snapshot))
        commit, listed = client.listing(self.revision)
        names, file = self._choose(listed.keys())
        present = client.snapshot(commit)
        missing = sum(listed[name].size for name in names if present is None or not (present / name).is_file())
        client.cache.mkdir(parents=True, exist_ok=True)
        check_room(client.cache, missing, self.name, "HF_HOME")
        pins, home = _download(client, commit, {name: listed[name] for name in names}, progress)
        return Receipt(self.name, f"{self.repo}@{commit}", pins, file, str(home))

    def _choose(self, listed: Collection[str]) -> tuple[list[str], str]:
        """The files to take of those listed, and the one to open; their names are proven to stay in a folder."""
        names, file = choose(listed, self.wanted, self.name)
        for name in names:
            if not is_plain_path(name):
                raise StoreError(f"{self.name}: lists a file {name!r}, whose name cannot be kept")
        return names, file


def _download(
    client: HubClient, commit: str, files: Mapping[str, HubFile], progress: Progress
) -> tuple[dict[str, Pin], Path]:
    """The pins of the files, and the folder of the snapshot that they are in."""
    total, done = sum(file.size for file in files.values()), 0

    def arrived(nbytes: int) -> None:
        nonlocal done
        done += nbytes
        progress(DOWNLOADING, min(done, total), total)

    pins, before, home = {}, 0, Path()
    for name, file in files.items():
        path = client.download(name, commit, arrived)
        try:
            pins[name] = _pin(path, progress, file)
        except StoreError:
            # Damaged in the cache, which huggingface_hub trusts; this time it shall not.
            path = client.download(name, commit, arrived, again=True)
            pins[name] = _pin(path, progress, file)
        before += file.size
        done = before
        progress(DOWNLOADING, done, total)
        home = path.parents[name.count("/")]
    return pins, home


def _pin(path: Path, progress: Progress, file: HubFile | None = None) -> Pin:
    """What the file is, hashed, and checked against what the hub says of it."""
    if file is not None and file.sha256:
        verify(path, size=file.size, sha256=file.sha256, progress=progress)
        return Pin(file.size, file.sha256)
    size = path.stat().st_size
    if file is not None and size != file.size:
        raise StoreError(f"{path}: has {size} bytes, expected {file.size}")
    return Pin(size, digest(path, progress))


def _names(snapshot: Path) -> list[str]:
    files = (path for path in snapshot.rglob("*") if path.is_file())
    return [path.relative_to(snapshot).as_posix() for path in files if path.stat().st_size]


def forget_files(receipt: Receipt) -> int:
    """Delete the files of a receipt from huggingface_hub's cache, except where another snapshot has them; bytes freed.

    There `snapshots/COMMIT/FILE` is a link into `blobs`, or, where links cannot be made, the file itself.
    """
    snapshot, nbytes = Path(receipt.folder), 0
    for name in receipt.files:
        link = snapshot / name
        if not link.is_file():
            continue
        blob, size = link.resolve(), link.stat().st_size
        link.unlink()
        if not any(path.is_symlink() and path.resolve() == blob for path in snapshot.parent.rglob("*")):
            blob.unlink(missing_ok=True)
            nbytes += size
    return nbytes
