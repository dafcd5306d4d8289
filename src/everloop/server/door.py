"""The door of the server: who asks, and from where, before anything else of a request is looked at."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from everloop.errors import EverloopError, Unauthenticated
from everloop.server.access import Doorkeeper, Recognised
from everloop.server.answers import error_response
from everloop.server.pages.rendering import Pages, wants_html

OPEN = ("/health", "/login", "/logout", "/assets/")
"""What may be seen without being recognised."""
HOT = frozenset({"/api/v1/features/get", "/api/v1/features/look_up", "/get-online-features"})
"""What a model asks for with every prediction: to ask the ledger for the token would cost more than the answer."""


class Door:
    """Lets a request through in its actor's name, or answers why not.

    Written against ASGI itself: Starlette's base for middleware starts a task and two streams for every request, which costs as
    much as all the rest.
    """

    def __init__(self, app: ASGIApp, *, keeper: Doorkeeper, pages: Pages) -> None:
        self._app, self._keeper, self._pages = app, keeper, pages
        self._recognised = Recognised(keeper.actor)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, path = Request(scope, receive), scope["path"]
        try:
            self._keeper.check_origin(request, request.method)
            if path in HOT:
                request.state.actor = self._recognised.of(request)
            elif not path.startswith(OPEN):
                request.state.actor = self._keeper.actor(request)
        except EverloopError as error:
            await self._refusal(request, error)(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).setdefault("X-Content-Type-Options", "nosniff")
            await send(message)

        await self._app(scope, receive, sent)

    def _refusal(self, request: Request, error: EverloopError) -> Response:
        """An error for whoever asks: a page for a person, JSON for a program."""
        if not wants_html(request):
            return error_response(error)
        if isinstance(error, Unauthenticated):
            return RedirectResponse("/login", 303)
        return self._pages.failure(request, error)
