"""The built wheels: no path of the machine that built them, entry points and licence inside."""

from __future__ import annotations

import email
import os
import re
import zipfile
from pathlib import Path

import pytest

WHEELHOUSE = os.environ.get("REALIZAR_WHEELHOUSE")
WHEELS = sorted(Path(WHEELHOUSE).glob("realizar*.whl")) if WHEELHOUSE else []
PLUGINS = ("gguf", "safetensors", "apr", "bpe", "sentencepiece", "wordpiece", "numba", "cuda", "aiohttp")

pytestmark = pytest.mark.skipif(
    not WHEELHOUSE, reason="REALIZAR_WHEELHOUSE does not name a folder of built wheels; nox -s extras does"
)


def name_of(wheel: Path) -> str:
    return wheel.name.split("-")[0].replace("_", "-")


def read(wheel: Path, ending: str) -> str:
    """The one file of the metadata folder with that ending."""
    with zipfile.ZipFile(wheel) as archive:
        (member,) = [name for name in archive.namelist() if name.endswith(f".dist-info/{ending}")]
        return archive.read(member).decode()


def test_all_are_built():
    assert {name_of(wheel) for wheel in WHEELS} == {
        "realizar", "realizar-core", *(f"realizar-{word}" for word in PLUGINS)
    }  # fmt: skip


@pytest.mark.parametrize("wheel", WHEELS, ids=name_of)
def test_metadata_has_no_path(wheel):
    metadata = read(wheel, "METADATA")
    assert "file:" not in metadata
    fields = email.message_from_string(metadata)
    for requirement in fields.get_all("Requires-Dist", []):
        assert "@" not in requirement and "/" not in requirement, requirement
    for name, value in fields.items():
        assert not re.search(r"(^|\s)(/|[A-Za-z]:\\)", value), f"{name}: {value}"
    assert str(Path.cwd()) not in metadata


@pytest.mark.parametrize("wheel", WHEELS, ids=name_of)
def test_licence(wheel):
    assert email.message_from_string(read(wheel, "METADATA"))["License-Expression"] == "MIT"
    assert "Permission is hereby granted" in read(wheel, "licenses/LICENSE")


@pytest.mark.parametrize("wheel", WHEELS, ids=name_of)
def test_pure_python(wheel):
    assert wheel.name.endswith("-py3-none-any.whl")


def test_versions_agree():
    assert len({wheel.name.split("-")[1] for wheel in WHEELS}) == 1


@pytest.mark.parametrize("word", PLUGINS)
def test_entry_points(word):
    (wheel,) = [wheel for wheel in WHEELS if name_of(wheel) == f"realizar-{word}"]
    assert read(wheel, "entry_points.txt").split() == ["[realizar]", word, "=", f"realizar_{word}.plugin"]


def test_core_has_the_command_and_its_data():
    (wheel,) = [wheel for wheel in WHEELS if name_of(wheel) == "realizar-core"]
    assert "realizar = realizar.cli.main:main" in read(wheel, "entry_points.txt")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {"realizar/py.typed", "realizar/store/aliases.toml"} <= set(names)
    assert not [name for name in names if "tests" in name.split("/")]


@pytest.mark.parametrize(
    ("word", "files"),
    [
        ("aiohttp", ("page/index.html", "page/page.js", "page/style.css")),
        ("cuda", ("kernels/gemv.cu", "kernels/common.cuh")),
    ],
)
def test_data_of_plugins_is_inside(word, files):
    (wheel,) = [wheel for wheel in WHEELS if name_of(wheel) == f"realizar-{word}"]
    with zipfile.ZipFile(wheel) as archive:
        assert {f"realizar_{word}/{file}" for file in files} <= set(archive.namelist())


def test_the_root_is_metadata_only():
    (wheel,) = [wheel for wheel in WHEELS if name_of(wheel) == "realizar"]
    with zipfile.ZipFile(wheel) as archive:
        assert all(".dist-info/" in name for name in archive.namelist())
    extras = email.message_from_string(read(wheel, "METADATA")).get_all("Provides-Extra")
    assert {*PLUGINS, "all"} <= set(extras or ())
