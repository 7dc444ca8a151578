"""Four distributions of strangers, installed from tests/third_party/acme_*: listed, run and put through the kit.

Skipped where they are not installed; `nox -s third_party` installs them.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

from realizar import LLM, SamplingParams
from realizar.backend import Backend
from realizar.dtypes import DTYPES
from realizar.formats import Format
from realizar.model import TokenizerSpec
from realizar.plugins import host
from realizar.selection import build_tokenizer, choose_backend
from realizar.servers import Server
from realizar.testing import (
    BackendConformance,
    FormatConformance,
    ServerConformance,
    TokenizerConformance,
    Tolerance,
)
from realizar.testing.models import TinyModel, tiny_model
from realizar.tokenizers import Tokenizer

acme_backend = pytest.importorskip("acme_backend", reason="acme-backend is not installed")
acme_format = pytest.importorskip("acme_format", reason="acme-format is not installed")
acme_server = pytest.importorskip("acme_server", reason="acme-server is not installed")
acme_tokenizer = pytest.importorskip("acme_tokenizer", reason="acme-tokenizer is not installed")

HERE = Path(__file__).parent
BYTES = TokenizerSpec(model="acme-bytes", tokens=[f"<0x{i:02X}>" for i in range(256)], source="acme bytes")
GREEDY = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)


def write_acme(path: Path, model: TinyModel) -> None:
    """A file of the acme format: magic, header length, header, tensors at offsets from the start of the file."""
    values = {"config": attrs.asdict(model.config), "tokenizer": attrs.asdict(model.tokenizer)}
    room = len(json.dumps(values)) + 128 * len(model.tensors)
    index, start = {}, 16 + room
    for name, tensor in model.tensors.items():
        index[name] = [tensor.dtype.name, list(tensor.shape), start]
        start += tensor.nbytes
    header = json.dumps({**values, "tensors": index}).encode().ljust(room)
    data = b"".join(tensor.read().tobytes() for tensor in model.tensors.values())
    path.write_bytes(acme_format.MAGIC + room.to_bytes(8, "little") + header + data)


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    """A tiny model with a byte-level BPE tokenizer, in the acme format."""
    path = tmp_path / "tiny.acme"
    write_acme(path, tiny_model("Q8_0"))
    return path


@pytest.mark.parametrize("kind", ["backend", "format", "server", "tokenizer"])
def test_is_listed(kind: str) -> None:
    (record,) = [r for r in host().records if (r.kind, r.name) == (kind, "acme")]
    assert (record.distribution, record.version) == (f"acme-{kind}", importlib.metadata.version(f"acme-{kind}"))
    assert record.status == "ok", record.detail


def test_command_line_lists_them() -> None:
    command = [sys.executable, "-m", "realizar", "--list-plugins", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [row for row in json.loads(done.stdout)["plugins"] if row["name"] == "acme"]
    assert sorted((row["kind"], row["status"], row["version"]) for row in rows) == [
        ("backend", "ok", "2.0"), ("format", "ok", "2.0"), ("server", "ok", "2.0"), ("tokenizer", "ok", "2.0"),
    ]  # fmt: skip


@pytest.mark.parametrize(("kind", "limit"), [("backend", 30), ("format", 45), ("server", 180), ("tokenizer", 45)])
def test_is_small(kind: str, limit: int) -> None:
    lines = (HERE / f"acme_{kind}/src/acme_{kind}/__init__.py").read_text().splitlines()
    assert sum(map(bool, lines)) < limit


def test_ours_is_preferred_where_both_can() -> None:
    assert choose_backend("acme")[0] is acme_backend.AcmeBackend
    assert choose_backend(None)[0].name == "numba"


def test_backend_runs_its_own_op_and_inherits_the_rest(model_path: Path) -> None:
    ids = list(range(3, 20))
    acme_backend.AcmeBackend.num_calls = 0
    with LLM(model_path, backend="acme") as llm:
        logits = llm.logits(ids)
    assert acme_backend.AcmeBackend.num_calls == 2  # one a layer
    with LLM(model_path, backend="numba") as llm:
        expected = llm.logits(ids)
    assert acme_backend.AcmeBackend.num_calls == 2
    Tolerance(1e-4).check(logits, expected, "acme against numba")


@pytest.mark.parametrize("backend", ["acme", "numba", "numpy"])
def test_format_runs(model_path: Path, backend: str) -> None:
    with LLM(model_path, backend=backend) as llm:
        completion = llm.generate("the word in the", GREEDY)
    assert len(completion.token_ids) == 8
    assert completion.finish_reason == "length"


@pytest.mark.parametrize("backend", ["acme", "numpy"])
def test_tokenizer_runs(tmp_path: Path, backend: str) -> None:
    path = tmp_path / "bytes.acme"
    write_acme(path, attrs.evolve(tiny_model(vocab_size=256), tokenizer=BYTES))
    with LLM(path, backend=backend) as llm:
        completion = llm.generate("naïve", GREEDY)
    assert completion.prompt_token_ids == tuple("naïve".encode())
    assert completion.text == bytes(completion.token_ids).decode(errors="replace")


def test_server_is_swapped_by_its_name(serve_process: Any, model_path: Path) -> None:
    answers = []
    for name in ("acme", "aiohttp"):
        with serve_process(model_path, "--served-model-name", "tiny", "--backend", "numpy", "--server", name) as url:
            body = {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0, "max_tokens": 8}
            request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode())
            with urllib.request.urlopen(request, timeout=60) as response:
                answers.append(json.load(response)["choices"][0]["message"]["content"])
            with urllib.request.urlopen(f"{url}/v1/models", timeout=60) as response:
                assert json.load(response)["data"][0]["owned_by"] == {"acme": "acme", "aiohttp": "realizar"}[name]
    assert answers[0] == answers[1]


class TestAcmeServer(ServerConformance):
    path: ClassVar[Path]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def model(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.path = tmp_path_factory.mktemp("served") / "tiny.acme"
        write_acme(cls.path, tiny_model())

    def make_server(self) -> Server:
        server: Server = acme_server.AcmeServer()
        return server

    def make_llm(self) -> LLM:
        return LLM(self.path, backend="numpy")


class TestAcmeBackend(BackendConformance):
    """Tolerances are those of the numba backend, which it inherits from; its own op makes temporaries."""

    weight_tolerances: ClassVar = {name: Tolerance(1e-4) for name, kind in DTYPES.items() if kind.is_quantized}
    batch_invariant = True
    block_sizes = (16, 32)
    max_step_nbytes = None

    def make_backend(self) -> Backend:
        backend: Backend = acme_backend.AcmeBackend()
        return backend


class TestAcmeFormat(FormatConformance):
    name = "acme"
    suffix = ".acme"
    weight_types = ("F32", "F16", "BF16", "Q8_0", "Q4_K", "IQ3_S")

    def make_format(self) -> Format:
        (contribution,) = acme_format.realizar_formats()
        return contribution

    def write(self, path: Path, model: TinyModel) -> None:
        write_acme(path, model)


class TestAcmeTokenizer(TokenizerConformance):
    def make_tokenizer(self) -> Tokenizer:
        return build_tokenizer(BYTES)
