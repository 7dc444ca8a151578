"""/openapi.json describes what is served, and its schemas take what the server takes."""

from __future__ import annotations

import attrs

from realizar_aiohttp.app import ROUTES
from realizar_aiohttp.openapi import build_document
from realizar_aiohttp.wires.openai_chat import ChatRequest

DOCUMENT = build_document(ROUTES)
SCHEMAS = DOCUMENT["components"]["schemas"]


async def test_it_is_served_and_has_every_route(serving):
    async with serving() as client:
        found = await (await client.get("/openapi.json")).json()
    assert found == DOCUMENT
    described = {(method.upper(), path) for path, methods in found["paths"].items() for method in methods}
    assert described == {(route.method, route.path.replace("{model:.+}", "{model}")) for route in ROUTES}
    assert len(described) == len(ROUTES)


def test_every_reference_leads_somewhere():
    def references(value):
        if isinstance(value, dict):
            if "$ref" in value:
                yield value["$ref"]
            for inner in value.values():
                yield from references(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from references(inner)

    named = set(references(DOCUMENT))
    assert named == {f"#/components/schemas/{name}" for name in SCHEMAS}


def test_fields_bounds_and_requirements_are_those_of_the_class():
    schema = SCHEMAS["openai_chat.ChatRequest"]
    assert set(schema["properties"]) == {field.name for field in attrs.fields(ChatRequest)}
    assert schema["required"] == ["messages"]
    assert schema["properties"]["n"] == {
        "type": "integer", "minimum": 1, "maximum": 16, "default": 1, "description": "how many answers",
    }  # fmt: skip
    assert schema["properties"]["messages"]["items"] == {"$ref": "#/components/schemas/openai_messages.Message"}
    roles = SCHEMAS["openai_messages.Message"]["properties"]["role"]
    assert roles == {"type": "string", "enum": ["system", "developer", "user", "assistant", "tool"]}


def test_routes_without_a_key_say_so():
    assert DOCUMENT["paths"]["/health"]["get"]["security"] == [{}]
    assert {"bearer": []} in DOCUMENT["paths"]["/v1/models"]["get"]["security"]
