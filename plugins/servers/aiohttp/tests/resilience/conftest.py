"""Models on a backend that fails on command."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from realizar.engine import LLM
from realizar.limits import Limits
from realizar.model_pool import ModelPool
from realizar.plugins import host


@pytest.fixture(scope="session")
def faults(plugins: None, plugin_folder: Path) -> Iterator[Any]:
    """What commands the faults of the backend "faults", which is a plugin beside the others."""
    (plugin_folder / "aiohttp_fault_plugin.py").write_text(Path(__file__).with_name("fault_plugin.py").read_text())
    info = plugin_folder / "realizar_faults-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: realizar-faults\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[realizar]\nfaults = aiohttp_fault_plugin\n")
    importlib.invalidate_caches()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REALIZAR_PLUGINS", "tiny,aiohttp,faults")
        host.cache_clear()
        yield importlib.import_module("aiohttp_fault_plugin").FAULTS
    host.cache_clear()


@pytest.fixture
def failing(faults: Any, write_model: Callable[..., Path]) -> Iterator[LLM]:
    """A tiny model on that backend."""
    faults.order()
    with LLM(write_model(), backend="faults", max_waiting=64) as llm:
        yield llm
        faults.go_on()


@pytest.fixture
def client_of(serving: Any) -> Callable[..., Any]:
    """A client of a server over a pool; keywords as in Limits."""

    def start(pool: ModelPool, *, api_keys: tuple[str, ...] = (), **limits: Any) -> Any:
        return serving(pool, api_keys=api_keys, limits=Limits(**limits))

    return start


class Asking:
    """What tests ask a server."""

    CHAT = "/v1/chat/completions"

    def __init__(self, client: Any) -> None:
        self.client = client

    async def chat(self, *, headers: dict[str, str] | None = None, **body: Any) -> tuple[int, Any, Any]:
        """Status, headers and object of an answer of 4 tokens, unless `body` says otherwise."""
        whole = {"messages": [{"role": "user", "content": "Hi"}], "temperature": 0, "ignore_eos": True, "max_tokens": 4}
        async with self.client.post(self.CHAT, json={**whole, **body}, headers=headers) as response:
            return response.status, response.headers, await response.json()

    async def metric(self, name: str, **labels: str) -> float:
        """The value of a sample; 0 if there is none."""
        text = await (await self.client.get("/metrics")).text()
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return sum(s.value for s in samples if s.name == f"realizar_{name}" and labels.items() <= s.labels.items())

    async def status(self, path: str) -> int:
        """Of a GET."""
        return int((await self.client.get(path)).status)

    async def state(self) -> Any:
        """What /debug/state says of all this."""
        return (await (await self.client.get("/debug/state")).json())["resilience"]

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until an awaited condition holds."""
        async with asyncio.timeout(10):
            while not await condition():
                await asyncio.sleep(0.01)


@pytest.fixture
def asking() -> type[Asking]:
    """Wraps a client."""
    return Asking
