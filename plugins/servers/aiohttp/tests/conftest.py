"""Servers over tiny models, on aiohttp's own test server."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import settings

from realizar.engine import LLM
from realizar.model_pool import ModelPool
from realizar.plugins import host
from realizar.servers import ServerConfig
from realizar.testing.serving import pool_of as serving_pool
from realizar.testing.serving import running as serving_thread
from realizar_aiohttp.app import build_app
from realizar_aiohttp.server import AiohttpServer

settings.register_profile("realizar", deadline=None)  # a busy machine is no failure
settings.load_profile("realizar")

Serving = Callable[..., AbstractAsyncContextManager[TestClient[Any, Any]]]


@pytest.fixture(scope="session")
def plugin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `tiny_plugin` and the metadata that an installer would write."""
    folder = tmp_path_factory.mktemp("installed")
    source = Path(__file__).with_name("tiny_plugin.py")
    (folder / "aiohttp_tiny_plugin.py").write_text(source.read_text())
    info = folder / "realizar_tiny-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: realizar-tiny\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[realizar]\ntiny = aiohttp_tiny_plugin\n")
    return folder


@pytest.fixture(scope="session")
def plugins(plugin_folder: Path) -> Iterator[None]:
    """Core, this server and the tiny plugin are all there is, whatever else is installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(plugin_folder))
        patch.setenv("REALIZAR_PLUGINS", "tiny,aiohttp")
        patch.delenv("REALIZAR_BACKEND", raising=False)
        host.cache_clear()
        yield
    host.cache_clear()


@pytest.fixture(scope="session")
def write_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a tiny model file; options as `realizar.testing.tiny_files` says."""
    folder = tmp_path_factory.mktemp("models")

    def write(**options: Any) -> Path:
        path = folder / f"{len(list(folder.iterdir()))}.tiny"
        path.write_text(json.dumps(options))
        return path

    return write


@pytest.fixture(scope="session")
def llm(plugins: None, write_model: Callable[..., Path]) -> Iterator[LLM]:
    """A tiny model that generates."""
    with LLM(write_model(), backend="numpy") as llm:
        yield llm


@pytest.fixture(scope="session")
def slow_llm(plugins: None, write_model: Callable[..., Path]) -> Iterator[LLM]:
    """The same, at 20 ms a step."""
    with LLM(write_model(), backend="slow") as llm:
        yield llm


@pytest.fixture(scope="session")
def encoder(plugins: None, write_model: Callable[..., Path]) -> Iterator[LLM]:
    """A tiny model that embeds."""
    with LLM(write_model(encoder=True), backend="numpy") as llm:
        yield llm


@pytest.fixture(scope="session")
def pool_of() -> Callable[..., ModelPool]:
    """Makes a pool that has loaded these models, by id."""
    return serving_pool


@asynccontextmanager
async def serve(pool: ModelPool, **config: Any) -> AsyncIterator[TestClient[Any, Any]]:
    """A client of a server over `pool`; a client that leaves cancels its request, as in `serve`."""
    app = build_app(pool, ServerConfig(**config))
    server = TestServer(app, handler_cancellation=True)
    async with TestClient(server) as client:
        yield client


@pytest.fixture
def serving(llm: LLM) -> Serving:
    """Starts servers: over the tiny model "tiny" unless a pool is given; keywords as in ServerConfig."""
    return lambda pool=None, **config: serve(pool or serving_pool(tiny=llm), **config)


@pytest.fixture(scope="session")
def running(plugins: None) -> Callable[..., AbstractContextManager[str]]:
    """Runs the whole server in a thread, as `serve` does, and gives its URL; keywords as in ServerConfig."""

    return lambda pool, **config: serving_thread(AiohttpServer(), pool, **config)


@pytest.fixture
def settle() -> Callable[[LLM], Coroutine[Any, Any, None]]:
    """Waits until an engine has nothing to do, and checks that all blocks came back."""

    async def settle(llm: LLM) -> None:
        async with asyncio.timeout(20):
            while (stats := llm.stats).running or stats.waiting:
                await asyncio.sleep(0.005)
        assert stats.blocks_used == 0

    return settle


@pytest.fixture(scope="session")
def scripted(plugins: None, write_model: Callable[..., Path]) -> Iterator[Callable[[str, str], LLM]]:
    """A model with a chat template that writes a text instead of what it would."""
    models: dict[str, LLM] = {}

    def scripted(template: str, text: str) -> LLM:
        if template not in models:
            path = write_model(chat_template=template, max_position_embeddings=2048)
            models[template] = LLM(path, backend="scripted")
        import_module("aiohttp_tiny_plugin").say(text)
        return models[template]

    yield scripted
    for model in models.values():
        model.close()


@pytest.fixture
def command(plugin_folder, write_model):
    """`realizar serve` of a tiny model, as a process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REALIZAR_")}
    environ = {**kept, "PYTHONPATH": f"{plugin_folder}{os.pathsep}{kept.get('PYTHONPATH', '')}"}
    environ["REALIZAR_PLUGINS"] = "tiny,aiohttp"

    def start(*args: str, model: str | None = None) -> subprocess.Popen[str]:
        line = [sys.executable, "-m", "realizar", "serve", model or str(write_model()), "--port", "0", *args]
        return subprocess.Popen(line, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


def pytest_pyfunc_call(pyfuncitem: Any) -> bool | None:
    """Run a test that is a coroutine on an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True
