"""Datasets and their versions: what is in them, whether it passed its checks, what differs, who made and who reads them."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute

from everloop.data.dataset import Dataset
from everloop.domain.checks import CheckReport
from everloop.domain.datasets import QUARANTINE, VersionRecord, quarantine_of, reference_of
from everloop.errors import EverloopError
from everloop.server.pages import lineage, plots
from everloop.server.pages.addresses import Address
from everloop.server.pages.rendering import Pages
from everloop.workspace.workspace import Workspace

ROWS = 50
FILES = 100
VERSIONS = 100
DATASETS = 200


def routes(pages: Pages) -> list[BaseRoute]:
    return [
        pages.page("/data", "data/list.html", datasets, active="data"),
        pages.page("/data/{name:path}@v{version:int}", "data/version.html", version, active="data"),
        pages.page("/data/{name:path}", "data/dataset.html", dataset, active="data"),
    ]


def datasets(request: Request, workspace: Workspace) -> dict[str, Any]:
    here = Address.of(request)
    wanted = here.get("name").strip().lower()
    found = [each for each in workspace.data.datasets() if wanted in each.name.lower()]
    first = here.number("from")
    return {
        "crumbs": [("Data", None)],
        "here": here,
        "name": here.get("name"),
        "datasets": found[first : first + DATASETS],
        "first": first,
        "total": len(found),
        "next": here.but({"from": first + DATASETS}) if first + DATASETS < len(found) else None,
        "quarantine": "/" + QUARANTINE,
        "command": "everloop data list",
    }


def dataset(request: Request, workspace: Workspace) -> dict[str, Any]:
    here = Address.of(request)
    name = request.path_params["name"]
    versions: list[VersionRecord] = workspace.data.log(name)
    latest, name = versions[0], versions[0].name
    verdicts: dict[str, CheckReport] = {}
    for report in workspace.data.reports(f"data:{name}"):
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
        "rejected": rejected,
        "readers": lineage.consumers(workspace, f"data:{name}", 20),
        "growth": growth(versions),
        "stored": sum(each.new_bytes for each in versions),
        "command": f"everloop data log {name}",
    }


def version(request: Request, workspace: Workspace) -> dict[str, Any]:
    here = Address.of(request)
    reference = reference_of(request.path_params["name"], request.path_params["version"])
    record: VersionRecord = workspace.data.version(reference)
    siblings: list[VersionRecord] = workspace.data.log(record.name) if record.removed is None else []
    reports: list[CheckReport] = workspace.data.reports(reference)
    handle = workspace.data.dataset(reference) if record.removed is None else None
    first, file = here.number("row"), here.number("file")
    against = here.get("against")
    context = {
        "crumbs": [("Data", "/data"), (record.name, f"/data/{record.name}"), (f"v{record.version}", None)],
        "here": here,
        "subject": reference,
        "record": record,
        "older": next((each for each in siblings if each.version < record.version), None),
        "newer": next((each for each in reversed(siblings) if each.version > record.version), None),
        "siblings": [each for each in siblings if each.version != record.version][:VERSIONS],
        "verdict": verdict,
        "report": reports[0] if reports else None,
        "earlier_reports": len(reports) - 1,
        "rejected": None,
        "files": handle.files()[file : file + FILES] if handle else [],
        "file": file,
        "next_files": here.but({"file": file + FILES}) + "#files"
        if handle and file + FILES < record.files
        else None,
        "preview": rows(handle, first) if handle and record.rows is not None else None,
        "row": first,
        "previous_rows": here.but({"row": max(0, first - ROWS) or None}) + "#preview" if first else None,
        "next_rows": here.but({"row": first + ROWS}) + "#preview"
        if record.rows and first + ROWS < record.rows
        else None,
        "against": against,
        "diff": None,
        "diff_failed": None,
        "readers": lineage.consumers(workspace, reference, 20) if record.removed is None else [],
        "graph": lineage.graph(workspace, reference),
        "command": f"everloop data show {record.name}@v{record.version}",
    }
    if against and handle:
        try:
            other = f"{record.name}@v{int(against)}" if against.isdigit() else against
            context["diff"] = workspace.data.diff(other, reference)
        except EverloopError as error:
            context["diff_failed"] = error
    if record.removed is None and not record.name.endswith("/" + QUARANTINE):
        context["rejected"] = workspace.data.newest(quarantine_of(record.name))
    return context


def rows(dataset: Dataset, first: int) -> list[list[Any]]:
    """Some rows of a table from row `first` on. Files before it are skipped by their row counts, unread."""
    found: list[list[Any]] = []
    skip = first
    for fragment in dataset.scan().get_fragments():
        count = fragment.count_rows()
        if skip >= count:
            skip -= count
            continue
        for batch in fragment.to_batches(batch_size=4096):
            if skip >= batch.num_rows:
                skip -= batch.num_rows
                continue
            part = batch.slice(skip, ROWS - len(found))
            found += [list(row.values()) for row in part.to_pylist()]
            skip = 0
            if len(found) >= ROWS:
                return found
    return found


def verdict(report: CheckReport | None) -> tuple[str, str] | None:
    """What came of the checks, as a word and its tone: rows that were put aside are no failure of the rows that stayed."""
    if report is None:
        return None
    if report.passed:
        return "passed", "good"
    if all(each.severity != "fail" for each in report.failed):
        return "rows rejected", "warn"
    return "failed", "bad"


def growth(versions: list[VersionRecord]) -> plots.Spec | None:
    """Rows by version, where there are enough versions to see something."""
    points = [[f"v{each.version}", each.rows] for each in reversed(versions) if each.rows is not None][-400:]
    if len(points) < 3:
        return None
    series = [{"name": "rows", "points": points}]
    x = {"name": "version", "type": "category", "categories": [place for place, _ in points]}
    return plots.line("rows", series, x=x, y={"name": "rows", "zero": True})
