"""The description of all operations (OpenAPI 3.1), made from their definitions."""

from __future__ import annotations

from typing import Any

import msgspec

from everloop._version import __version__
from everloop.governance.operations import operations_of
from everloop.governance.rooms import Room


class ErrorBody(msgspec.Struct):
    code: str
    message: str
    hint: str


class ErrorAnswer(msgspec.Struct):
    """What every failure looks like."""

    error: ErrorBody


def describe(rooms: dict[str, type[Room]]) -> dict[str, Any]:
    """The OpenAPI document of these rooms."""
    listed = [(room, described) for room, kind in rooms.items() for described in operations_of(kind).values()]
    types: list[Any] = [ErrorAnswer]
    for _, described in listed:
        types += [described.request, described.response]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    error = {
        "description": "what is wrong, and what to do",
        "content": {"application/json": {"schema": schemas[0]}},
    }
    paths: dict[str, Any] = {}
    for (room, described), request, response in zip(listed, schemas[1::2], schemas[2::2], strict=True):
        summary, _, rest = described.doc.partition("\n")
        paths[f"/api/v1/{room}/{described.name}"] = {
            "post": {
                "operationId": f"{room}.{described.name}",
                "tags": [room],
                "summary": summary,
                "description": rest.strip(),
                "x-permission": str(described.permission),
                "requestBody": {"content": {"application/json": {"schema": request}}},
                "responses": {
                    "200": {"description": "done", "content": {"application/json": {"schema": response}}},
                    "4XX": error,
                    "5XX": error,
                },
            }
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Everloop", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }
