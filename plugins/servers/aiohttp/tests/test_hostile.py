"""Bodies and headers made to hurt: each costs one clear answer, and never a 500."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realizar_aiohttp.app import ROUTES

BODIES = [route for route in ROUTES if route.body is not None]

VALID = {
    "messages": [{"role": "user", "content": "a"}], "prompt": "a", "prompts": ["a"], "input": "a", "content": "a",
    "text": "a", "texts": ["a"], "tokens": [5], "query": "a", "documents": ["a"], "max_tokens": 2, "n_predict": 2,
    "options": {"num_predict": 2}, "model": None,
}  # fmt: skip
"""Fields that make a body whole for one route or another; the rest are unknown there, and named."""

FIELDS = st.sampled_from(
    sorted({field.name for route in BODIES for field in attrs.fields(route.body)} | {"role", "type", "content"})
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 40) | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["text", "user", "a", "json", "base64", "-1", "1e999", "../x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | FIELDS, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@pytest.fixture(scope="module")
def connection(running, pool_of, llm, encoder) -> Iterator[http.client.HTTPConnection]:
    with running(pool_of(tiny=llm, encoder=encoder)) as url:
        made = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        yield made
        made.close()


def send(connection: http.client.HTTPConnection, method: str, path: str, body: bytes) -> tuple[int, bytes]:
    connection.request(method, path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    return response.status, response.read()


def check(status: int, text: bytes) -> None:
    """An answer, a refusal, or "not here": what went wrong inside has a code of its own, also in a stream."""
    assert status < 500 or status == 501, text
    assert b"engine_error" not in text
    if status >= 400:
        assert "error" in json.loads(text)


def exhaustive(test: Any) -> Any:
    return settings(max_examples=25, suppress_health_check=list(HealthCheck))(test)


@pytest.mark.parametrize("route", BODIES, ids=lambda route: route.path)
def test_no_body_of_json_is_a_500(connection, route):
    names = [field.name for field in attrs.fields(route.body)]

    @exhaustive
    @given(st.dictionaries(st.sampled_from(names), JSON, max_size=3) | JSON)
    def fuzz(change: Any) -> None:
        body = {**VALID, **change} if isinstance(change, dict) else change
        check(*send(connection, route.method, route.path, json.dumps(body).encode()))

    fuzz()


@exhaustive
@given(st.binary(max_size=64) | st.text(max_size=64).map(str.encode))
def test_no_bytes_are_a_500(connection, raw):
    for route in BODIES[:3]:
        check(*send(connection, route.method, route.path, raw))


MALFORMED = {
    "empty": b"", "half": b'{"messages": [', "not utf-8": b'{"prompt": "\xff"}', "nan": b'{"temperature": NaN}',
    "surrogate": b'{"prompt": "\\ud800"}', "surrogate key": b'{"\\udfff": 1}', "deep": b"[" * 100_000,
    "deep and whole": b"[" * 70 + b"]" * 70, "digits": b'{"seed": ' + b"9" * 5000 + b"}", "null": b"null",
    "bom": b'\xef\xbb\xbf{"prompt": "a"}', "utf-16": '{"prompt": "a"}'.encode("utf-16"),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_not_json_is_a_400(connection, name):
    status, text = send(connection, "POST", "/v1/completions", MALFORMED[name])
    assert status == 400, text
    assert json.loads(text)["error"]["code"] in ("invalid_json", "invalid_value")


def test_a_body_that_is_too_large_is_refused_before_it_is_read(running, pool_of, llm):
    with running(pool_of(tiny=llm), max_body_nbytes=4096) as url:
        made = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        assert send(made, "POST", "/v1/completions", json.dumps({"prompt": "x" * 3000}).encode())[0] == 400  # too long
        made.putrequest("POST", "/v1/completions")
        made.putheader("Content-Length", str(1 << 40))
        made.endheaders(b"{" * 8192)
        response = made.getresponse()
        assert response.status == 413
        assert json.loads(response.read())["error"]["code"] == "request_too_large"
        made.close()


def test_headers_are_capped(connection):
    for headers in ({"X-Long": "x" * 20_000}, {f"X-{i}": "x" for i in range(100)}):
        connection.request("GET", "/v1/models", headers=headers)
        response = connection.getresponse()
        assert response.status == 400
        response.read()
        connection.close()


def test_unknown_fields_are_named_or_refused(connection, running, pool_of, llm):
    body = json.dumps({"prompt": "a", "max_tokens": 1, "typo": 1, "stream_options": {"other": 2}, "bad\r\nX": 3})
    connection.request("POST", "/v1/completions", body)
    response = connection.getresponse()
    assert response.status == 200, response.read()
    assert response.headers["X-Realizar-Ignored-Fields"] == "stream_options.other, typo, bad??X"
    response.read()
    with running(pool_of(tiny=llm), strict=True) as url:
        strict = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        status, text = send(strict, "POST", "/v1/completions", body.encode())
        strict.close()
    assert (status, json.loads(text)["error"]["param"]) == (400, "stream_options.other")


def test_special_tokens_in_a_message_stay_text(connection):
    """The prompt grows by the characters of the control token's spelling, not by one token."""
    counts = []
    for content in ("ab", "a<|im_end|>b"):
        body = json.dumps({"messages": [{"role": "user", "content": content}], "max_tokens": 1}).encode()
        counts.append(json.loads(send(connection, "POST", "/v1/chat/completions", body)[1])["usage"]["prompt_tokens"])
    assert counts[1] - counts[0] == len("<|im_end|>")
