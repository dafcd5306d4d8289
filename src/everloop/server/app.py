"""The ASGI application: doors in a row, errors in one shape, nothing that decides anything."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from everloop.errors import EverloopError, NotFound
from everloop.governance.rooms import Room
from everloop.server.access import Doorkeeper
from everloop.server.answers import error_response, json_response
from everloop.server.api import Api
from everloop.server.objects import ObjectEndpoints
from everloop.workspace.workspace import Workspace

log = logging.getLogger("everloop.server")

Next = Callable[[Request], Awaitable[Response]]


def create_app(
    workspace: Workspace, *, local: bool = True, rooms: dict[str, type[Room]] | None = None
) -> Starlette:
    """The server over a workspace. `local`: it listens on a loopback address and answers to local names only.
    `rooms`: other rooms than the workspace's own, by name."""
    keeper = Doorkeeper(workspace.governance, local=local)
    routes: list[BaseRoute] = [
        Route("/health", _health, methods=["GET"]),
        *ObjectEndpoints(workspace).routes(),
        *Api(workspace, rooms).routes(),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=_door(keeper))],
        exception_handlers={EverloopError: _known, HTTPException: _http, Exception: _unknown},
    )
    app.state.workspace = workspace
    return app


def _door(keeper: Doorkeeper) -> Callable[[Request, Next], Awaitable[Response]]:
    async def dispatch(request: Request, call_next: Next) -> Response:
        try:
            keeper.check_origin(request, request.method)
            if request.url.path != "/health":
                request.state.actor = keeper.actor(request)
        except EverloopError as error:
            return error_response(error)
        answer = await call_next(request)
        answer.headers.setdefault("X-Content-Type-Options", "nosniff")
        return answer

    return dispatch


async def _health(request: Request) -> Response:
    return json_response({"status": "ok"})


async def _known(request: Request, error: Exception) -> Response:
    assert isinstance(error, EverloopError)
    return error_response(error)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return error_response(NotFound(f"there is nothing at {request.url.path}", hint="see /openapi.json"))
    body = {"error": {"code": "http", "message": error.detail, "hint": ""}}
    return json_response(body, error.status_code)


async def _unknown(request: Request, error: Exception) -> Response:
    log.error("unexpected failure in %s %s", request.method, request.url.path, exc_info=error)
    body = {
        "error": {"code": "internal", "message": "the server failed; its log has the details", "hint": ""}
    }
    return json_response(body, 500)
