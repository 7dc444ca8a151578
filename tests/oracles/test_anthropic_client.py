"""The official `anthropic` client against `realizar serve` in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

anthropic = pytest.importorskip("anthropic", reason="the anthropic client is not installed")

HELLO = [{"role": "user", "content": "Hello"}]
GREEDY: dict[str, Any] = {
    "model": "tiny", "messages": HELLO, "max_tokens": 10, "extra_body": {"temperature": 0}, "system": "Be brief.",
}  # fmt: skip


@pytest.fixture(scope="module")
def client(tiny_server: str) -> Iterator[Any]:
    with anthropic.Anthropic(base_url=tiny_server, api_key="secret", max_retries=0) as client:
        yield client


def test_an_answer_and_a_stream_agree(client):
    whole = client.messages.create(**GREEDY)
    with client.messages.stream(**GREEDY) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert whole.content[0].text == text == final.content[0].text
    assert whole.stop_reason == final.stop_reason in ("max_tokens", "end_turn")
    assert whole.usage.output_tokens == final.usage.output_tokens <= 10
    assert whole.usage.input_tokens == final.usage.input_tokens


def test_tokens_are_counted(client):
    counted = client.messages.count_tokens(model="tiny", messages=HELLO, system="Be brief.")
    assert counted.input_tokens == client.messages.create(**GREEDY).usage.input_tokens


def test_errors_are_the_clients_own_classes(client):
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(**{**GREEDY, "model": "claude"})
    with pytest.raises(anthropic.BadRequestError, match="messages: found an empty list"):
        client.messages.create(**{**GREEDY, "messages": []})
    with pytest.raises(anthropic.AuthenticationError):
        client.with_options(api_key="wrong").messages.create(**GREEDY)
