"""The table of runs: filter, columns, sorting, selection; what is done to picked rows; runs side by side; the table as CSV."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from everloop.domain.runs import RunRecord, param_number
from everloop.errors import InvalidInput, NotFound
from everloop.server.pages import run_plots
from everloop.server.pages.addresses import Address
from everloop.server.pages.rendering import Pages
from everloop.tracking.tracking import State
from everloop.workspace.workspace import Workspace

PAGE = 100
CSV_PAGE = 10_000
STATES: tuple[State, ...] = ("active", "deleted", "all")
MOST_PARAMS, MOST_METRICS = 5, 5
"""Columns of each group that are shown until someone chooses."""
PARAMS_WIDTH, WIDEST_CELL = 48, 28
"""Characters that the parameters nobody chose take up together, and that a cell shows at most."""
MOST_COMPARED = 20
"""Runs on one comparison: more columns nobody reads."""

Group = Literal["attribute", "param", "metric", "tag"]


class RunColumn(msgspec.Struct, frozen=True):
    """A column of the table. `id` is how the address and the search language name it; `numeric`: all its values are numbers."""

    id: str
    label: str
    group: Group
    numeric: bool = False
    starts_group: bool = False


ATTRIBUTES = {
    "user": "User",
    "source": "Source",
    "version": "Version",
    "experiment": "Experiment",
    "duration": "Duration",
}
SHOWN_ATTRIBUTES = ("user", "source", "version")
UNSORTABLE = frozenset({"duration"})


def routes(pages: Pages) -> list[BaseRoute]:
    return [
        pages.page("/runs", "runs/table.html", table, active="runs", rows="runs/rows.html"),
        pages.file("/runs.csv", as_csv),
        pages.page("/runs/compare", "runs/compare.html", compare, active="runs"),
        pages.action("/runs/delete", delete),
        pages.action("/runs/restore", restore),
    ]


def table(request: Request, workspace: Workspace) -> dict[str, Any]:
    here = Address.of(request)
    where, experiment, state = here.get("where").strip(), here.get("experiment"), _state(here)
    first = here.number("from") if here.get("page") else 0
    said, status = None, 200
    found: list[RunRecord] = []
    following, total = None, None
    try:
        answer = workspace.tracking.search(
            where,
            experiment=[experiment] if experiment else [],
            state=state,
            order_by=[here.get("sort")] if here.get("sort") else [],
            limit=PAGE,
            page=here.get("page"),
            count=True,
        )
        found, following, total = answer.runs, answer.next_page, answer.total
    except (InvalidInput, NotFound) as error:
        said, status = error, error.status
    known = known_columns(found)
    chosen = here.all("column")
    columns = chosen_columns(known, chosen) if chosen else usual_columns(known, found)
    experiments = workspace.tracking.experiments()
    return {
        "http_status": status,
        "crumbs": [("Runs", None)],
        "here": here,
        "where": where,
        "experiment": experiment,
        "experiments": experiments,
        "state": state,
        "said": said,
        "caret": caret(said),
        "runs": found,
        "columns": columns,
        "known": known,
        "first": first,
        "total": total,
        # Rows that come later have the columns of the first ones.
        "next": here.but(
            {
                "page": following,
                "from": first + PAGE,
                "picked": None,
                "column": [column.id for column in columns],
            }
        )
        if following
        else None,
        "sorted_by": sorted_by(here.get("sort")),
        "sort_link": lambda column: sort_link(here, column),
        "cell": cell,
        "command": list_command(where, experiment, state, here.get("sort")),
        "anything": bool(found) or any(each.runs for each in experiments) or state != "active",
        "deleted": [each for each in here.get("deleted").split(",") if each],
        "restored": here.number("restored"),
    }


def as_csv(request: Request, workspace: Workspace) -> Response:
    """All runs that match the address's filter, with the columns chosen there, or all columns."""
    import pyarrow as pa
    import pyarrow.csv

    from everloop.tracking.frames import runs_table

    here = Address.of(request)
    experiment, page = here.get("experiment"), ""
    found: list[RunRecord] = []
    while True:
        answer = workspace.tracking.search(
            here.get("where").strip(),
            experiment=[experiment] if experiment else [],
            state=_state(here),
            order_by=[here.get("sort")] if here.get("sort") else [],
            limit=CSV_PAGE,
            page=page,
        )
        found += answer.runs
        if answer.next_page is None:
            break
        page = answer.next_page
    everything = runs_table(found)
    if chosen := here.all("column"):
        fixed = ["run_id", "start_time", "name", "status"]
        everything = everything.select(
            [name for name in everything.schema.names if name in fixed or name in chosen]
        )
    sink = io.BytesIO()
    pa.csv.write_csv(everything, sink)
    headers = {"Content-Disposition": 'attachment; filename="runs.csv"'}
    return Response(sink.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def compare(request: Request, workspace: Workspace) -> dict[str, Any]:
    here = Address.of(request)
    picked = list(dict.fromkeys(here.all("ref")))
    if not 2 <= len(picked) <= MOST_COMPARED:
        raise InvalidInput(
            f"{len(picked)} runs cannot be shown side by side", hint=f"pick 2 to {MOST_COMPARED} in the table"
        )
    comparison = workspace.tracking.compare(picked)
    only = here.get("only") != "all"
    groups = [
        ("Parameters", "params", comparison.params),
        ("Metrics", "metrics", comparison.metrics),
        ("Attributes", "attributes", comparison.attributes),
        ("Tags", "tags", [row for row in comparison.tags if not row.key.startswith("mlflow.")]),
    ]
    return {
        "crumbs": [("Runs", "/runs"), ("Compare", None)],
        "here": here,
        "runs": comparison.runs,
        "only": only,
        "groups": [
            (title, key, [row for row in rows if row.differs or not only], len(rows))
            for title, key, rows in groups
            if rows
        ],
        "as_number": param_number,
        "parallel": run_plots.parallel(comparison),
        "curves": run_plots.curves(workspace, comparison.runs, by_time=here.get("x") == "time"),
        "by_time": here.get("x") == "time",
        "command": "everloop runs compare " + " ".join(run.run_id for run in comparison.runs),
    }


def delete(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> str:
    gone = workspace.tracking.delete_runs(form.get("ref", []))
    return _came_from(request).but({"deleted": ",".join(gone), "restored": None, "picked": None})


def restore(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> str:
    back = workspace.tracking.restore_runs(form.get("ref", []))
    return _came_from(request).but({"restored": len(back), "deleted": None, "picked": None})


def _state(here: Address) -> State:
    return next((each for each in STATES if each == here.get("state")), STATES[0])


def _came_from(request: Request) -> Address:
    """The table as it was, with its filter; never a page of somebody else."""
    return Address.within("/runs", urlsplit(request.headers.get("referer", "")).query)


def known_columns(found: Sequence[RunRecord]) -> list[RunColumn]:
    """Everything the runs of a page could show, in the order of the table."""
    columns = [
        RunColumn(key, label, "attribute", numeric=key == "duration") for key, label in ATTRIBUTES.items()
    ]
    for group, field, prefix in (
        ("param", "params", "params."),
        ("metric", "metrics", "metrics."),
        ("tag", "tags", "tags."),
    ):
        keys = sorted({key for run in found for key in getattr(run, field)})
        for key in keys:
            values = [getattr(run, field).get(key) for run in found]
            numeric = group == "metric" or (
                group == "param"
                and all(param_number(value) is not None for value in values if value is not None)
            )
            columns.append(RunColumn(prefix + key, key, group, numeric))  # type: ignore[arg-type]
    return columns


def usual_columns(known: Sequence[RunColumn], found: Sequence[RunRecord]) -> list[RunColumn]:
    """The columns nobody chose: the talks' table, with the parameters first that differ and that most runs have."""

    def rank(column: RunColumn) -> tuple[bool, int]:
        field = "params" if column.group == "param" else "metrics"
        values = [getattr(run, field).get(column.label) for run in found]
        return len(set(values)) == 1, -sum(value is not None for value in values)

    params = sorted((column for column in known if column.group == "param"), key=rank)
    params = within_width(params[:MOST_PARAMS], found)
    metrics = sorted((column for column in known if column.group == "metric"), key=rank)[:MOST_METRICS]
    shown = {column.id for column in (*params, *metrics)} | set(SHOWN_ATTRIBUTES)
    return chosen_columns(known, list(shown))


def within_width(params: Sequence[RunColumn], found: Sequence[RunRecord]) -> list[RunColumn]:
    """The parameters that leave room for metrics beside them: the first two, and more while they are short."""
    kept: list[RunColumn] = []
    width = 0
    for column in params:
        longest = max((len(run.params.get(column.label, "")) for run in found), default=0)
        width += max(len(column.label), min(longest, WIDEST_CELL)) + 3
        if len(kept) >= 2 and width > PARAMS_WIDTH:
            break
        kept.append(column)
    return kept


def chosen_columns(known: Sequence[RunColumn], chosen: Sequence[str]) -> list[RunColumn]:
    """The chosen columns that exist, in the table's order, with the first of each group marked."""
    columns = [column for column in known if column.id in chosen]
    return [
        msgspec.structs.replace(
            column,
            starts_group=column.group != "attribute" and (at == 0 or columns[at - 1].group != column.group),
        )
        for at, column in enumerate(columns)
    ]


def cell(run: RunRecord, column: RunColumn) -> Any:
    """The value of a run in a column of parameters, metrics or tags; None where it has none."""
    if column.group == "attribute":
        return getattr(run, column.id)
    return getattr(run, column.group + "s").get(column.label)


def sorted_by(order: str) -> tuple[str, str]:
    """The column that the table is sorted by, and ``ascending`` or ``descending``.

    >>> sorted_by("metrics.`val/loss` desc"), sorted_by("")
    (('metrics.val/loss', 'descending'), ('start_time', 'descending'))
    """
    name, _, way = order.strip().rpartition(" ")
    if not name:
        name, way = way, "asc"
    if not name:
        return "start_time", "descending"
    return name.replace("`", ""), "descending" if way.lower() == "desc" else "ascending"


def sort_link(here: Address, column: str) -> str | None:
    """The address that sorts by a column, the other way round when it does already."""
    if column in UNSORTABLE:
        return None
    prefix, _, key = column.partition(".")
    name = column if not key or re.fullmatch(r"[A-Za-z_]\w*", key) else f"{prefix}.`{key}`"
    current, way = sorted_by(here.get("sort"))
    falls = way == "ascending" if current == column else column == "start_time"
    return here.but({"sort": f"{name} desc" if falls else name, "page": None, "from": None})


def caret(error: InvalidInput | NotFound | None) -> tuple[str, str] | None:
    """What is wrong with a filter: the sentence, and the line with the caret below the place."""
    if error is None:
        return None
    sentence, _, lines = error.message.partition("\n")
    return sentence, lines


def list_command(where: str, experiment: str, state: str, sort: str) -> str:
    """The command that lists the same runs."""
    parts = ["everloop runs list"]
    for option, value in (("where", where), ("experiment", experiment), ("order-by", sort)):
        if value:
            parts.append(f"--{option} {shell_quoted(value)}")
    if state != "active":
        parts.append(f"--state {state}")
    return " ".join(parts)


def shell_quoted(text: str) -> str:
    """Text as one word of a shell.

    >>> shell_quoted("metrics.rmse < 1")
    "'metrics.rmse < 1'"
    """
    return shlex.quote(text)
