"""The official `ollama` client against `realizar serve` in a process of its own."""

from __future__ import annotations

from typing import Any

import pytest

ollama = pytest.importorskip("ollama", reason="the ollama client is not installed")

HELLO = [{"role": "user", "content": "Hello"}]
OPTIONS = {"temperature": 0, "num_predict": 8}


@pytest.fixture(scope="module")
def client(tiny_server: str) -> Any:
    return ollama.Client(host=tiny_server, headers={"Authorization": "Bearer secret"})


def test_models(client):
    (listed,) = client.list().models
    assert listed.model == "tiny:latest"
    assert listed.size > 0
    assert client.show("tiny").modelinfo["general.architecture"] == "llama"
    assert client.ps().models[0].context_length > 0


def test_chat_and_stream_agree(client):
    whole = client.chat(model="tiny:latest", messages=HELLO, options=OPTIONS)
    *pieces, last = client.chat(model="tiny", messages=HELLO, options=OPTIONS, stream=True)
    assert "".join(piece.message.content for piece in pieces) == whole.message.content
    assert (last.done, last.eval_count) == (True, whole.eval_count)


def test_generate_goes_on(client):
    first = client.generate(model="tiny", prompt="Hello", options=OPTIONS)
    second = client.generate(model="tiny", prompt="More", context=first.context, options=OPTIONS)
    assert list(second.context)[: len(first.context)] == list(first.context)


def test_errors_are_the_clients_own_class(client):
    with pytest.raises(ollama.ResponseError) as caught:
        client.chat(model="llama3", messages=HELLO)
    assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="generates text"):
        client.embed(model="tiny", input="a")
