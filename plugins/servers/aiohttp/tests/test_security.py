"""Who may ask: keys, names, origins, and where a server may listen."""

from __future__ import annotations

import pytest

from realizar.errors import RequestError
from realizar.servers import ServerConfig
from realizar_aiohttp.app import ROUTES
from realizar_aiohttp.health import PUBLIC
from realizar_aiohttp.static_page import PAGE_PATH

KEYS = ("first-key", "zweiter-schlüssel")


def concrete(path: str) -> str:
    """A path with something in the place of its variables."""
    return path.replace("{model:.+}", "tiny").replace("{request_id}", "x")


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_every_route_but_health_asks_for_a_key(serving, route):
    async with serving(api_keys=KEYS) as client:
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic first-key"},
            {"x-api-key": "f"},
        ):
            response = await client.request(route.method, concrete(route.path), headers=headers, data=b"not json")
            if route.path in PUBLIC or route.path.startswith(PAGE_PATH):
                assert response.status in (200, 404)  # of the page there is no file "{name}"
            else:
                assert response.status == 401
                assert response.headers["WWW-Authenticate"] == "Bearer"
                assert route.method == "HEAD" or "error" in await response.json()


async def test_either_header_brings_a_key(serving):
    async with serving(api_keys=KEYS) as client:
        for headers in (
            {"Authorization": "Bearer first-key"}, {"Authorization": "bearer  first-key"}, {"x-api-key": "first-key"},
        ):  # fmt: skip
            assert (await client.get("/v1/models", headers=headers)).status == 200


async def test_a_path_that_is_not_there_and_a_deep_probe_need_a_key_too(serving):
    async with serving(api_keys=KEYS) as client:
        assert (await client.get("/secret")).status == 401
        assert (await client.get("/health?deep=1")).status == 401
        deep = await client.get("/health?deep=1", headers={"x-api-key": KEYS[0]})
        assert deep.status == 200


@pytest.mark.parametrize("name", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "10.0.0.1", "", "["])
async def test_a_foreign_name_is_refused(serving, name):
    async with serving() as client:
        response = await client.get("/v1/models", headers={"Host": name})
        assert response.status in (400, 403)
        if response.status == 403:
            assert (await response.json())["error"]["code"] == "host_not_allowed"


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1:1", "[::1]:8080", "LOCALHOST:9", "my.box", "MY.box:80"])
async def test_names_of_its_own_are_answered(serving, name):
    async with serving(allowed_hosts=("my.box",)) as client:
        assert (await client.get("/v1/models", headers={"Host": name})).status == 200


async def test_on_an_address_that_others_reach_addresses_are_names_too(serving):
    async with serving(host="0.0.0.0", insecure=True) as client:
        assert (await client.get("/v1/models", headers={"Host": "192.168.1.5:8080"})).status == 200
        assert (await client.get("/v1/models", headers={"Host": "evil.example"})).status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)  # fmt: skip
async def test_pages_of_other_sites_are_refused(serving, headers):
    async with serving() as client:
        response = await client.post("/v1/chat/completions", headers=headers, json={})
        assert response.status == 403
        assert (await response.json())["error"]["code"] == "origin_not_allowed"
        assert "Access-Control-Allow-Origin" not in response.headers
        assert (await client.options("/v1/models", headers=headers)).status == 403


async def test_its_own_pages_and_programs_are_answered(serving):
    async with serving() as client:
        own = f"http://{client.host}:{client.port}"
        assert (await client.get("/v1/models", headers={"Origin": own, "Sec-Fetch-Site": "same-origin"})).status == 200
        assert (await client.get("/v1/models", headers={"Sec-Fetch-Site": "none"})).status == 200


async def test_an_allowed_origin_gets_cors_and_nobody_else(serving):
    page = {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}
    async with serving(allowed_origins=("https://app.example",), api_keys=KEYS) as client:
        before = await client.options("/v1/chat/completions", headers=page)
        assert before.status == 204
        assert before.headers["Access-Control-Allow-Origin"] == "https://app.example"
        refused = await client.get("/v1/models", headers=page)
        assert refused.status == 401
        assert refused.headers["Access-Control-Allow-Origin"] == "https://app.example"
        other = await client.get("/v1/models", headers={**page, "Origin": "https://app.example.evil"})
        assert other.status == 403


def test_an_address_that_others_reach_needs_a_key_or_a_word():
    for host in ("0.0.0.0", "192.168.1.5", "::", "my.box"):
        with pytest.raises(RequestError, match="--api-key-file"):
            ServerConfig(host=host)
        assert ServerConfig(host=host, insecure=True).host == host
        assert "first-key" not in repr(ServerConfig(host=host, api_keys=KEYS))
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        assert ServerConfig(host=host).is_loopback


def test_tls_needs_both_files(tmp_path):
    with pytest.raises(RequestError, match="--tls-key"):
        ServerConfig(tls_cert=tmp_path)
