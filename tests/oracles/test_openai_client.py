"""The official `openai` client against `realizar serve` in a process of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

openai = pytest.importorskip("openai", reason="the openai client is not installed")

HELLO = [{"role": "user", "content": "Hello"}]
GREEDY: dict[str, Any] = {"messages": HELLO, "model": "tiny", "temperature": 0, "max_tokens": 12}
IGNORE = {"ignore_eos": True}


@pytest.fixture(scope="module")
def client(tiny_server: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{tiny_server}/v1", api_key="secret", max_retries=0) as client:
        yield client


def test_models(client):
    assert [model.id for model in client.models.list().data] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "realizar"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-4")
    assert caught.value.code == "model_not_found"


def test_chat_and_stream_agree(client):
    whole = client.chat.completions.create(**GREEDY, extra_body=IGNORE)
    chunks = list(
        client.chat.completions.create(**GREEDY, stream=True, stream_options={"include_usage": True}, extra_body=IGNORE)
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens >= whole.usage.prompt_tokens_details.cached_tokens
    assert whole.usage.completion_tokens == 12
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]][-1] == "length"


def test_the_client_collects_a_stream_itself(client):
    ends_at_the_fifth = {"min_tokens": 4, "logit_bias": {"2": 100}}
    with client.chat.completions.stream(**GREEDY, n=2, extra_body=ends_at_the_fifth) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert [choice.finish_reason for choice in final.choices] == ["stop", "stop"]
    assert kinds.count("content.done") == 2


def test_logprobs(client):
    found = client.chat.completions.create(**GREEDY, logprobs=True, top_logprobs=5, extra_body=IGNORE)
    entries = found.choices[0].logprobs.content
    assert len(entries) == 12
    for entry in entries:
        assert entry.logprob == entry.top_logprobs[0].logprob  # greedy
        assert sum(math.exp(top.logprob) for top in entry.top_logprobs) <= 1 + 1e-6


def test_completions(client):
    found = client.completions.create(
        model="tiny", prompt=["one", "two"], max_tokens=4, n=2, logprobs=1, extra_body=IGNORE
    )
    assert [choice.index for choice in found.choices] == [0, 1, 2, 3]
    assert all(len(choice.logprobs.tokens) == 4 for choice in found.choices)


def test_errors_are_the_clients_own_classes(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{**GREEDY, "temperature": -1})
    assert (caught.value.param, caught.value.type) == ("temperature", "invalid_request_error")
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{**GREEDY, "messages": [{"role": "user", "content": "x" * 999}]})
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()


def test_leaving_a_stream_ends_it_and_the_next_request_is_served(client):
    stream = client.chat.completions.create(**{**GREEDY, "max_tokens": 200}, stream=True, extra_body=IGNORE)
    next(iter(stream))
    stream.close()
    assert client.chat.completions.create(**GREEDY, extra_body=IGNORE).usage.completion_tokens == 12
