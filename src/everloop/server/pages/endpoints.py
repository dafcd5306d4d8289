"""Endpoints: which models answer whom, how a switch goes, and how it is doing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute

from everloop.domain.deployments import EndpointRecord
from everloop.domain.models import ModelState
from everloop.domain.references import Reference
from everloop.domain.rollouts import Strategy
from everloop.errors import EverloopError
from everloop.monitoring.records import Health
from everloop.server.pages import lineage, rollouts
from everloop.server.pages.addresses import Address
from everloop.server.pages.monitor_plots import Days
from everloop.server.pages.rendering import Deed, Pages, Told
from everloop.workspace.provenance import Link
from everloop.workspace.workspace import Workspace

SPANS = ("90", "30", "365")
REVISIONS = 20
PREDICTIONS = 12
CANDIDATES = 50
LATEST = timedelta(hours=2)
"""How far back the newest predictions are looked for: the log of a busy endpoint is long."""


def routes(pages: Pages) -> list[BaseRoute]:
    return [
        pages.page("/endpoints", "endpoints/list.html", endpoints, active="endpoints"),
        *(
            pages.deed(
                "/endpoints/{name}", name, _here(act), "endpoints/endpoint.html", show, active="endpoints"
            )
            for name, act in (rollouts.DEEDS | {"rollout": rollouts.start}).items()
        ),
        pages.page("/endpoints/{name}", "endpoints/endpoint.html", show, active="endpoints"),
    ]


def endpoints(request: Request, workspace: Workspace) -> dict[str, Any]:
    found = workspace.serving.endpoints()
    return {
        "crumbs": [("Endpoints", None)],
        "endpoints": found,
        "health": {each.name: workspace.monitoring.health(each.name) for each in found[:50]},
        "rollouts": {each.name: rollouts.current(workspace, each.name) for each in found[:50]},
        "command": "everloop status",
    }


def show(request: Request, workspace: Workspace) -> dict[str, Any]:
    here, name = Address.of(request), request.path_params["name"]
    record = workspace.serving.endpoint(name)
    days = Days(workspace, name, int(here.choice("days", SPANS)))
    segments = workspace.serving.segments(name)
    rows_by_model: dict[str, int] = {}
    for segment in segments:
        for model, rows in segment.rows_by_model.items():
            rows_by_model[model] = rows_by_model.get(model, 0) + rows
    health: Health = workspace.monitoring.health(name)
    return {
        "crumbs": [("Endpoints", "/endpoints"), (name, None)],
        "here": here,
        "subject": record.reference,
        "record": record,
        "address": workspace.serving.address(name),
        "health": health,
        "rows_by_model": rows_by_model,
        "rollout": rollouts.latest(workspace, name),
        "possible": rollouts.possible(rollouts.current(workspace, name)),
        "candidates": candidates(workspace, record),
        "wanted": here.get("candidate"),
        "strategies": [str(each) for each in Strategy],
        "plan": workspace.rollout.plan(endpoint=name),
        "past_rollouts": rollouts.listed(workspace, name)[1:6],
        "revisions": workspace.serving.revisions(name)[:REVISIONS],
        "span": here.choice("days", SPANS),
        "spans": sorted(SPANS, key=int),
        "monitor_charts": days.monitor_charts(),
        "heat": days.heat_maps(),
        "day_charts": days.day_charts(),
        "monitors": days.monitors,
        "silent": [each.name for each in days.monitors if not days.has_readings(each.name)],
        "predictions": newest_predictions(workspace, name),
        "graph": lineage.graph(
            workspace,
            record.reference,
            [Link(arm.model, record.reference, "deployed") for arm in record.arms if arm.mode != "off"],
        ),
        "command": f"everloop health {name}",
    }


def candidates(workspace: Workspace, record: EndpointRecord) -> list[str]:
    """The versions that a rollout could bring to an endpoint, the newest first: of the models that answer there."""
    live = [arm.model for arm in record.arms if arm.mode == "live"]
    names = dict.fromkeys(Reference.parse(each).name for each in live)
    return [
        version.reference
        for name in names
        for version in workspace.registry.versions(name)[:CANDIDATES]
        if version.reference not in live and version.state is ModelState.READY
    ]


def _here(act: rollouts.EndpointDeed) -> Deed:
    def do(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> Told:
        return act(workspace, request.path_params["name"], form)

    return do


def newest_predictions(workspace: Workspace, endpoint: str) -> list[dict[str, Any]]:
    """The last predictions of an endpoint, newest first, without their features."""
    segments = workspace.serving.segments(endpoint)
    since = max(each.last for each in segments) - LATEST if segments else None
    try:
        table = workspace.serving.predictions(endpoint, since=since, columns=(), modes=["live"], settle=False)
    except EverloopError:  # a page about an endpoint stands when its log is being moved
        return []
    rows: list[dict[str, Any]] = table.slice(max(0, table.num_rows - PREDICTIONS)).to_pylist()
    return rows[::-1]
