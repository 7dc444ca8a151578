"""Saving what the cache has of a prompt, and giving it back to a server that has never seen it."""

from __future__ import annotations

import re

import pytest

from realizar.engine import LLM
from realizar.session_folder import MAX_SESSIONS

PROMPT = "A text of more than two blocks of the cache, so that there is something to save."
BODY = {"prompt": PROMPT, "max_tokens": 4, "temperature": 0, "ignore_eos": True}


@pytest.fixture
def fresh(plugins, write_model):
    """Opens the same model as often as it is asked to; other options make another model."""
    opened = []

    def make(**options):
        opened.append(LLM(write_model(**options), backend="numpy"))
        return opened[-1]

    yield make
    for llm in opened:
        llm.close()


async def act(client, action, status=200, slot=0, **body):
    response = await client.post(f"/slots/{slot}?action={action}", json=body)
    found = await response.json()
    assert response.status == status, found
    return found


async def cached(client, **change):
    answer = await (await client.post("/v1/completions", json={**BODY, **change})).json()
    return answer["usage"]["prompt_tokens_details"]["cached_tokens"], answer["choices"][0]["text"]


async def test_a_prompt_is_found_again_after_a_restart(serving, fresh, pool_of, tmp_path):
    folder = tmp_path / "sessions"
    async with serving(pool_of(tiny=fresh()), allow_manage=True, session_folder=folder) as client:
        none, text = await cached(client)
        assert none == 0
        saved = await act(client, "save", prompt=PROMPT, filename="../../etc/passwd")
    assert re.fullmatch(r"[0-9a-f]{32}\.session", saved["filename"])
    assert saved["n_saved"] >= 32
    assert [file.name for file in folder.iterdir()] == [saved["filename"]]
    assert saved["n_written"] == (folder / saved["filename"]).stat().st_size
    assert folder.stat().st_mode & 0o077 == 0
    async with serving(pool_of(tiny=fresh()), allow_manage=True, session_folder=folder) as client:
        restored = await act(client, "restore", filename=saved["filename"], slot=3)
        assert (restored["n_restored"], restored["id_slot"]) == (saved["n_saved"], 3)
        assert await cached(client) == (saved["n_saved"], text)


async def test_a_conversation_is_saved_as_its_template_writes_it(serving, fresh, pool_of, tmp_path):
    messages = [{"role": "user", "content": PROMPT}]
    async with serving(pool_of(tiny=fresh()), allow_manage=True, session_folder=tmp_path) as client:
        await client.post("/v1/chat/completions", json={"messages": messages, "max_tokens": 2})
        assert (await act(client, "save", messages=messages))["n_saved"] >= 32


async def test_it_must_be_allowed(serving, tmp_path):
    async with serving(session_folder=tmp_path) as client:
        assert (await act(client, "save", status=403, prompt=PROMPT))["error"]["code"] == "management_disabled"


@pytest.mark.parametrize(
    ("action", "body", "words"),
    [
        ("erase", {}, "action: found 'erase', expected save or restore"),
        ("save", {}, "prompt: found both or neither"),
        ("save", {"prompt": "never computed " * 4}, "the prefix cache has no full block of this text"),
        ("restore", {}, "filename: found ''"),
        ("restore", {"filename": "../secret.session"}, "expected a name that saving returned"),
        ("restore", {"filename": "0" * 32 + ".session"}, "expected a name that saving returned"),
    ],
)
async def test_what_is_refused(serving, fresh, pool_of, tmp_path, action, body, words):
    async with serving(pool_of(tiny=fresh()), allow_manage=True, session_folder=tmp_path) as client:
        assert words in (await act(client, action, status=400, **body))["error"]["message"]
        assert "slot below" in (await act(client, "save", status=400, slot=9999, prompt="a"))["error"]["message"]


async def test_the_cache_of_another_model_is_refused_without_telling_where_it_is(serving, fresh, pool_of, tmp_path):
    async with serving(pool_of(a=fresh(), b=fresh(seed=9)), allow_manage=True, session_folder=tmp_path) as client:
        await cached(client)
        saved = await act(client, "save", prompt=PROMPT)
        error = (await act(client, "restore", status=400, filename=saved["filename"], model="b"))["error"]
    assert error["code"] == "session_mismatch"
    assert error["message"].startswith(f"{saved['filename']}: model: found")
    assert str(tmp_path) not in error["message"]


async def test_the_disk_is_not_filled(serving, fresh, pool_of, tmp_path):
    for i in range(MAX_SESSIONS):
        (tmp_path / f"{i:032x}.session").touch()
    async with serving(pool_of(tiny=fresh()), allow_manage=True, session_folder=tmp_path) as client:
        await cached(client)
        assert "256 saved sessions" in (await act(client, "save", status=400, prompt=PROMPT))["error"]["message"]
