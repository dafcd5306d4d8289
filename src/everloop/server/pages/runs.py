"""The table of runs: filter, columns, sorting, groups, nesting, selection; what is done to picked rows; the table as CSV.

The page holds the first rows. Its script asks for the order of all runs that match (`outline`) and then for the rows that come
into sight (`window`), so that ten thousand runs scroll like ten.
"""

from __future__ import annotations

import io
import shlex
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from everloop.domain.listing import Excerpt, Outline
from everloop.domain.runs import STATUSES, RunRecord
from everloop.domain.views import RunView
from everloop.errors import InvalidInput, NotFound
from everloop.governance.identity import Permission, current_actor, permits
from everloop.server.pages.addresses import Address
from everloop.server.pages.experiments import offered
from everloop.server.pages.rendering import Pages
from everloop.server.pages.run_columns import (
    RunColumn,
    chosen_columns,
    head_groups,
    known_columns,
    sort_link,
    sorted_by,
    usual_columns,
)
from everloop.tracking.tracking import State
from everloop.workspace.workspace import Workspace

PAGE = 50
"""Rows that the page brings along. Its script asks for the others; without scripts they are turned page by page."""
SAMPLED = 25
"""The newest runs of a page decide which columns are shown until someone chooses."""
MOST_LISTED = 100_000
MOST_IN_WINDOW = 200
CSV_PAGE = 1_000
STATES: tuple[State, ...] = ("active", "deleted", "all")
MOMENTARY = ("page", "picked", "deleted", "restored", "purged")
"""Parts of the address that say what is looked at now, not how the table is made."""

VIEWED = ("where", "experiment", "status", "state", "column", "sort", "group", "nest")
"""Parts of the address that a saved view is about."""

GROUPABLE = {
    "experiment": "Experiment",
    "status": "State",
    "user": "User",
    "source": "Source",
    "data": "Data read",
}


def routes(pages: Pages) -> list[BaseRoute]:
    return [
        pages.page("/runs", "runs/table.html", table, active="runs"),
        pages.file("/runs/outline", outline),
        pages.page("/runs/window", "runs/rows.html", window, active="runs"),
        pages.file("/runs/keys", keys),
        pages.file("/runs.csv", as_csv),
        pages.action("/runs/delete", delete),
        pages.action("/runs/restore", restore),
        pages.action("/runs/purge", purge),
    ]


class Wanted(msgspec.Struct, frozen=True):
    """Which runs an address asks for, and in what order."""

    where: str
    experiment: list[str]
    state: State
    order_by: list[str]
    group_by: str
    nested: bool

    @classmethod
    def of(cls, here: Address) -> Wanted:
        where, status = here.get("where").strip(), here.get("status")
        if status in STATUSES:
            where = f"({where}) and status = '{status}'" if where else f"status = '{status}'"
        return cls(
            where=where,
            experiment=[here.get("experiment")] if here.get("experiment") else [],
            state=next((each for each in STATES if each == here.get("state")), STATES[0]),
            order_by=[here.get("sort")] if here.get("sort") else [],
            group_by=here.get("group"),
            nested=here.get("nest") == "1",
        )

    def outline(self, workspace: Workspace, limit: int, spreads: Sequence[RunColumn] = ()) -> Outline:
        """The runs in order."""
        return workspace.tracking.outline(
            self.where,
            self.experiment,
            self.state,
            self.order_by,
            self.group_by,
            self.nested,
            [column.query for column in spreads] if self.group_by else [],
            limit,
        )


def table(request: Request, workspace: Workspace) -> dict[str, Any]:
    here = Address.of(request)
    wanted, said, status = Wanted.of(here), None, 200
    page, following, total = here.get("page"), None, 0
    ids: list[str] = []
    sample: list[RunRecord] = []
    try:
        answer = workspace.tracking.search(
            wanted.where, wanted.experiment, wanted.state, wanted.order_by, PAGE, page, count=True
        )
        sample, following, total = answer.runs, answer.next_page, answer.total or 0
        ids = [run.run_id for run in sample]
        if wanted.group_by or wanted.nested:  # then the first rows are known only when all are
            ids = wanted.outline(workspace, MOST_LISTED).run_ids[:PAGE]
    except (InvalidInput, NotFound) as error:
        said, status = error, error.status
    known = known_columns(sample[:SAMPLED])
    columns = chosen_columns(here.all("column"), known) or usual_columns(known, sample[:SAMPLED])
    rows = with_cells(workspace, ids, columns) if ids else []
    experiments = offered(workspace, here.get("experiment"))
    where, experiment = here.get("where").strip(), here.get("experiment")
    return {
        "http_status": status,
        "crumbs": [("Runs", None)],
        "here": here,
        "where": where,
        "experiment": experiment,
        "experiments": experiments.experiments,
        "older_experiments": experiments.has_more,
        "state": wanted.state,
        "status": here.get("status"),
        "statuses": STATUSES,
        "group": wanted.group_by,
        "groupable": groupable(known, wanted.group_by),
        "nested": wanted.nested,
        "said": said,
        "caret": caret(said),
        "rows": rows,
        "columns": columns,
        "spans": head_groups([column for column in columns if column.id != "user"]),
        "known": known + [column for column in columns if column.id not in {each.id for each in known}],
        "total": total,
        "later": bool(page),
        "next": here.but({"page": following, "picked": None}) if following else None,
        "sorted_by": sorted_by(here.get("sort")),
        "sort_link": lambda column: sort_link(here, column),
        "outline_address": here.but(dict.fromkeys(MOMENTARY), "/runs/outline"),
        "window_address": window_address(columns),
        "numeric": numeric,
        "command": list_command(wanted, here.get("sort")),
        "anything": bool(ids) or experiments.anything or wanted.state != "active",
        "deleted": [each for each in here.get("deleted").split(",") if each],
        "restored": here.number("restored"),
        "purged": here.number("purged"),
        "may_purge": permits(current_actor().role, Permission.ADMIN),
        "momentary": MOMENTARY,
        "saved": (saved := workspace.tracking.views()),
        "view": view_of(here, saved),
        "view_address": view_address,
    }


def outline(request: Request, workspace: Workspace) -> Response:
    """The order of all rows, for the table's script: identifiers, depths, groups."""
    here = Address.of(request)
    metrics = [column for column in chosen_columns(here.all("column")) if column.group == "metric"]
    found = Wanted.of(here).outline(workspace, MOST_LISTED, metrics)
    return Response(
        msgspec.json.encode(found),
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def window(request: Request, workspace: Workspace) -> dict[str, Any]:
    """Rows alone: those whose identifiers are asked for."""
    here = Address.of(request)
    wanted = [each for each in here.get("ids").split(",") if each][:MOST_IN_WINDOW]
    numbers = [msgspec.structs.replace(each, numeric=True) for each in chosen_columns(here.all("numeric"))]
    columns = chosen_columns(here.all("column"), numbers)
    return {
        "rows": with_cells(workspace, wanted, columns),
        "columns": columns,
        "numeric": numeric,
    }


def keys(request: Request, workspace: Workspace) -> Response:
    """Columns that could be chosen, for the chooser's search: every key that runs have."""
    here = Address.of(request)
    found = workspace.tracking.run_keys(
        here.get("containing"), [here.get("experiment")] if here.get("experiment") else [], limit=50
    )
    return Response(msgspec.json.encode(found), media_type="application/json")


def as_csv(request: Request, workspace: Workspace) -> Response:
    """All runs that match the address's filter, with the columns chosen there, or all columns."""
    import pyarrow as pa
    import pyarrow.csv

    here = Address.of(request)
    wanted = Wanted.of(here)
    order = msgspec.structs.replace(wanted, group_by="", nested=False).outline(workspace, MOST_LISTED)
    columns = chosen_columns(here.all("column"))
    if not here.all("column"):
        every = workspace.tracking.run_keys(experiment=wanted.experiment, limit=10_000)
        columns = chosen_columns(
            ["experiment", "user", "source", "version"]
            + [f"params.{each.key}" for each in every.params]
            + [f"metrics.{each.key}" for each in every.metrics]
            + [f"tags.{each.key}" for each in every.tags],
            most=len(every.params) + len(every.metrics) + len(every.tags) + 4,
        )
    found: list[tuple[Excerpt, list[Any]]] = []
    for start in range(0, len(order.run_ids), CSV_PAGE):
        found += with_cells(workspace, order.run_ids[start : start + CSV_PAGE], columns)
    names = ["run_id", "start_time", "name", "status", *(column.id for column in columns)]
    arrays = [
        pa.array([run.run_id for run, _ in found], pa.string()),
        pa.array([run.start_time for run, _ in found], pa.timestamp("us", "UTC")),
        pa.array([run.name for run, _ in found], pa.string()),
        pa.array([run.status for run, _ in found], pa.string()),
    ]
    for at, column in enumerate(columns):
        kept = [cells[at] for _, cells in found]
        if column.group == "metric":
            arrays.append(pa.array([None if each is None else float(each) for each in kept], pa.float64()))
        else:
            arrays.append(pa.array([None if each is None else str(each) for each in kept], pa.string()))
    sink = io.BytesIO()
    pa.csv.write_csv(pa.table(arrays, names=names), sink)
    headers = {"Content-Disposition": 'attachment; filename="runs.csv"'}
    return Response(sink.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def delete(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> str:
    gone = workspace.tracking.delete_runs(form.get("ref", []))
    return _came_from(request).but({"deleted": ",".join(gone[:1000]), "restored": None, "picked": None})


def purge(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> str:
    gone = workspace.tracking.purge_runs(form.get("ref", []))
    return _came_from(request).but({"state": "deleted", "purged": len(gone), "deleted": None, "picked": None})


def restore(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> str:
    back = workspace.tracking.restore_runs(form.get("ref", []))
    return _came_from(request).but({"restored": len(back), "deleted": None, "picked": None})


def with_cells(
    workspace: Workspace, run_ids: Sequence[str], columns: Sequence[RunColumn]
) -> list[tuple[Excerpt, list[Any]]]:
    """Rows of the table: each run with its cells in the order of the columns."""
    asked = [column.query for column in columns if column.group != "attribute"]
    rows = []
    for run in workspace.tracking.excerpts(list(run_ids), asked):
        cells = iter(run.cells)
        row = [getattr(run, each.id) if each.group == "attribute" else next(cells) for each in columns]
        rows.append((run, row))
    return rows


def numeric(text: str | None) -> float | None:
    """A cell's number; a metric's NaN and infinities are numbers too."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def view_address(view: RunView) -> str:
    """The table as a saved view has it.

    >>> view_address(RunView("good", where="metrics.rmse < 1", columns=["metrics.rmse"], order_by=["metrics.rmse"]))
    '/runs?where=metrics.rmse+%3C+1&column=metrics.rmse&sort=metrics.rmse&view=good'
    """
    return Address("/runs").but(
        {
            "where": view.where or None,
            "experiment": view.experiment[0] if view.experiment else None,
            "state": None if view.state == "active" else view.state,
            "column": view.columns,
            "sort": view.order_by[0] if view.order_by else None,
            "group": view.group_by[0] if view.group_by else None,
            "nest": "1" if view.nested else None,
            "w": ",".join(f"{column}:{width}" for column, width in view.widths.items()) or None,
            "view": view.name,
        }
    )


def widths_in(text: str) -> dict[str, int]:
    """Widths of columns as the address has them; what is none is passed over.

    >>> widths_in("params.a:b:120,Date:90,Name:wide")
    {'params.a:b': 120, 'Date': 90}
    """
    pairs = (pair.rpartition(":") for pair in text.split(","))
    return {
        column: int(width)
        for column, _, width in pairs
        if column and len(column) <= 300 and width.isascii() and width.isdigit() and len(width) < 5
    }


def view_of(here: Address, saved: Sequence[RunView]) -> str:
    """The name of the saved view that the address shows as it was saved; empty once something about it was changed."""
    for view in saved:
        if view.name == here.get("view"):
            there = Address.within("/runs", urlsplit(view_address(view)).query)
            same = all(here.all(name) == there.all(name) for name in VIEWED)
            return view.name if same else ""
    return ""


def window_address(columns: Sequence[RunColumn]) -> str:
    """Where the script asks for rows: with the columns of the first ones, whichever those were."""
    return Address("/runs/window").but(
        {
            "column": [column.id for column in columns],
            "numeric": [column.id for column in columns if column.numeric and column.group == "param"],
        }
    )


def groupable(known: Sequence[RunColumn], chosen: str) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """What runs can be grouped by: kind, title, and (address's word, label) of each."""
    groups = [("attribute", "Run", list(GROUPABLE.items()))]
    for group, title in (("param", "Parameters"), ("tag", "Tags")):
        listed = [(column.query, column.label) for column in known if column.group == group]
        groups.append((group, title, listed))
    if chosen and chosen not in {word for _, _, listed in groups for word, _ in listed}:
        groups.append(("other", "Chosen", [(chosen, chosen)]))
    return [each for each in groups if each[2]]


def _came_from(request: Request) -> Address:
    """The table as it was, with its filter; never a page of somebody else."""
    return Address.within("/runs", urlsplit(request.headers.get("referer", "")).query)


def caret(error: InvalidInput | NotFound | None) -> tuple[str, str] | None:
    """What is wrong with a filter: the sentence, and the line with the caret below the place."""
    if error is None:
        return None
    sentence, _, lines = error.message.partition("\n")
    return sentence, lines


def list_command(wanted: Wanted, sort: str) -> str:
    """The command that lists the same runs."""
    parts = ["everloop runs list"]
    experiment = wanted.experiment[0] if wanted.experiment else ""
    for option, value in (("where", wanted.where), ("experiment", experiment), ("order-by", sort)):
        if value:
            parts.append(f"--{option} {shlex.quote(value)}")
    if wanted.state != "active":
        parts.append(f"--state {wanted.state}")
    return " ".join(parts)
