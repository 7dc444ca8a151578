"""hf:// names through the real huggingface_hub, from a hub on this machine that speaks its protocol."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from realizar.errors import StoreError
from realizar.store import list_models, pull, remove, resolve, show
from realizar.store.cache import model_folder

pytest.importorskip("huggingface_hub", reason="the extra `hub` is not installed")

WEIGHTS = bytes(range(256)) * 12_000
OLD, NEW = "a" * 40, "b" * 40
REPO = {
    "config.json": b'{"model_type": "tiny"}',
    "model.safetensors": WEIGHTS,
    "tokenizer.json": b"{}",
    "pytorch_model.bin": b"never fetched",
    "onnx/model.onnx": b"never fetched",
}
GGUFS = {"README.md": b"two of them", "m-q4_0.gguf": WEIGHTS, "m-q8_0.gguf": WEIGHTS[::-1]}
WANTED = ["config.json", "model.safetensors", "tokenizer.json"]

PULLING = """
import os, signal, sys
from realizar.store import pull
def report(stage, done, total):
    print(stage, done, flush=True)
    if sys.argv[2] == "kill" and done > 1000:
        os.kill(os.getpid(), signal.SIGKILL)
print("pulled", pull(sys.argv[1], report), flush=True)
"""


class Hub(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Repositories by name and commit; `main` is a commit; a token opens the gated ones."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}
        self.reset()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what some tests are about."""

    def reset(self) -> None:
        """As at the start of a test; a repository's first commit has other weights."""
        old = {**REPO, "model.safetensors": WEIGHTS[:1000]}
        self.repos = {
            "org/tiny": {OLD: old, NEW: dict(REPO)},
            "org/ggufs": {NEW: dict(GGUFS)},
            "org/gated": {NEW: dict(REPO)},
        }
        self.main = NEW
        self.downloads: list[str] = []
        self.ranges: list[str] = []
        self.num_requests = 0
        self.cut_at: int | None = None
        self.hold = threading.Event()
        self.lies: dict[str, Any] = {}


class Handler(http.server.BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        self.server.num_requests += 1
        listing = re.fullmatch(r"/api/models/(\w+/\w+)/revision/([^?]+)(\?.*)?", self.path)
        file = re.fullmatch(r"/(\w+/\w+)/resolve/([^/]+)/(.+)", self.path)
        match = listing or file
        if match is None:
            return self._refuse(404, "")
        repo, commit = match[1], {"main": self.server.main}.get(match[2], match[2])
        if repo not in self.server.repos:
            return self._refuse(401, "RepoNotFound")
        if repo == "org/gated" and self.headers.get("Authorization") != "Bearer hf_good":
            return self._refuse(403 if "Authorization" in self.headers else 401, "GatedRepo")
        if commit not in self.server.repos[repo]:
            return self._refuse(404, "RevisionNotFound")
        files = self.server.repos[repo][commit]
        if listing:
            return self._send(json.dumps(self._listing(repo, commit, files)).encode(), commit, body)
        assert file is not None
        if file[3] not in files:
            return self._refuse(404, "EntryNotFound")
        self._send(files[file[3]], commit, body, file[3])

    def _listing(self, repo: str, commit: str, files: dict[str, bytes]) -> dict[str, Any]:
        siblings = [
            {
                "rfilename": name, "size": len(data), "blobId": hashlib.sha1(data).hexdigest(),
                **({"lfs": {"size": len(data), "sha256": sha256(data), "pointerSize": 1}} if len(data) > 999 else {}),
            }
            for name, data in files.items()
        ]  # fmt: skip
        return {"id": repo, "sha": commit, "siblings": siblings} | self.server.lies

    def _send(self, data: bytes, commit: str, body: bool, file: str = "") -> None:
        start = 0
        if body and file:
            self.server.downloads.append(file)
            if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
                self.server.ranges.append(asked[0])
                start = int(asked[1])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("ETag", f'"{sha256(data)}"')
        self.send_header("X-Repo-Commit", commit)
        self.end_headers()
        if body:
            self._write(data, start)

    def _write(self, data: bytes, start: int) -> None:
        cut = self.server.cut_at
        if cut is not None and len(data) > cut:
            self.server.cut_at = None
            self.wfile.write(data[start:cut])
            self.close_connection = True
            return
        middle = max(start, len(data) // 2)
        self.wfile.write(data[start:middle])
        while self.server.hold.is_set() and len(data) > 1000:
            time.sleep(0.02)
        try:
            self.wfile.write(data[middle:])
        except ConnectionError:
            self.close_connection = True

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output quiet."""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def server() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def hub(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub and an empty cache, for this process, whose huggingface_hub has read the variables, and for children."""
    server.reset()
    for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING"))]:
        monkeypatch.delenv(name)
    home = tmp_path / "hf"
    for name, value in {
        "REALIZAR_HOME": tmp_path / "home", "HF_HOME": home, "HF_ENDPOINT": server.url, "NO_PROXY": "127.0.0.1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    for name, value in {
        "ENDPOINT": server.url, "HF_HUB_CACHE": str(home / "hub"), "HF_TOKEN_PATH": str(home / "token"),
        "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_OFFLINE": False, "AGENT_HARNESSES_PATH": str(home / "harnesses.json"),
    }.items():  # fmt: skip
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    yield server
    server.hold.clear()


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def snapshot(tmp_path: Path, repo: str = "tiny", commit: str = NEW) -> Path:
    return tmp_path / "hf" / "hub" / f"models--org--{repo}" / "snapshots" / commit


def test_a_directory_comes_with_the_files_that_it_needs(hub: Hub, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    path = pull("hf://org/tiny", lambda *event: seen.append(event))
    assert path == snapshot(tmp_path)
    assert sorted(entry.name for entry in path.iterdir()) == WANTED
    for name in WANTED:
        assert (path / name).read_bytes() == REPO[name]
    assert sorted(hub.downloads) == WANTED
    total = sum(len(REPO[name]) for name in WANTED)
    counts = [(done, of) for stage, done, of in seen if stage == "downloading"]
    assert counts[-1] == (total, total) and counts == sorted(counts)


def test_the_next_run_asks_nobody(hub: Hub) -> None:
    path = resolve("hf://org/tiny", allow_download=True)
    asked = hub.num_requests
    assert resolve("hf://org/tiny", allow_download=True) == path
    assert resolve("hf://org/tiny", allow_download=False) == path
    assert show("hf://org/tiny", check_sha256=True).status == "ready"
    assert hub.num_requests == asked


def test_pulling_again_follows_the_branch_and_keeps_what_has_not_changed(hub: Hub, tmp_path: Path) -> None:
    hub.main = OLD
    assert pull("hf://org/tiny") == snapshot(tmp_path, commit=OLD)
    hub.main = NEW
    assert resolve("hf://org/tiny", allow_download=True) == snapshot(tmp_path, commit=OLD)
    hub.downloads.clear()
    assert pull("hf://org/tiny") == snapshot(tmp_path)
    assert hub.downloads == ["model.safetensors"]
    assert (snapshot(tmp_path) / "model.safetensors").read_bytes() == WEIGHTS


def test_a_revision_is_pinned(hub: Hub, tmp_path: Path) -> None:
    path = pull(f"hf://org/tiny@{OLD}")
    assert path == snapshot(tmp_path, commit=OLD)
    assert (path / "model.safetensors").read_bytes() == WEIGHTS[:1000]


def test_one_gguf_is_named_and_the_others_stay_away(hub: Hub, tmp_path: Path) -> None:
    path = pull("hf://org/ggufs/m-q8_0.gguf")
    assert path == snapshot(tmp_path, "ggufs") / "m-q8_0.gguf"
    assert path.read_bytes() == WEIGHTS[::-1]
    assert hub.downloads == ["m-q8_0.gguf"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf://org/ggufs", r"has 2 GGUF files; name one, as in hf://org/ggufs/m-q4_0\.gguf"),
        ("hf://org/ggufs/m-q4_1.gguf", r"has no file 'm-q4_1\.gguf'; it has m-q4_0\.gguf"),
        ("hf://org/nothing", "no such repository, or a private one: .*`hf auth login`"),
        ("hf://org/tiny@v9", "has no revision 'v9'; its branches and tags: http"),
        ("hf://org/gated", "is gated: accept its terms at http.*/org/gated, then log in"),
    ],
)
def test_what_cannot_be_had_is_said_with_the_remedy(hub: Hub, name: str, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        pull(name)
    assert hub.downloads == [] and show(name).status == "absent"


def test_a_token_opens_a_gated_repository(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_bad")
    with pytest.raises(StoreError, match="is gated") as caught:
        pull("hf://org/gated")
    assert "hf_bad" not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert pull("hf://org/gated") == snapshot(tmp_path, "gated")


@pytest.mark.parametrize(
    ("lies", "message"),
    [
        ({"sha": "../../x"}, "is commit '../../x'"),
        ({"siblings": [{"rfilename": "../m.gguf", "size": 9}]}, r"hf://org/tiny: lists a file '\.\./m\.gguf'"),
        ({"siblings": [{"rfilename": "m.gguf", "size": 9}]}, "file 'm.gguf' cannot be had"),
        ({"siblings": None}, "neither GGUF files nor config.json"),
        ({"siblings": [{"rfilename": "m.gguf", "size": 1 << 60}]}, r"needs \d+ bytes of disk, .* HF_HOME"),
    ],
)
def test_a_hub_that_lies_is_an_error(hub: Hub, lies: dict[str, Any], message: str) -> None:
    hub.lies = lies
    with pytest.raises(StoreError, match=message):
        pull("hf://org/tiny")
    assert hub.downloads == []


def test_other_bytes_than_the_hub_lists_are_fetched_once_more_then_refused(hub: Hub) -> None:
    right = {"size": len(WEIGHTS), "sha256": "0" * 64, "pointerSize": 1}
    hub.lies = {"siblings": [{"rfilename": "m-q4_0.gguf", "size": len(WEIGHTS), "lfs": right}]}
    with pytest.raises(StoreError, match="SHA-256 is .* expected 0{64}"):
        pull("hf://org/ggufs")
    assert hub.downloads == ["m-q4_0.gguf"] * 2


def test_damage_in_the_cache_is_found_and_repaired(hub: Hub, tmp_path: Path) -> None:
    path = pull("hf://org/tiny") / "model.safetensors"
    path.resolve().write_bytes(WEIGHTS[::-1])
    assert show("hf://org/tiny", check_sha256=True).status == "damaged"
    pull("hf://org/tiny")
    assert path.read_bytes() == WEIGHTS


def test_a_transfer_that_is_cut_goes_on_where_it_was(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 16)
    hub.cut_at = 2_000_000
    seen: list[int] = []
    path = pull("hf://org/ggufs/m-q4_0.gguf", lambda stage, done, total: seen.append(done))
    assert path.read_bytes() == WEIGHTS
    assert hub.ranges == [f"bytes={2_000_000 // (1 << 16) * (1 << 16)}-"]
    assert max(seen) == len(WEIGHTS)


def test_after_an_interrupt_only_the_rest_is_fetched(hub: Hub, tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        if done > 1_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull("hf://org/tiny", interrupt)
    assert show("hf://org/tiny").receipt is None
    assert hub.downloads == ["config.json", "model.safetensors"]
    pull("hf://org/tiny")
    assert hub.downloads == ["config.json", "model.safetensors", "model.safetensors", "tokenizer.json"]
    assert (snapshot(tmp_path) / "model.safetensors").read_bytes() == WEIGHTS


def test_a_transfer_that_stays_short_is_an_error(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    send = Handler._send

    def short(self: Handler, data: bytes, commit: str, body: bool, file: str = "") -> None:
        send(self, data[:-7] if body and file else data, commit, body, file)

    monkeypatch.setattr(Handler, "_send", short)
    with pytest.raises(StoreError, match="file 'm-q4_0.gguf' cannot be had: Consistency check failed"):
        pull("hf://org/ggufs/m-q4_0.gguf")
    assert show("hf://org/ggufs/m-q4_0.gguf").status == "absent"


def test_offline_the_cache_is_read_in_place(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program filled the cache: we have no receipt of it."""
    from huggingface_hub import hf_hub_download

    for file in WANTED:
        hf_hub_download("org/tiny", file)
    asked = hub.num_requests
    assert resolve("hf://org/tiny", allow_download=False) == snapshot(tmp_path)
    assert (show("hf://org/tiny").status, show("hf://org/tiny").receipt) == ("ready", None)
    assert "no hashes are known" in show("hf://org/tiny", check_sha256=True).detail
    go_offline(monkeypatch)
    assert pull("hf://org/tiny") == resolve("hf://org/tiny", allow_download=True) == snapshot(tmp_path)
    assert show("hf://org/tiny", check_sha256=True).size == sum(len(REPO[name]) for name in WANTED)
    assert hub.num_requests == asked


def test_offline_what_is_not_there_is_said(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    go_offline(monkeypatch)
    with pytest.raises(StoreError, match="HF_HUB_OFFLINE is set, and revision 'main' is not in"):
        resolve("hf://org/tiny", allow_download=True)
    assert hub.num_requests == 0


def test_nobody_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="revision 'main' cannot be had: .*[Cc]onnection refused"):
        pull("hf://org/tiny")


def test_it_is_listed_and_removed_from_the_cache(hub: Hub, tmp_path: Path) -> None:
    hub.main = OLD
    pull("hf://org/tiny")
    pull(f"hf://org/tiny@{NEW}")
    assert [stored.name for stored in list_models()[-2:]] == ["hf://org/tiny", f"hf://org/tiny@{NEW}"]
    blobs = tmp_path / "hf" / "hub" / "models--org--tiny" / "blobs"
    assert remove(f"hf://org/tiny@{NEW}") > len(WEIGHTS)
    assert not any(snapshot(tmp_path).iterdir())
    # What the other snapshot has too is still there.
    assert show("hf://org/tiny", check_sha256=True).status == "ready"
    assert len(list(blobs.iterdir())) == len(WANTED)
    with pytest.raises(StoreError, match="is not in the cache"):
        remove(f"hf://org/tiny@{NEW}")


def test_without_the_library_the_command_to_install_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StoreError, match=r"pip install 'realizar\[hub\]'"):
        resolve("hf://org/tiny", allow_download=True)
    with pytest.raises(StoreError, match="has not been pulled yet; get it with `realizar pull hf://org/tiny`"):
        resolve("hf://org/tiny", allow_download=False)


def test_the_library_is_imported_only_when_it_is_used() -> None:
    code = "import sys, realizar.store as s; s.list_models(); print('huggingface_hub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def start(name: str, kill: str = "-") -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PULLING, name, kill], stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_kill_9_then_pull(hub: Hub) -> None:
    name = "hf://org/ggufs/m-q4_0.gguf"
    killed = start(name, "kill")
    killed.communicate(timeout=60)
    assert killed.returncode == -9
    assert show(name).status == "absent"
    assert pull(name).read_bytes() == WEIGHTS
    assert not list(model_folder(".staging").iterdir())


def test_two_processes_at_once_download_once(hub: Hub) -> None:
    hub.hold.set()
    first = start("hf://org/ggufs/m-q4_0.gguf")
    assert first.stdout is not None and first.stdout.readline().startswith("downloading ")
    second = start("hf://org/ggufs/m-q4_0.gguf")
    assert second.stdout is not None and second.stdout.readline() == "waiting 0\n"
    hub.hold.clear()
    for process in (first, second):
        process.communicate(timeout=60)
    assert [process.returncode for process in (first, second)] == [0, 0]
    assert hub.downloads == ["m-q4_0.gguf"]


def test_the_environment_is_heard(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, whose huggingface_hub reads HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE."""
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert start("hf://org/gated").wait(60) == 0
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = hub.num_requests
    assert start("hf://org/gated").wait(60) == 1  # `main` was never asked for by name, so its commit is not known
    assert start(f"hf://org/gated@{NEW}").wait(60) == 0
    assert hub.num_requests == asked
