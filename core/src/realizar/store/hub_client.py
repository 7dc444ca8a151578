"""What is used of huggingface_hub, its errors in our words. Importing this does not import it; making a client does."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from realizar.errors import StoreError

_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_installed() -> bool:
    """Whether huggingface_hub can be imported."""
    return importlib.util.find_spec("huggingface_hub") is not None


@attrs.frozen
class HubFile:
    """A file as the hub lists it: size in bytes, and its SHA-256 if the hub knows it (of large files)."""

    size: int
    sha256: str


class HubClient:
    """One repository of the hub, seen through huggingface_hub."""

    def __init__(self, repo: str) -> None:
        if not is_installed():
            raise StoreError(f"hf://{repo}: needs huggingface_hub; install it with: pip install 'realizar[hub]'")
        self._hub: Any = importlib.import_module("huggingface_hub")
        self._errors: Any = importlib.import_module("huggingface_hub.errors")
        self._constants: Any = importlib.import_module("huggingface_hub.constants")
        self.repo = repo

    @property
    def offline(self) -> bool:
        """Whether the user keeps huggingface_hub off the network (HF_HUB_OFFLINE)."""
        return bool(self._constants.is_offline_mode())

    @property
    def cache(self) -> Path:
        """huggingface_hub's cache folder, which need not exist yet."""
        return Path(self._constants.HF_HUB_CACHE)

    def snapshot(self, revision: str) -> Path | None:
        """The folder of a revision in huggingface_hub's cache, whole or not; None if there is none. No network."""
        try:
            # Wanting no file at all leaves out the check that all of the repository is there.
            folder = self._hub.snapshot_download(self.repo, revision=revision, local_files_only=True, allow_patterns=[])
        except self._errors.LocalEntryNotFoundError:
            return None
        return Path(folder)

    def listing(self, revision: str) -> tuple[str, dict[str, HubFile]]:
        """The commit that a revision means now, and every file with a size in it."""
        with self._explained(f"revision {revision!r}"):
            info = self._hub.HfApi(library_name="realizar").model_info(
                self.repo, revision=revision, files_metadata=True
            )
        if not _COMMIT.fullmatch(info.sha or ""):
            raise StoreError(f"hf://{self.repo}: the hub says that {revision!r} is commit {info.sha!r:.80}")
        return info.sha, {
            file.rfilename: HubFile(file.size, file.lfs.sha256 if file.lfs else "")
            for file in info.siblings or ()
            if file.size
        }

    def download(self, file: str, commit: str, arrived: Callable[[int], None], *, again: bool = False) -> Path:
        """The file in huggingface_hub's cache, downloaded if it is not there; a transfer that is cut is resumed.

        arrived: told of more bytes. again: even if it is there.
        """
        with self._explained(f"file {file!r}"):
            path = self._hub.hf_hub_download(
                self.repo, file, revision=commit, library_name="realizar", force_download=again,
                tqdm_class=self._bar(arrived),
            )  # fmt: skip
        return Path(path)

    def _bar(self, arrived: Callable[[int], None]) -> type[Any]:
        """A progress bar of the kind that huggingface_hub takes, which draws nothing."""

        class Bar(self._hub.utils.tqdm):  # type: ignore[misc, name-defined]
            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **{**options, "disable": True})
                arrived(int(options.get("initial") or 0))

            def update(self, n: float | None = 1) -> bool | None:
                arrived(int(n or 0))
                return None

        return Bar

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turn whatever huggingface_hub and the layers below it raise into a StoreError with the remedy."""
        errors, where = self._errors, f"hf://{self.repo}"
        page = f"{self._constants.ENDPOINT}/{self.repo}"
        try:
            yield
        except errors.GatedRepoError as error:
            raise StoreError(
                f"{where}: is gated: accept its terms at {page}, then log in (`hf auth login`) or set HF_TOKEN"
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise StoreError(
                f"{where}: no such repository, or a private one: check the spelling; for a private one log in "
                f"(`hf auth login`) or set HF_TOKEN"
            ) from error
        except errors.RevisionNotFoundError as error:
            raise StoreError(f"{where}: has no {what}; its branches and tags: {page}") from error
        except errors.OfflineModeIsEnabled as error:
            raise StoreError(f"{where}: HF_HUB_OFFLINE is set, and {what} is not in {self.cache}") from error
        except errors.HfHubHTTPError as error:
            status = error.response.status_code
            hint = "; is the token right (`hf auth whoami`, HF_TOKEN)?" if status in (401, 403) else "; try again later"
            raise StoreError(f"{where}: {what} cannot be had: the hub answers {status}{hint}") from error
        except Exception as error:
            # Its HTTP client, its storage and the system below raise classes that have no common base.
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise StoreError(f"{where}: {what} cannot be had: {lines[0]}") from error
