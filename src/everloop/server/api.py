"""Every operation of every room as ``POST /api/v1/<room>/<operation>``, from its one definition."""

from __future__ import annotations

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from everloop.errors import InvalidInput, NotFound, TooLarge, nearest
from everloop.governance.identity import Actor, acting_as
from everloop.governance.operations import Operation, operations_of
from everloop.governance.rooms import Room
from everloop.server.answers import json_response
from everloop.server.openapi import describe
from everloop.workspace.workspace import ROOMS, Workspace, room_class

BODY_LIMIT = 32 << 20
"""Bytes of a request to an operation. Data travels through the object endpoints, which have no such limit."""
AT_ONCE = frozenset({("features", "get"), ("features", "look_up")})
"""Questions to a store in this machine's memory, which has the answer before a thread could be asked for it."""
AT_ONCE_BYTES = 4096
"""Of the body of such a question: one about many entities would keep the others waiting."""


class Api:
    """The operations of a workspace's rooms."""

    def __init__(self, workspace: Workspace, rooms: dict[str, type[Room]] | None = None) -> None:
        self._workspace = workspace
        self.rooms = rooms if rooms is not None else {name: room_class(name) for name in ROOMS}
        self._operations = {
            (name, each): described
            for name, kind in self.rooms.items()
            for each, described in operations_of(kind).items()
        }
        self._document: dict[str, object] | None = None

    def routes(self) -> list[Route]:
        return [
            Route("/api/v1/{room}/{operation}", self.call, methods=["POST"]),
            Route("/openapi.json", self.document, methods=["GET"]),
        ]

    async def document(self, request: Request) -> Response:
        """The OpenAPI document."""
        if self._document is None:
            self._document = describe(self.rooms)
        return json_response(self._document)

    async def call(self, request: Request) -> Response:
        """Check the body against the operation's parameters, call it in the caller's name, answer its result."""
        room, name = request.path_params["room"], request.path_params["operation"]
        described = self._operations.get((room, name))
        if described is None:
            raise NotFound(f"there is no operation {room}/{name}", hint=self._hint(room, name))
        body = await _body(request)
        arguments = self._arguments(described, body)
        actor: Actor = request.state.actor
        if (room, name) in AT_ONCE and len(body) <= AT_ONCE_BYTES and not self._workspace.settings.online:
            return json_response(self._run(actor, self.rooms[room], name, arguments))
        return json_response(await run_in_threadpool(self._run, actor, self.rooms[room], name, arguments))

    def _run(self, actor: Actor, kind: type[Room], name: str, arguments: dict[str, object]) -> object:
        with acting_as(actor):
            return getattr(self._workspace.room(kind), name)(**arguments)

    def _arguments(self, described: Operation, body: bytes) -> dict[str, object]:
        try:
            request = msgspec.json.decode(body or b"{}", type=described.request)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(
                f"the body does not fit {described.name}: {error}", hint="see /openapi.json"
            ) from None
        except RecursionError:
            raise InvalidInput(
                "the body is nested too deeply", hint="send fewer levels; see /openapi.json"
            ) from None
        return {field: getattr(request, field) for field in described.request.__struct_fields__}

    def _hint(self, room: str, name: str) -> str:
        known = [f"{one}/{other}" for one, other in self._operations]
        return nearest(f"{room}/{name}", known) or "see /openapi.json"


async def _body(request: Request) -> bytes:
    """The body, refused as soon as it is known to be too long."""
    parts, length = [], 0
    async for part in request.stream():
        length += len(part)
        if length > BODY_LIMIT:
            raise TooLarge(
                f"the body is longer than {BODY_LIMIT >> 20} MB", hint="send bytes to /api/v1/objects"
            )
        parts.append(part)
    return b"".join(parts)
