"""Signing in to a server that asks for tokens: the token is kept in a cookie that scripts cannot read."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from everloop.errors import Unauthenticated
from everloop.server.access import COOKIE
from everloop.server.pages.rendering import Pages, form_fields

DAYS = 30


def routes(pages: Pages) -> list[BaseRoute]:
    async def ask(request: Request) -> Response:
        return pages.render(request, "login.html", {"active": "", "said": ""})

    async def enter(request: Request) -> Response:
        secret = (await form_fields(request)).get("token", [""])[0].strip()
        try:
            await run_in_threadpool(pages.workspace.governance.recognise, secret)
        except Unauthenticated as error:
            return pages.render(request, "login.html", {"active": "", "said": error.message}, 401)
        answer = Response(status_code=303, headers={"Location": "/"})
        secure = request.url.scheme == "https"
        answer.set_cookie(
            COOKIE, secret, max_age=DAYS * 86400, httponly=True, samesite="strict", secure=secure
        )
        return answer

    async def leave(request: Request) -> Response:
        answer = Response(status_code=303, headers={"Location": "/login"})
        answer.delete_cookie(COOKIE)
        return answer

    return [
        Route("/login", ask, methods=["GET"]),
        Route("/login", enter, methods=["POST"]),
        Route("/logout", leave, methods=["POST"]),
    ]
