"""The ASGI application: doors in a row, errors in one shape, nothing that decides anything."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from everloop.errors import EverloopError, NotFound
from everloop.governance.rooms import Room
from everloop.server.access import Doorkeeper
from everloop.server.answers import error_response, json_response
from everloop.server.api import Api
from everloop.server.door import Door
from everloop.server.feast.wire import FeastEndpoints
from everloop.server.mlflow.wire import MlflowWire
from everloop.server.objects import ObjectEndpoints
from everloop.server.pages import page_routes
from everloop.server.pages.rendering import Pages, wants_html
from everloop.workspace.workspace import Workspace

log = logging.getLogger("everloop.server")

Handler = Callable[[Request, Exception], Awaitable[Response]]


def create_app(
    workspace: Workspace, *, local: bool = True, rooms: dict[str, type[Room]] | None = None
) -> Starlette:
    """The server over a workspace. `local`: it listens on a loopback address and answers to local names only.
    `rooms`: other rooms than the workspace's own, by name."""
    keeper = Doorkeeper(workspace.governance, local=local)
    pages = Pages(workspace)
    routes: list[BaseRoute] = [
        Route("/health", _health, methods=["GET"]),
        *ObjectEndpoints(workspace).routes(),
        *Api(workspace, rooms).routes(),
        *FeastEndpoints(workspace).routes(),
        pages.assets(),
        *page_routes(pages),
    ]
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(MlflowWire, workspace=workspace, keeper=keeper),
            Middleware(Door, keeper=keeper, pages=pages),
        ],
        exception_handlers={EverloopError: _known(pages), HTTPException: _http(pages), Exception: _unknown},
    )
    app.state.workspace = workspace
    return app


async def _health(request: Request) -> Response:
    return json_response({"status": "ok"})


class WrongMethod(EverloopError):
    """An address that is asked for in another way, with POST, was opened."""

    code = "http"
    status = 405


def _answered(pages: Pages, request: Request, error: EverloopError) -> Response:
    """An error for whoever asks: a page for a person, JSON for a program."""
    return pages.failure(request, error) if wants_html(request) else error_response(error)


def _known(pages: Pages) -> Handler:
    async def handle(request: Request, error: Exception) -> Response:
        assert isinstance(error, EverloopError)
        return _answered(pages, request, error)

    return handle


def _http(pages: Pages) -> Handler:
    async def handle(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            return _answered(
                pages, request, NotFound(f"there is nothing at {request.url.path}", hint="see /openapi.json")
            )
        if error.status_code == 405:
            told = f"{request.url.path} does not answer {request.method}"
            hint = (
                "it is what a button asks for: go back to the page"
                if wants_html(request)
                else "see /openapi.json"
            )
            return _answered(pages, request, WrongMethod(told, hint=hint))
        body = {"error": {"code": "http", "message": error.detail, "hint": ""}}
        return json_response(body, error.status_code)

    return handle


async def _unknown(request: Request, error: Exception) -> Response:
    log.error("unexpected failure in %s %s", request.method, request.url.path, exc_info=error)
    body = {
        "error": {"code": "internal", "message": "the server failed; its log has the details", "hint": ""}
    }
    return json_response(body, 500)
