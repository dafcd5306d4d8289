"""Feature views: what they compute, from which rows, as known when; what is at hand for serving; and who uses them."""

from __future__ import annotations

import shlex
from datetime import datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from everloop.domain.featureviews import OnDemandRecord, ViewRecord
from everloop.domain.featureviews.changes import FeatureStatistics
from everloop.domain.online import FeatureListRecord, OnlineView
from everloop.errors import EverloopError
from everloop.server.pages import lineage, parity
from everloop.server.pages.rendering import Pages, link_to
from everloop.workspace.feature_users import impact, unused
from everloop.workspace.workspace import Workspace

VERSIONS = 50
FILLINGS = 20
"""Materialisations that a page lists."""
REPORTS = 20


class Online(msgspec.Struct, frozen=True):
    """What the online store has, by view version. failed: why it cannot be asked."""

    views: dict[str, OnlineView]
    failed: EverloopError | None = None


class Filling(msgspec.Struct, frozen=True):
    """One materialisation, as its event tells it."""

    time: datetime
    user: str
    until: datetime
    entities: int
    written: int | None
    removed: int | None
    sources: dict[str, str]


class VersionRow(msgspec.Struct, frozen=True):
    """A version of a view, and whether it is at hand for serving."""

    record: ViewRecord | OnDemandRecord
    online: OnlineView | None


def routes(pages: Pages) -> list[BaseRoute]:
    return [
        pages.page("/parity/{report}", "features/parity.html", parity.report, active="features"),
        pages.page("/features", "features/list.html", views, active="features"),
        pages.page("/features/{name:path}@v{version:int}", "features/view.html", view, active="features"),
        pages.page("/features/{name:path}", "features/view.html", newest, active="features"),
    ]


def feature_reference(text: str) -> str:
    """The view that a model says its inputs come from, as a reference.

    >>> feature_reference("weather@v1:temp"), feature_reference("feature:weather"), feature_reference("weather")
    ('feature:weather@v1', 'feature:weather', 'feature:weather')
    """
    return "feature:" + text.removeprefix("feature:").partition(":")[0]


def views(request: Request, workspace: Workspace) -> dict[str, Any]:
    room = workspace.features
    return {
        "crumbs": [("Features", None)],
        "views": room.views(),
        "datasets": datasets(workspace),
        "on_demand": room.on_demand_views(),
        "lists": room.feature_lists(),
        "unused": unused(workspace),
        "kept": {each.reference: each for each in room.materialized()},
        "online": online(workspace),
        "now": workspace.clock(),
        "command": "everloop features list",
    }


def newest(request: Request, workspace: Workspace) -> Response:
    """A name without a version means the newest."""
    return RedirectResponse(link_to(workspace.features.recorded(request.path_params["name"]).reference), 303)


def view(request: Request, workspace: Workspace) -> dict[str, Any]:
    name, version = request.path_params["name"], request.path_params["version"]
    record = workspace.features.recorded(f"{name}@v{version}")
    latest = workspace.features.recorded(name)
    at_hand = online(workspace)
    return {
        "crumbs": [
            ("Features", "/features"),
            (record.name, f"/features/{record.name}"),
            (f"v{version}", None),
        ],
        "subject": record.reference,
        "record": record,
        "view": record.view,
        "datasets": datasets(workspace),
        "on_demand": isinstance(record, OnDemandRecord),
        "latest": latest,
        "versions": versions_of(workspace, latest, at_hand),
        "online": at_hand,
        "stored": at_hand.views.get(record.reference),
        "fillings": materializations(workspace, record.reference),
        "statistics": statistics(workspace, record),
        "reports": workspace.features.parity_reports(record.reference, limit=REPORTS),
        "lists": lists_with(workspace, record.reference),
        "now": workspace.clock(),
        "users": impact(workspace, f"{record.name}@v{version}"),
        "graph": lineage.graph(workspace, record.reference),
        "command": f"everloop why {shlex.quote(record.reference)}",
    }


def datasets(workspace: Workspace) -> set[str]:
    """The datasets there are: a view may be declared before its data come."""
    return {each.name for each in workspace.data.datasets()}


def statistics(workspace: Workspace, record: ViewRecord | OnDemandRecord) -> FeatureStatistics | None:
    """What was last said of the values of a stored view."""
    if isinstance(record, OnDemandRecord):
        return None
    return next(iter(workspace.features.statistics(record.reference)), None)


def lists_with(workspace: Workspace, reference: str) -> list[FeatureListRecord]:
    """The lists that name features of a view version."""
    return [
        each
        for each in workspace.features.feature_lists()
        if reference in {feature_reference(text) for text in each.features}
    ]


def online(workspace: Workspace) -> Online:
    """What is at hand for serving. A store that is away is a fact for the page, not the end of it."""
    try:
        return Online({each.reference: each for each in workspace.features.online_views()})
    except EverloopError as error:
        return Online({}, error)


def materializations(workspace: Workspace, reference: str) -> list[Filling]:
    """The last materialisations of a view version, newest first."""
    events = workspace.governance.log(
        subject=reference, actions=["features.materialized"], newest_first=True, limit=FILLINGS
    )
    return [
        Filling(
            time=each.time,
            user=each.actor,
            until=datetime.fromisoformat(each.payload["until"]),
            entities=each.payload["entities"],
            written=each.payload.get("written"),
            removed=each.payload.get("removed"),
            sources=each.payload["sources"],
        )
        for each in events
    ]


def versions_of(
    workspace: Workspace, latest: ViewRecord | OnDemandRecord, at_hand: Online
) -> list[VersionRow]:
    """All versions of a view, newest first."""
    numbers = range(latest.version, max(latest.version - VERSIONS, 0), -1)
    records = [workspace.features.recorded(f"{latest.name}@v{number}") for number in numbers]
    return [VersionRow(each, at_hand.views.get(each.reference)) for each in records]
