"""Feature views: what they compute, from which rows, as known when; and who uses them."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from everloop.domain.featureviews import ViewRecord
from everloop.server.pages import lineage
from everloop.server.pages.rendering import Pages, link_to
from everloop.workspace.workspace import Workspace


def routes(pages: Pages) -> list[BaseRoute]:
    return [
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
    found: list[ViewRecord] = workspace.features.views()
    kept = {each.reference: each for each in workspace.features.materialized()}
    return {
        "crumbs": [("Features", None)],
        "views": found,
        "kept": kept,
        "command": "everloop features list",
    }


def newest(request: Request, workspace: Workspace) -> Response:
    """A name without a version means the newest."""
    return RedirectResponse(link_to(workspace.features.view(request.path_params["name"]).reference), 303)


def view(request: Request, workspace: Workspace) -> dict[str, Any]:
    name, version = request.path_params["name"], request.path_params["version"]
    record: ViewRecord = workspace.features.view(f"{name}@v{version}")
    latest: ViewRecord = workspace.features.view(name)
    models = [
        each
        for model in workspace.registry.models()
        for each in workspace.registry.versions(model.name)[:20]
        if {record.reference, f"feature:{record.name}"}
        & {feature_reference(text) for text in each.model.features}
    ]
    return {
        "crumbs": [
            ("Features", "/features"),
            (record.name, f"/features/{record.name}"),
            (f"v{version}", None),
        ],
        "subject": record.reference,
        "record": record,
        "view": record.view,
        "latest": latest,
        "models": models[:20],
        "graph": lineage.graph(workspace, record.reference),
        "kept": next(
            (each for each in workspace.features.materialized() if each.reference == record.reference), None
        ),
        "command": f"everloop why feature:{record.name}@v{version}",
    }
