"""GET /openapi.json: every route, from the same descriptions that serve it."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from aiohttp import web

from realizar_aiohttp.call import Call
from realizar_aiohttp.health import PUBLIC
from realizar_aiohttp.routes import Route
from realizar_aiohttp.schema import component_name, components

_STATUSES = {
    "400": "The request does not fit; `param` has the path of the field", "401": "A key is needed",
    "403": "The name, origin or action is not allowed", "404": "No such model", "408": "Not done in its time",
    "413": "The body is too large", "429": "More than may be; come again after `Retry-After`",
    "501": "The model or server has no use for this", "503": "Loading, ending, or failed; try again",
}  # fmt: skip

_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {name: {"type": ["string", "null"]} for name in ("message", "type", "param", "code", "hint")},
        }
    },
}


def openapi_route(routes: Sequence[Route]) -> Route:
    """The route of the document that describes `routes` and itself."""

    async def document_of(call: Call[None]) -> web.Response:
        return call.json(document())

    @functools.cache
    def document() -> dict[str, Any]:
        return build_document([*routes, route])

    route = Route("GET", "/openapi.json", document_of, None, "This document")
    return route


def build_document(routes: Sequence[Route]) -> dict[str, Any]:
    """An OpenAPI 3.1 document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = re.sub(r"{(\w+):[^}]*}", r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, path)
    kinds = [route.body for route in routes if route.body is not None]
    return {
        "openapi": "3.1.0",
        "info": {"title": "realizar", "version": version("realizar-core")},
        "paths": paths,
        "components": {
            "schemas": {**components(kinds), "Error": _ERROR},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _operation(route: Route, path: str) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    refusals = {status: {"description": text, "content": error} for status, text in _STATUSES.items()}
    operation: dict[str, Any] = {
        "summary": route.summary,
        "description": route.handler.__doc__ or route.summary,
        "responses": {"200": {"description": "The answer"}, **refusals},
        "security": [{}] if route.path in PUBLIC else [{}, {"bearer": []}, {"key": []}],
    }
    names = re.findall(r"{(\w+)}", path)
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if route.body is not None:
        schema = {"$ref": f"#/components/schemas/{component_name(route.body)}"}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation
