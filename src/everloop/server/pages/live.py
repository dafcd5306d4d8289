"""Pages that stay up to date: a stream that says "refresh" when the ledger got an event about what the page shows.

A stream lasts a few seconds; the browser then opens the next one and names the last event it saw. So a server that stops
waits for nobody, and nothing is missed in between.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from everloop.governance.identity import acting_as
from everloop.server.pages.rendering import Pages

LASTS = 5.0
EVERY = 1.0
AGAIN = 300
"""Seconds a stream lasts and between two looks; milliseconds until the browser opens the next stream."""


def routes(pages: Pages) -> list[BaseRoute]:
    async def stream(request: Request) -> Response:
        return StreamingResponse(
            refreshes(pages, request), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    return [Route("/live", stream, methods=["GET"])]


async def refreshes(pages: Pages, request: Request) -> AsyncIterator[str]:
    """Events of one stream. `subject` and `action` in the address say which of the ledger's events count, `after` the last one
    that the page knew when it was made: what happens before its first stream is open is not missed."""
    asked = request.query_params
    subject, action = asked.get("subject") or None, asked.get("action", "")
    log = pages.workspace.governance.log

    def newer(seen: int) -> int:
        with acting_as(request.state.actor):
            found = log(
                after=seen,
                subject=subject,
                actions=[action] if action else [],
                limit=1,
                newest_first=True,
            )
        return found[0].seq if found else seen

    last = request.headers.get("last-event-id", "") or asked.get("after", "")
    seen = int(last) if last.isdigit() else await run_in_threadpool(newer, 0)
    yield f"retry: {AGAIN}\nid: {seen}\n\n"
    for _ in range(int(LASTS / EVERY)):
        now = await run_in_threadpool(newer, seen)
        if now != seen:
            seen = now
            yield f"id: {seen}\nevent: refresh\ndata: {seen}\n\n"
        await anyio.sleep(EVERY)
    # A stream that ends without a word would not hand over its id in every browser.
    yield f"id: {seen}\nevent: pause\ndata: {seen}\n\n"
