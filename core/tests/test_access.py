"""Who may ask a server, and where it may listen; on headers alone."""

from __future__ import annotations

import pytest

from realizar.access import AccessDenied, key_id, prove_host, prove_key, prove_origin
from realizar.errors import RequestError
from realizar.servers import ServerConfig

KEYED = ServerConfig(api_keys=("first-key", "zweiter-schlüssel"))
OPEN = ServerConfig(host="0.0.0.0", insecure=True, allowed_hosts=("My.Box",), allowed_origins=("https://app.example",))


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer first-key"}, {"Authorization": "bearer  first-key"}, {"x-api-key": "first-key"},
        {"x-api-key": "zweiter-schlüssel"},
    ],
    ids=str,
)  # fmt: skip
def test_a_known_key_is_enough(headers):
    prove_key(headers, KEYED)
    prove_key({}, OPEN)


@pytest.mark.parametrize("key", ["", "first-ke", "first-keyy", "FIRST-KEY", "\udcff", "first-key\n"])
def test_nothing_less_is(key):
    for headers in ({"x-api-key": key}, {"Authorization": f"Basic {key}"}, {"Authorization": key}):
        with pytest.raises(AccessDenied) as caught:
            prove_key(headers, KEYED)
        assert caught.value.status == 401


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:8080", "LOCALHOST:9"])
def test_loopback_names_are_its_own(host):
    prove_host({"Host": host}, KEYED)


@pytest.mark.parametrize("host", ["", "evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[", "localhost."])
def test_other_names_are_not(host):
    with pytest.raises(AccessDenied, match="no name of this server"):
        prove_host({"Host": host}, KEYED)


def test_where_others_reach_it_addresses_and_given_names_are_its_own():
    for host in ("192.168.1.5:8080", "[fe80::1]", "my.box:80", "0.0.0.0"):
        prove_host({"Host": host}, OPEN)
    with pytest.raises(AccessDenied):
        prove_host({"Host": "evil.example"}, OPEN)


def test_pages():
    own = {"Host": "localhost:8080", "Origin": "http://localhost:8080", "Sec-Fetch-Site": "same-origin"}
    assert prove_origin(own, OPEN) is None
    assert prove_origin({"Host": "localhost"}, OPEN) is None
    assert prove_origin({"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}, OPEN)
    for change in (
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:1"},
        {"Origin": "https://app.example.evil"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
    ):  # fmt: skip
        with pytest.raises(AccessDenied) as caught:
            prove_origin({**own, **change}, OPEN)
        assert caught.value.code == "origin_not_allowed"


def test_an_address_that_others_reach_needs_a_key_or_a_word():
    for host in ("0.0.0.0", "192.168.1.5", "::", "my.box"):
        with pytest.raises(RequestError, match="--api-key-file"):
            ServerConfig(host=host)
        assert not ServerConfig(host=host, insecure=True).is_loopback
        assert "first-key" not in repr(ServerConfig(host=host, api_keys=("first-key",)))
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        assert ServerConfig(host=host).is_loopback


def test_a_key_has_a_name_that_does_not_give_it_away():
    names = [key_id(headers) for headers in ({"x-api-key": "k"}, {"Authorization": "Bearer k"}, {"x-api-key": "l"}, {})]
    assert names[0] == names[1] != names[2]
    assert names[3] == "none"
    assert len(names[0]) == 12
