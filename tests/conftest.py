"""What tests across distributions share: the repository, the real model, tiny models as files."""

from __future__ import annotations

import contextlib
import os
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from realizar.errors import StoreError
from realizar.store import resolve
from realizar.testing.models import tiny_model

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The real model, pulled if it is not here; what needs it is skipped where it cannot be had."""
    try:
        return resolve("smollm2", allow_download=True)
    except StoreError as error:
        pytest.skip(f"SmolLM2 cannot be had here: {error}")


@pytest.fixture(scope="session")
def gemma3() -> Path:
    """The real model, pulled if it is not here; what needs it is skipped where it cannot be had."""
    try:
        return resolve("gemma3", allow_download=True)
    except StoreError as error:
        pytest.skip(f"Gemma 3 cannot be had here: {error}")


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The real model, a directory, pulled if it is not here; what needs it is skipped where it cannot be had."""
    try:
        return resolve("minilm", allow_download=True)
    except StoreError as error:
        pytest.skip(f"MiniLM cannot be had here: {error}")


@pytest.fixture(scope="session")
def write_gguf(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a tiny model as a GGUF file: `write_gguf("Q4_1", seed=3)`; options are `tiny_model`'s."""
    write = runpy.run_path(str(ROOT / "plugins/formats/gguf/tests/tiny_gguf.py"))["write_tiny_gguf"]
    folder = tmp_path_factory.mktemp("gguf")

    def make(weight_type: str = "F32", **options: Any) -> Path:
        path = folder / f"{len(list(folder.iterdir()))}-{weight_type}.gguf"
        write(path, tiny_model(weight_type, **options))
        return path

    return make


@pytest.fixture(scope="session")
def write_directory(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a tiny model as a Hugging Face directory, options as of `write_gguf`."""
    write = runpy.run_path(str(ROOT / "plugins/formats/safetensors/tests/tiny_directory.py"))["write_tiny_directory"]

    def make(weight_type: str = "F32", **options: Any) -> Path:
        folder = tmp_path_factory.mktemp("directory")
        write(folder / "model.safetensors", tiny_model(weight_type, **options))
        return folder

    return make


@pytest.fixture
def environ() -> dict[str, str]:
    """The environment for a child process, without settings that choose plugins or backends."""
    return {k: v for k, v in os.environ.items() if not k.startswith("REALIZAR_") or k == "REALIZAR_HOME"}


@pytest.fixture(scope="session")
def serve_process() -> Callable[..., AbstractContextManager[str]]:
    """`realizar serve` in a process of its own, as a context manager that gives its URL; it must end cleanly."""

    @contextlib.contextmanager
    def serve(*args: object) -> Iterator[str]:
        line = [sys.executable, "-m", "realizar", "serve", "--port", "0", *map(str, args)]
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                ready = process.stdout.readline()  # empty if the process has ended
                found = re.search(r"ready at (\S+)", ready)
                assert found is not None, (ready, process.poll())
                yield found[1]
            finally:
                process.send_signal(signal.SIGTERM)
                code = process.wait(60)
            assert code == 0

    return serve


@pytest.fixture(scope="session")
def tiny_server(
    serve_process: Callable[..., AbstractContextManager[str]], write_gguf: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:  # fmt: skip
    """The URL of a server of our own that has a tiny model, "tiny", and asks for the key "secret"."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text("# a comment\nanother\nsecret\n")
    model = write_gguf("F32", seed=0)
    options = ("--served-model-name", "tiny", "--api-key-file", keys, "--backend", "numpy", "--server", "aiohttp")
    with serve_process(model, *options) as url:
        yield url
