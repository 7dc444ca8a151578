"""Files by https address and hash, from a TLS server on this machine whose certificate the process trusts."""

from __future__ import annotations

import hashlib
import http.server
import os
import re
import signal
import socketserver
import ssl
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
from realizar.store.url import UrlSource

MODEL = bytes(range(256)) * 12_000
SHA256 = hashlib.sha256(MODEL).hexdigest()
CERTIFICATE = Path(__file__).parent / "data" / "loopback.pem"

PULLING = """
import os, signal, sys
from realizar.store import pull
def report(stage, done, total):
    print(stage, done, flush=True)
    if sys.argv[2] == "kill" and done:
        os.kill(os.getpid(), signal.SIGKILL)
print("pulled", pull(sys.argv[1], report), flush=True)
"""


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Serves one model under some paths, each with a flaw of its own; counts whole downloads."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.num_downloads = 0
        self.hold = threading.Event()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not trust us, or hangs up, is what some tests are about."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    redirects = {
        "/moved/tiny.gguf": "/tiny.gguf",
        "/downgraded/tiny.gguf": "http://127.0.0.1:9/tiny.gguf",
        "/to-file/tiny.gguf": "file:///etc/hostname",
        "/round/tiny.gguf": "/round/tiny.gguf",
    }

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in self.redirects:
            self._head(302, Location=self.redirects[path])
        elif path == "/missing/tiny.gguf":
            self._head(404)
        elif path == "/endless/tiny.gguf":
            self._head(200)
        elif path == "/huge/tiny.gguf":
            self._head(200, Content_Length=1 << 60)
        elif path == "/large/tiny.gguf":
            self._head(200, Content_Length=1 << 37)
        elif path == "/cut/tiny.gguf":
            self._head(200, Content_Length=len(MODEL))
            self.wfile.write(MODEL[:-5000])
        else:
            self._send()

    def _send(self) -> None:
        self.server.num_downloads += 1
        self._head(200, Content_Length=len(MODEL))
        self.wfile.write(MODEL[:2_000_000])
        while self.server.hold.is_set():
            time.sleep(0.02)
        self.wfile.write(MODEL[2_000_000:])

    def _head(self, status: int, **headers: Any) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output quiet."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REALIZAR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    return tmp_path / "home"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.hold.clear()
        server.shutdown()
        thread.join()


@pytest.fixture
def base(server: Server) -> str:
    return f"https://127.0.0.1:{server.server_port}"


def files(home: Path) -> list[str]:
    """All files of the cache but locks."""
    paths = (path for path in home.rglob("*") if path.is_file() and path.suffix != ".lock")
    return sorted(path.relative_to(home / "models").as_posix() for path in paths)


COMPLETE = [f"sha256-{SHA256}/receipt.json", f"sha256-{SHA256}/tiny.gguf"]


@pytest.mark.parametrize("path", ["/tiny.gguf", "/moved/tiny.gguf", "/tiny.gguf?download=true"])
def test_pull_streams_verifies_and_remembers(base: str, server: Server, home: Path, path: str) -> None:
    name = f"{base}{path}#sha256={SHA256}"
    seen: list[tuple[str, int, int]] = []
    got = pull(name, lambda *event: seen.append(event))
    assert got == model_folder(f"sha256-{SHA256}") / "tiny.gguf"
    assert got.read_bytes() == MODEL and files(home) == COMPLETE
    assert {stage for stage, _, _ in seen} == {"downloading"}
    assert seen[-1] == ("downloading", len(MODEL), len(MODEL))
    assert pull(name) == resolve(name, allow_download=False) == got
    assert server.num_downloads == 1


def test_it_is_listed_shown_and_removed(base: str, home: Path) -> None:
    name = f"{base}/tiny.gguf#sha256={SHA256}"
    assert show(name).status == "absent" and name not in [stored.name for stored in list_models()]
    path = pull(name)
    stored = list_models()[-1]
    assert (stored.name, stored.status, stored.size, stored.path) == (name, "ready", len(MODEL), path)
    assert stored.source.origin == base.removeprefix("https://")
    path.write_bytes(MODEL[::-1])
    assert show(name).status == "ready" and show(name, check_sha256=True).status == "damaged"
    pull(name)
    assert path.read_bytes() == MODEL
    assert remove(name) > len(MODEL)
    assert files(home) == [] and show(name).status == "absent"


def test_another_address_of_the_same_bytes_is_the_same_model(base: str, server: Server) -> None:
    path = pull(f"{base}/tiny.gguf#sha256={SHA256}")
    assert pull(f"{base}/mirror/other.gguf#sha256={SHA256.upper()}") == path
    assert server.num_downloads == 1


def test_without_leave_to_download_the_command_is_named(base: str, server: Server) -> None:
    name = f"{base}/tiny.gguf#sha256={SHA256}"
    with pytest.raises(StoreError, match=re.escape(f"get it with `realizar pull '{name}'`")):
        resolve(name, allow_download=False)
    assert server.num_downloads == 0
    assert resolve(name, allow_download=True).read_bytes() == MODEL


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/missing/tiny.gguf", "the server answers 404 Not Found"),
        ("/cut/tiny.gguf", "the transfer ended 5000 bytes too early"),
        ("/endless/tiny.gguf", "the server announces None bytes, expected a length from 1 to"),
        ("/huge/tiny.gguf", "the server announces 1152921504606846976 bytes"),
        ("/large/tiny.gguf", "pulling tiny.gguf needs 137438953472 bytes of disk"),
        ("/downgraded/tiny.gguf", r"redirects to http://127\.0\.0\.1:9/tiny\.gguf, which is not https"),
        ("/to-file/tiny.gguf", "Redirection to url 'file:///etc/hostname' is not allowed"),
        ("/round/tiny.gguf", "infinite loop"),
    ],
)
def test_a_bad_answer_is_an_error_and_leaves_nothing(
    base: str, home: Path, monkeypatch: pytest.MonkeyPatch, path: str, message: str
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1 << 36}))
    with pytest.raises(StoreError, match=message):
        pull(f"{base}{path}#sha256={SHA256}")
    assert files(home) == []


def test_other_bytes_than_asked_for_are_refused(base: str, home: Path) -> None:
    with pytest.raises(StoreError, match=rf"not the file that was asked for: .* is {SHA256}, expected 0{{64}}"):
        pull(f"{base}/tiny.gguf#sha256={'0' * 64}")
    assert files(home) == []


def test_a_server_that_nobody_vouches_for_is_refused(
    base: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(StoreError, match="CERTIFICATE_VERIFY_FAILED"):
        pull(f"{base}/tiny.gguf#sha256={SHA256}")
    assert server.num_downloads == 0


def test_nobody_there_is_an_error() -> None:
    with pytest.raises(StoreError, match="127.0.0.1:9/tiny.gguf: cannot be reached"):
        pull(f"https://127.0.0.1:9/tiny.gguf#sha256={SHA256}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"http://127.0.0.1/tiny.gguf#sha256={SHA256}", "by https only"),
        (f"https:///tiny.gguf#sha256={SHA256}", "by https only"),
        ("https://a.org/tiny.gguf", "end the address in #sha256="),
        ("https://a.org/tiny.gguf#sha256=12", "end the address in #sha256="),
        (f"https://a.org/tiny.gguf#md5={SHA256}", "end the address in #sha256="),
        (f"https://me:secret@a.org/tiny.gguf#sha256={SHA256}", "a password in it is not taken"),
        (f"https://a.org/#sha256={SHA256}", "expected a plain file name"),
        (f"https://a.org/..%2fx#sha256={SHA256}", "expected a plain file name"),
        (f"https://a.org/receipt.json#sha256={SHA256}", "expected a plain file name"),
        (f"https://[a/tiny.gguf#sha256={SHA256}", "is no address"),
    ],
)
def test_an_address_that_does_not_say_enough_is_refused(text: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        resolve(text, allow_download=True)
    assert "secret" not in str(caught.value)


def test_the_name_in_the_cache_is_the_unquoted_one() -> None:
    source = UrlSource.parse(f"https://a.org/x/my%20model.gguf?sig=1#sha256={SHA256}")
    assert (source.file, source.url) == ("my model.gguf", "https://a.org/x/my%20model.gguf?sig=1")


def start(name: str, kill: str = "-") -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PULLING, name, kill], stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_kill_9_then_pull(base: str, home: Path) -> None:
    name = f"{base}/tiny.gguf#sha256={SHA256}"
    killed = start(name, "kill")
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    left = files(home)
    assert left and all(path.startswith(f".staging/sha256-{SHA256}/") for path in left)
    assert show(name).status == "absent"
    assert pull(name).read_bytes() == MODEL
    assert files(home) == COMPLETE


def test_two_processes_at_once_download_once(base: str, server: Server, home: Path) -> None:
    name = f"{base}/tiny.gguf#sha256={SHA256}"
    server.hold.set()
    first = start(name)
    assert first.stdout is not None and first.stdout.readline().startswith("downloading ")
    second = start(name)
    assert second.stdout is not None and second.stdout.readline() == "waiting 0\n"
    server.hold.clear()
    outputs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0]
    assert "downloading" not in outputs[1] and server.num_downloads == 1
    assert files(home) == COMPLETE


def test_a_disk_that_fails_is_said_to_be_one(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="cannot keep .* there: .*No space left"):
        pull(f"{base}/tiny.gguf#sha256={SHA256}")
