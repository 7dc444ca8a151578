"""`realizar serve` and the pool of models, with servers that only do what the contract says."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from click.testing import CliRunner

from realizar.cli import serve
from realizar.cli.main import cli
from realizar.cli.serve_models import model_id
from realizar.errors import PluginError, RequestError
from realizar.model_pool import ModelNotReady, ModelPool, UnknownModel
from realizar.selection import choose_server
from realizar.servers import Server, ServerConfig


class Punctual(Server):
    """Listens, waits for the models, and is then told to stop."""

    name = "punctual"

    def __init__(self) -> None:
        self.served: list[str] = []

    async def serve(self, pool, config, *, listening, stop):
        listening(f"http://{config.host}:1")
        with pytest.raises(ModelNotReady):
            async with pool.lease():
                pass
        async with asyncio.timeout(30):
            while not pool.is_ready:
                await asyncio.sleep(0.01)
        async with pool.lease() as model:
            self.served.append(f"{model.id} on {model.llm.backend_name}")
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()


class Patient(Server):
    """Listens until it is told to stop, as a server does."""

    name = "patient"

    async def serve(self, pool, config, *, listening, stop):
        listening("http://127.0.0.1:1")
        await stop.wait()


@pytest.fixture
def run(plugins, monkeypatch):
    """Runs the command with a server of ours in this process."""

    def run(server: Server, *args: object):
        monkeypatch.setattr(serve, "choose_server", lambda name: server)
        return CliRunner().invoke(cli, ["serve", *map(str, args)])

    return run


def test_it_listens_loads_says_so_and_ends(run, write_model):
    server, path = Punctual(), write_model()
    result = run(server, path, "--backend", "numpy", "--port", "0")
    assert result.exit_code == 0, result.exception
    assert result.stdout == f"{path.stem}: ready at http://127.0.0.1:1 (Ctrl-C ends)\n"
    assert server.served == [f"{path.stem} on numpy"]
    assert "finishing open requests" in result.stderr


def test_a_model_that_cannot_be_loaded_ends_the_server(run, write_model):
    result = run(Patient(), write_model(without="tokenizer"), "--backend", "numpy")
    assert "no tokenizer" in str(result.exception)


def test_a_stop_while_models_are_loading_is_an_interruption(plugins):
    async def stopped() -> None:
        pool = ModelPool({"slow": lambda: never.wait() and None})
        serving = asyncio.ensure_future(serve._serve(Patient(), pool, ServerConfig()))
        await asyncio.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)
        await serving

    import threading

    never = threading.Event()
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(stopped())
    never.set()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--host", "0.0.0.0"), "no key is asked for"), (("--api-key-file", "empty"), "has no key"),
        (("--tls-cert", "empty"), "--tls-key"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_safe_is_refused_before_anything_is_loaded(run, tmp_path, args, words):
    (tmp_path / "empty").write_text("# nothing\n\n")
    given = [str(tmp_path / arg) if arg == "empty" else arg for arg in args]
    result = run(Punctual(), "no-such-model", *given)
    assert isinstance(result.exception, RequestError)
    assert words in str(result.exception)


def test_the_demo_needs_no_model_and_takes_none(run, write_model, monkeypatch):
    server, built = Punctual(), []
    build = serve.build_pool

    def record(models, *args, **options):
        built.append(models)
        return build((str(write_model()),), *args, **options)

    monkeypatch.setattr(serve, "build_pool", record)
    assert run(server, "--demo").exit_code == 0
    assert built == [("smollm2",)]
    for args in ((), ("--demo", "a.gguf")):
        result = run(server, *args)
        assert result.exit_code != 0
        assert "--demo alone" in result.output


def test_keys_are_lines(tmp_path):
    path = tmp_path / "keys"
    path.write_text("# ours\nfirst\n\n  second  \n")
    assert serve.read_keys(path) == ("first", "second")


def test_an_id_is_the_alias_or_the_files_name(tmp_path, monkeypatch):
    file, folder = tmp_path / "my.model-Q4.gguf", tmp_path / "minilm"
    file.touch()
    folder.mkdir()
    assert model_id(str(file)) == "my.model-Q4"
    assert model_id(str(folder)) == "minilm"
    monkeypatch.chdir(folder)
    assert model_id(".") == "minilm"
    assert model_id("smollm2") == "smollm2"
    assert model_id("hf://org/repo@main") == "repo@main"
    assert model_id("https://a.example/x.gguf#sha256=00") == "x.gguf"


def test_without_a_server_plugin_the_error_says_what_to_install(plugins):
    with pytest.raises(PluginError, match=r"pip install 'realizar\[aiohttp\]'"):
        choose_server()


def test_a_pool_knows_names_and_nothing_else(llm):
    async def ask() -> None:
        pool = ModelPool({"a": lambda: llm, "b": lambda: llm})
        assert (pool.ids, pool.loaded, pool.is_ready) == (("a", "b"), (), False)
        pool.load()
        assert pool.is_ready
        for name in (None, "", "a"):
            async with pool.lease(name) as model:
                assert (model.id, model.llm) == ("a", llm)
        async with pool.lease("b") as model:
            assert model.id == "b"
        for name in ("c", "/etc/passwd", "A"):
            with pytest.raises(UnknownModel, match="this server has 'a', 'b'"):
                async with pool.lease(name):
                    pass
        pool.close()
        assert pool.loaded == ()

    asyncio.run(ask())
