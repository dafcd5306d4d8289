"""The door for MLflow's clients: an ASGI application before the others, which answers what is MLflow's and passes on the rest.

It stands before the doors for people and for our own client, since a script that logs in a loop comes in here: nothing that a
page needs is done for it.
"""

import asyncio
import logging
import re
from concurrent.futures import ThreadPoolExecutor

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from everloop.errors import EverloopError, Unauthenticated, Unavailable, nearest
from everloop.governance.identity import acting_as
from everloop.server.access import Doorkeeper, Recognised
from everloop.server.mlflow import (
    about,
    artifacts,
    assessments,
    experiments,
    histories,
    inputs,
    logged_models,
    model_versions,
    otlp,
    recording,
    registered_models,
    runs,
    searching,
    traces,
    traces_of_mlflow2,
    uploads,
)
from everloop.server.mlflow.codec import body_of, decode_body, decode_query, encode
from everloop.server.mlflow.endpoints import Endpoint, Found, Table
from everloop.server.mlflow.faults import (
    ENDPOINT_NOT_FOUND,
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    WireError,
    as_wire_error,
)
from everloop.workspace.workspace import Workspace

log = logging.getLogger("everloop.server.mlflow")

ENDPOINTS = [
    about.endpoints,
    about.version_endpoints,
    experiments.endpoints,
    runs.endpoints,
    recording.endpoints,
    histories.endpoints,
    inputs.endpoints,
    searching.endpoints,
    artifacts.endpoints,
    uploads.endpoints,
    artifacts.listing_endpoints,
    logged_models.endpoints,
    registered_models.endpoints,
    model_versions.endpoints,
    traces.endpoints,
    traces.older_endpoints,
    traces_of_mlflow2.endpoints,
    assessments.endpoints,
    otlp.endpoints,
]

BODY_LIMIT = 64 << 20
"""Bytes of a message. Files travel through the artifact endpoints, which have no such limit."""

AT_ONCE = 40
"""Requests that are worked on at the same time; each waits for the ledger most of that time."""

_ADDRESS = re.compile(r"/(?:ajax-)?api/([23]\.0)/(?:preview/)?(mlflow(?:-artifacts)?/.*)", re.DOTALL)
"""MLflow's own pages say /ajax-api, clients before 2.0 /preview/mlflow. What stands before is whatever prefix the tracking URI
has: one server may be reached at several."""


def address(path: str) -> str | None:
    """The endpoint that a path names, without any prefix; None where it is not MLflow's.

    >>> address("/api/2.0/mlflow/runs/get"), address("/team/a/ajax-api/2.0/mlflow/runs/get"), address("/api/v1/tracking/run")
    ('2.0/mlflow/runs/get', '2.0/mlflow/runs/get', None)
    """
    if path in ("/version", "/v1/traces"):
        return path[1:]
    found = _ADDRESS.search(path)
    return f"{found[1]}/{found[2]}" if found is not None else None


class MlflowWire:
    """Answers MLflow's requests from the rooms of `workspace`."""

    def __init__(self, app: ASGIApp, workspace: Workspace, keeper: Doorkeeper) -> None:
        self._app, self._workspace, self._keeper = app, workspace, keeper
        self._actors = Recognised(keeper.actor)
        self._table = Table(ENDPOINTS)
        # Threads of its own: Starlette's cost a sixth more of processor time for a call of log_metric.
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="mlflow")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        named = address(scope["path"]) if scope["type"] == "http" else None
        if named is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive, send)
        try:
            response = await self._answer(request, named)
        except WireError as error:
            response = error_response(error)
        except ClientDisconnect:
            return  # nobody is left to be answered
        except Exception as error:
            log.error("unexpected failure in %s %s", request.method, request.url.path, exc_info=error)
            response = error_response(WireError(INTERNAL_ERROR, "the server failed; its log has the details"))
        await response(scope, receive, send)

    async def _answer(self, request: Request, named: str) -> Response:
        method = request.method
        found = self._table.find(named)
        if found is None:
            hint = nearest(named, self._table.addresses())
            raise WireError(ENDPOINT_NOT_FOUND, f"There is nothing at {request.url.path}. {hint}".strip())
        endpoint = found.methods.get(method) or (found.methods.get("GET") if method == "HEAD" else None)
        if endpoint is None:
            allowed = ", ".join(sorted(found.methods))
            raise WireError(ENDPOINT_NOT_FOUND, f"{request.url.path} takes {allowed}, not {method}", 405)
        try:
            self._keeper.check_origin(request, method)
            run = asyncio.get_running_loop().run_in_executor
            if endpoint.stream is not None:
                request.state.actor = await run(self._threads, self._actors.of, request)
                return await endpoint.stream(self._workspace, request, found.parameters)
            body = await _body(request)
            return await run(self._threads, self._run, request, endpoint, found, body)
        except EverloopError as error:
            raise as_wire_error(error, endpoint.conflict) from error

    def _run(self, request: Request, endpoint: Endpoint, found: Found, body: bytes) -> Response:
        """In a thread: recognise who asks, read the message, do it, write the answer."""
        actor = self._actors.of(request)
        if request.method in ("GET", "HEAD"):
            asked = decode_query(request.scope["query_string"], endpoint.asked, found.parameters)
        else:
            asked = decode_body(body, endpoint.asked, found.parameters)
        assert endpoint.answer is not None
        with acting_as(actor):
            answered = endpoint.answer(self._workspace, asked)
        return json_response(b"{}" if answered is None else encode(answered))


def json_response(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer that no browser takes for a page."""
    return Response(
        body, status, {"X-Content-Type-Options": "nosniff"} | (headers or {}), media_type="application/json"
    )


def error_response(error: WireError) -> Response:
    """An error as every client of MLflow expects it."""
    headers = _HEADERS.get(error.status)
    return json_response(encode({"error_code": error.code, "message": error.message}), error.status, headers)


_HEADERS = {
    Unauthenticated.status: {"WWW-Authenticate": 'Basic realm="everloop", Bearer'},
    Unavailable.status: {"Retry-After": "1"},  # clients wait ever longer otherwise, minutes in all
}


async def _body(request: Request) -> bytes:
    """The JSON of a request."""
    if request.method in ("GET", "HEAD"):
        return b""
    body = await body_of(request, BODY_LIMIT)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and kind != "application/json":
        raise WireError(INVALID_PARAMETER_VALUE, "Bad Request. Content-Type must be 'application/json'.")
    return body
