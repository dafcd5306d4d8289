"""The audit feed: what happened, newest first, by room and subject; and the walk over the chain on request."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute

from everloop.server.pages.rendering import Pages
from everloop.workspace.workspace import Workspace

PAGE = 100


def routes(pages: Pages) -> list[BaseRoute]:
    return [
        pages.page("/audit", "audit/feed.html", feed, active="audit"),
        pages.page("/audit/verify", "audit/verify.html", verify, active="audit"),
    ]


def feed(request: Request, workspace: Workspace) -> dict[str, Any]:
    asked = request.query_params
    action, subject = asked.get("action", ""), asked.get("subject", "")
    before = int(asked["before"]) if asked.get("before", "").isdigit() else None
    events = workspace.governance.log(
        before=before,
        limit=PAGE + 1,
        actions=[action] if action else [],
        subject=subject or None,
        newest_first=True,
    )
    return {
        "crumbs": [("Audit", None)],
        "events": events[:PAGE],
        "older": events[PAGE - 1].seq if len(events) > PAGE else None,
        "action": action,
        "subject_filter": subject,
    }


def verify(request: Request, workspace: Workspace) -> dict[str, Any]:
    return {"crumbs": [("Audit", "/audit"), ("Verify", None)], "report": workspace.provenance.verify()}
