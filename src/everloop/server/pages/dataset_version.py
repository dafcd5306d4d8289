"""One version of a dataset: what is in it, whether it passed its checks, what differs from another, who made and who reads it."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute

from everloop.client.apart import call_apart
from everloop.domain.checks import CheckReport
from everloop.domain.datasets import QUARANTINE, VersionRecord, quarantine_of, reference_of
from everloop.domain.profiles import Profile
from everloop.errors import EverloopError
from everloop.governance.identity import Permission, authorize
from everloop.server.pages import lineage, previews, profiles
from everloop.server.pages.addresses import Address
from everloop.server.pages.previews import ROWS
from everloop.server.pages.rendering import Pages, Told
from everloop.workspace.workspace import Workspace

FILES = 100
SIBLINGS = 100
REPORTS = 20
TEMPLATE = "data/version.html"


def routes(pages: Pages) -> list[BaseRoute]:
    one = "/data/{name:path}@v{version:int}"
    return [
        pages.deed(one, "profile", profile, TEMPLATE, version, active="data"),
        pages.page(one, TEMPLATE, version, active="data"),
    ]


def version(request: Request, workspace: Workspace) -> dict[str, Any]:
    here, reference = Address.of(request), _reference(request)
    record: VersionRecord = workspace.data.version(reference)
    present = record.removed is None
    siblings: list[VersionRecord] = workspace.data.log(record.name) if present else []
    reports: list[CheckReport] = workspace.data.reports(reference)
    handle = workspace.data.dataset(reference) if present else None
    first, file = here.number("row"), here.number("file")
    found = workspace.data.kept_profile(reference) if present else None
    own = record.name.endswith("/" + QUARANTINE)
    return {
        "crumbs": [("Data", "/data"), (record.name, f"/data/{record.name}"), (f"v{record.version}", None)],
        "here": here,
        "subject": reference,
        "record": record,
        "older": next((each for each in siblings if each.version < record.version), None),
        "newer": next((each for each in reversed(siblings) if each.version > record.version), None),
        "siblings": [each for each in siblings if each.version != record.version][:SIBLINGS],
        "verdict": verdict,
        "report": reports[0] if reports else None,
        "earlier": reports[1:REPORTS],
        "earlier_reports": len(reports) - 1,
        "rejected": workspace.data.newest(quarantine_of(record.name)) if present and not own else None,
        "files": handle.files()[file : file + FILES] if handle else [],
        "file": file,
        "next_files": here.but({"file": file + FILES}) + "#files"
        if handle and file + FILES < record.files
        else None,
        "preview": previews.rows(workspace, handle, first) if handle and record.rows is not None else None,
        "row": first,
        "previous_rows": here.but({"row": max(0, first - ROWS) or None}) + "#preview" if first else None,
        "next_rows": here.but({"row": first + ROWS}) + "#preview"
        if record.rows and first + ROWS < record.rows
        else None,
        "profile": found,
        **(_profiled(found, here) if found is not None else {}),
        **_compared(workspace, here, record if handle else None),
        "readers": lineage.consumers(workspace, reference, 20) if present else [],
        "graph": lineage.graph(workspace, reference),
        "command": f"everloop data show {record.name}@v{record.version}",
    }


def profile(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> Told:
    """Make the profile of a version. It may take a while and all of two cores: another process does it."""
    reference = _reference(request)
    authorize(Permission.WRITE, "data.record_profile")
    made = call_apart(workspace, Profile, "data", "profile", reference=reference)
    name = reference.partition(":")[2]
    reused = f", {made.parts_reused} of {made.parts} files were known" if made.parts_reused else ""
    return Told(f"{name} has its profile: {made.rows:,} rows, {len(made.columns):,} columns{reused}.")


def verdict(report: CheckReport | None) -> tuple[str, str] | None:
    """What came of the checks, as a word and its tone: rows that were put aside are no failure of the rows that stayed."""
    if report is None:
        return None
    if report.waived:
        return "waived", "warn"
    if report.passed:
        return "passed", "good"
    if all(each.severity != "fail" for each in report.failed):
        return "rows rejected", "warn"
    return "failed", "bad"


def _profiled(found: Profile, here: Address) -> dict[str, Any]:
    first = here.number("column", most=max(0, len(found.columns) - 1))
    more = first + profiles.PLOTTED
    return {
        "plotted": profiles.plotted(found, first),
        "column": first,
        "previous_columns": here.but({"column": max(0, first - profiles.PLOTTED) or None}) + "#columns"
        if first
        else None,
        "next_columns": here.but({"column": more}) + "#columns" if more < len(found.columns) else None,
        "missing": profiles.missing(found),
        "correlations": profiles.correlations(found.correlations),
        "strongest": profiles.strongest(found.correlations),
        "said": profiles.said,
    }


def _compared(workspace: Workspace, here: Address, record: VersionRecord | None) -> dict[str, Any]:
    """What differs from the version that the address names, with what it asks for: `against` a number or a reference, `key`."""
    against = here.get("other").strip() or here.get("against")
    context: dict[str, Any] = {
        "against": against,
        "key": here.get("key"),
        "diff": None,
        "diff_failed": None,
        "diff_command": None,
        "shifted": [],
    }
    if not against or record is None:
        return context
    other = f"{record.name}@v{int(against)}" if against.isascii() and against.isdigit() else against
    key = [name.strip() for name in here.get("key").split(",") if name.strip()]
    try:
        found = workspace.data.diff(other, record.reference, key=key)
    except EverloopError as error:
        return context | {"diff_failed": error}
    names = [each.partition(":")[2] for each in (found.first, found.second)]
    command = f"everloop data diff {' '.join(names)}" + (f" --key {','.join(key)}" if key else "")
    shifted = profiles.shifted(found.distributions) if found.distributions is not None else []
    return context | {"diff": found, "diff_command": command, "shifted": shifted}


def _reference(request: Request) -> str:
    return reference_of(request.path_params["name"], request.path_params["version"])
