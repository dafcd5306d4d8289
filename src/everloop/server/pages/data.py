"""Datasets: all of them at a glance, and the versions of one."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute

from everloop.domain.checks import CheckReport
from everloop.domain.datasets import QUARANTINE, VersionRecord, quarantine_of
from everloop.server.pages import contracts, dataset_version, lineage, plots
from everloop.server.pages.addresses import Address
from everloop.server.pages.dataset_version import verdict
from everloop.server.pages.rendering import Pages
from everloop.workspace.workspace import Workspace

VERSIONS = 100
DATASETS = 200


def routes(pages: Pages) -> list[BaseRoute]:
    return [
        pages.page("/data", "data/list.html", datasets, active="data"),
        *dataset_version.routes(pages),
        pages.page("/data/{name:path}", "data/dataset.html", dataset, active="data"),
    ]


def datasets(request: Request, workspace: Workspace) -> dict[str, Any]:
    here = Address.of(request)
    wanted = here.get("name").strip().lower()
    found = [each for each in workspace.data.overview() if wanted in each.name.lower()]
    first = here.number("from")
    return {
        "crumbs": [("Data", None)],
        "here": here,
        "name": here.get("name"),
        "datasets": found[first : first + DATASETS],
        "first": first,
        "total": len(found),
        "next": here.but({"from": first + DATASETS}) if first + DATASETS < len(found) else None,
        "previous": here.but({"from": max(0, first - DATASETS) or None}) if first else None,
        "quarantine": "/" + QUARANTINE,
        "quarantine_of": quarantine_of,
        "verdict": verdict,
        "command": "everloop data list",
    }


def dataset(request: Request, workspace: Workspace) -> dict[str, Any]:
    here = Address.of(request)
    name = request.path_params["name"]
    versions: list[VersionRecord] = workspace.data.log(name)
    latest, name = versions[0], versions[0].name
    verdicts: dict[str, CheckReport] = {}
    reports: list[CheckReport] = workspace.data.reports(f"data:{name}")
    for report in reports:
        verdicts.setdefault(report.reference, report)
    first = here.number("from")
    rejected = workspace.data.newest(quarantine_of(name)) if not name.endswith("/" + QUARANTINE) else None
    return {
        "crumbs": [("Data", "/data"), (name, None)],
        "here": here,
        "subject": f"data:{name}",
        "name": name,
        "latest": latest,
        "versions": versions[first : first + VERSIONS],
        "count": len(versions),
        "first": first,
        "next": here.but({"from": first + VERSIONS}) if first + VERSIONS < len(versions) else None,
        "verdicts": verdicts,
        "verdict": verdict,
        "outcomes": contracts.outcomes(workspace, name, reports),
        "waivers": contracts.waivers(reports),
        "rejected": rejected,
        "readers": lineage.consumers(workspace, f"data:{name}", 20),
        "growth": growth(versions),
        "stored": sum(each.new_bytes for each in versions),
        "command": f"everloop data log {name}",
    }


def growth(versions: list[VersionRecord]) -> plots.Spec | None:
    """Rows by version, where there are enough versions to see something."""
    points = [[f"v{each.version}", each.rows] for each in reversed(versions) if each.rows is not None][-400:]
    if len(points) < 3:
        return None
    series = [{"name": "rows", "points": points}]
    x = {"name": "version", "type": "category", "categories": [place for place, _ in points]}
    return plots.line("rows", series, x=x, y={"name": "rows", "zero": True})
