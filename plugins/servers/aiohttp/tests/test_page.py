"""The page as a client gets it: its files, its policy, and what the live view reads."""

from __future__ import annotations

import re

import pytest

from realizar.model_pool import ModelPool
from realizar_aiohttp.static_page import FOLDER

HTML = {"Accept": "text/html,application/xhtml+xml"}


async def test_a_browser_gets_the_page_and_others_the_words_of_ollama(serving):
    async with serving() as client:
        page = await client.get("/", headers=HTML)
        text = await page.text()
        other = await client.get("/")
        words = await other.text()
        assert (await client.head("/", headers=HTML)).status == 200
    assert page.content_type == "text/html"
    assert "<title>realizar</title>" in text
    assert (other.content_type, words) == ("text/plain", "Ollama is running")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.iterdir()))
async def test_each_file_is_served_with_its_type(serving, name):
    kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml", "html": "text/html"}
    async with serving() as client:
        response = await client.get(f"/page/{name}")
        assert response.status == 200
        assert response.content_type == kinds[name.rpartition(".")[2]]
        assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["secret", "..%2fapp.py", "%2e%2e%2fapp.py", "page.js%00"])
async def test_no_other_file_is(serving, name):
    async with serving() as client:
        assert (await client.get(f"/page/{name}")).status in (400, 404)


async def test_the_shell_needs_no_key_and_what_it_shows_does(serving):
    async with serving(api_keys=("k",)) as client:
        assert (await client.get("/", headers=HTML)).status == 200
        assert (await client.get("/page/page.js")).status == 200
        assert (await client.get("/debug/state")).status == 401
        assert (await client.get("/debug/state", headers={"Authorization": "Bearer k"})).status == 200


def test_nothing_comes_from_elsewhere_and_nothing_is_inline():
    """No address but the page's own and links that an answer may have; no inline script, style or handler."""
    for path in FOLDER.iterdir():
        text = path.read_text(encoding="utf-8")
        addresses = re.findall(r"(?:https?:)?//[a-z][^\s\"')]*", re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
        assert [address for address in addresses if "w3.org" not in address] == [], path.name
        assert "innerHTML" not in text
        assert not re.search(r"<script>|<style|\son\w+=|\sstyle=", text), path.name


async def test_the_state_tells_of_a_running_request_without_its_text(serving, slow_llm, pool_of):
    async with serving(pool_of(slow=slow_llm)) as client:
        body = {"prompt": "a", "max_tokens": 200, "ignore_eos": True, "stream": True}
        async with client.post("/v1/completions", json=body) as response:
            await response.content.readline()
            state = await (await client.get("/debug/state")).json()
    (model,) = state["models"]
    assert (model["id"], model["alive"], state["draining"]) == ("slow", True, False)
    assert model["stats"]["running"] == 1
    (sequence,) = model["sequences"]
    assert sequence["computed"] >= 1
    assert sequence["max_tokens"] > sequence["tokens"] > 0
    assert set(sequence) == {"id", "tokens", "computed", "max_tokens", "priority", "waiting"}


async def test_a_model_that_is_not_loaded_is_said(serving, llm):
    pool = ModelPool({"tiny": lambda: llm, "later": lambda: llm})
    pool.load()
    async with serving(pool) as client:
        state = await (await client.get("/debug/state")).json()
    assert state["models"][1] == {"id": "later", "alive": False, "stats": None, "sequences": []}
