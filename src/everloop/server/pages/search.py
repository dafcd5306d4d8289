"""The search at the top: a whole reference leads straight to its page; anything else finds names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from everloop.domain.ids import may_be_prefix
from everloop.domain.references import Reference
from everloop.errors import EverloopError
from everloop.server.pages.rendering import Pages, link_to
from everloop.workspace.workspace import Workspace

MOST = 20
"""Hits of one kind."""


class Hit(msgspec.Struct, frozen=True):
    """Something found: its reference, its name, and a word or two beside it."""

    reference: str
    label: str
    note: str = ""


def routes(pages: Pages) -> list[BaseRoute]:
    return [pages.page("/search", "search.html", search, active="")]


def search(request: Request, workspace: Workspace) -> dict[str, Any] | Response:
    text = request.query_params.get("q", "").strip()[:500]
    said = None
    if ":" in text:
        try:
            return RedirectResponse(link_to(_whole(workspace, Reference.parse(text))), 303)
        except EverloopError as error:
            said = error
    groups = {title: list(find(workspace, text)) for title, find in _KINDS.items()} if text else {}
    found = [hit for hits in groups.values() for hit in hits]
    if len(found) == 1:
        return RedirectResponse(link_to(found[0].reference), 303)
    return {
        "crumbs": [("Search", None)],
        "text": text,
        "said": said,
        "groups": {title: hits for title, hits in groups.items() if hits},
        "count": len(found),
        "command": f"everloop why {text}" if ":" in text else "everloop status",
    }


def _whole(workspace: Workspace, reference: Reference) -> str:
    """The reference that is meant; asks the room, so that a wrong name gets its hint instead of a missing page."""
    found: str = workspace.provenance.why(str(reference)).reference
    return found


def _versions(count: int) -> str:
    return "1 version" if count == 1 else f"{count} versions"


def _datasets(workspace: Workspace, text: str) -> Iterator[Hit]:
    for each in workspace.data.datasets():
        if text.lower() in each.name.lower():
            yield Hit(f"data:{each.name}", each.name, _versions(each.versions))


def _labels(workspace: Workspace, text: str) -> Iterator[Hit]:
    for each in workspace.labels.projects():
        if text.lower() in each.name.lower():
            yield Hit(each.reference, each.name, f"of {each.source}")


def _features(workspace: Workspace, text: str) -> Iterator[Hit]:
    for each in workspace.features.views():
        if text.lower() in each.name.lower():
            yield Hit(f"feature:{each.name}@v{each.version}", each.name, f"v{each.version}")


def _runs(workspace: Workspace, text: str) -> Iterator[Hit]:
    if may_be_prefix(text.lower()):
        try:
            run = workspace.tracking.run(text.lower())
            yield Hit(run.reference, run.name, run.status)
            return
        except EverloopError:
            pass  # it may be part of a name all the same
    if "'" in text:
        return
    pattern = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    for run in workspace.tracking.search(f"name ilike '%{pattern}%'", limit=MOST).runs:
        yield Hit(run.reference, run.name, f"{run.experiment}, {run.status}")


def _pipelines(workspace: Workspace, text: str) -> Iterator[Hit]:
    for each in workspace.pipelines.overview(recent=1):
        if text.lower() in each.pipeline.lower():
            runs = "1 run" if each.runs == 1 else f"{each.runs:,} runs"
            yield Hit(f"pipeline:{each.pipeline}", each.pipeline, f"{runs}, {each.recent[0].status}")


def _models(workspace: Workspace, text: str) -> Iterator[Hit]:
    for each in workspace.registry.models():
        if text.lower() in each.name.lower():
            aliases = ", ".join(f"{alias} is v{version}" for alias, version in sorted(each.aliases.items()))
            yield Hit(f"model:{each.name}", each.name, aliases or _versions(each.versions))


def _endpoints(workspace: Workspace, text: str) -> Iterator[Hit]:
    for each in workspace.serving.endpoints():
        if text.lower() in each.name.lower():
            yield Hit(each.reference, each.name, f"revision {each.revision}")


def _alerts(workspace: Workspace, text: str) -> Iterator[Hit]:
    for each in workspace.monitoring.alerts():
        if each.alert_id.startswith(text.lower()) or text.lower() in each.report.what.lower():
            yield Hit(f"alert:{each.alert_id}", each.report.what, str(each.state))


_KINDS: dict[str, Callable[[Workspace, str], Iterator[Hit]]] = {
    "Data": _datasets,
    "Labels": _labels,
    "Features": _features,
    "Runs": _runs,
    "Pipelines": _pipelines,
    "Models": _models,
    "Endpoints": _endpoints,
    "Alerts": _alerts,
}
