"""Charts of the runs that the table shows: curves over each other, one number by another, all of them across many, spreads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute

from everloop.domain.listing import Excerpt
from everloop.domain.runs import OF_THE_MACHINE, STATUSES, RunRecord
from everloop.errors import InvalidInput, NotFound
from everloop.server.pages import run_plots
from everloop.server.pages.addresses import Address
from everloop.server.pages.experiments import offered
from everloop.server.pages.rendering import Pages
from everloop.server.pages.run_columns import (
    RunColumn,
    chosen_columns,
    column_of,
    known_columns,
    usual_columns,
    value_of,
)
from everloop.server.pages.runs import MOMENTARY, SAMPLED, Wanted, caret, list_command
from everloop.workspace.workspace import Workspace

MOST_LINES = 50
"""Runs whose curves are drawn: the first of the order."""
MOST_DOTS = 1000
"""Runs in the other charts."""
FIRST_METRICS = 6


def routes(pages: Pages) -> list[BaseRoute]:
    return [pages.page("/runs/charts", "runs/charts.html", charts, active="runs")]


def charts(request: Request, workspace: Workspace) -> dict[str, Any]:
    here = Address.of(request)
    wanted, said, status = Wanted.of(here), None, 200
    context: dict[str, Any] = {}
    experiments = offered(workspace, here.get("experiment"))
    try:
        context = drawn(workspace, here, wanted)
    except (InvalidInput, NotFound) as error:
        said, status = error, error.status
    return context | {
        "http_status": status,
        "crumbs": [("Runs", "/runs"), ("Charts", None)],
        "here": here,
        "where": here.get("where").strip(),
        "experiment": here.get("experiment"),
        "experiments": experiments.experiments,
        "older_experiments": experiments.has_more,
        "status": here.get("status"),
        "statuses": STATUSES,
        "momentary": MOMENTARY,
        "said": said,
        "caret": caret(said),
        "command": list_command(wanted, here.get("sort")),
    }


def drawn(workspace: Workspace, here: Address, wanted: Wanted) -> dict[str, Any]:
    """The pictures and what could be chosen for them."""
    answer = workspace.tracking.search(
        wanted.where, wanted.experiment, wanted.state, wanted.order_by, MOST_LINES, count=True
    )
    known = known_columns(answer.runs[:SAMPLED])
    metrics = [each for each in known if each.group == "metric" and not each.key.startswith(OF_THE_MACHINE)]
    params = [each for each in known if each.group == "param"]
    numbers = [each for each in (*params, *metrics) if each.numeric]
    shown = chosen_columns(here.all("column"), known) or usual_columns(known, answer.runs[:SAMPLED])
    across = [each for each in shown if each.group in ("param", "metric")]
    y = _column(here.get("y")) or next((each for each in across if each.group == "metric"), None)
    x = _column(here.get("across")) or next(
        (each for each in numbers if each.group == "param" and each != y), None
    )
    x = x or next((each for each in numbers if each != y), None)
    apart = [each for each in across if each.group == "param"] + params  # those that differ come first
    by = _column(here.get("by")) or next((each for each in apart if not each.numeric), None)
    by = by or next(iter(apart), None)
    order = wanted.outline(workspace, MOST_DOTS).run_ids[:MOST_DOTS] if answer.runs else []
    columns = list(dict.fromkeys([*across, *(each for each in (x, y, by) if each is not None)]))
    rows = workspace.tracking.excerpts(order, [each.query for each in columns])
    axis = here.choice("x", run_plots.AXES)
    keys = here.all("metric")
    curves = run_plots.curves(workspace, answer.runs, axis=axis, keys=keys)
    return {
        "total": answer.total,
        "lined": len(answer.runs),
        "dotted": len(rows),
        "curves": curves,
        "keys": keys,
        "curve_keys": [each.key for each in metrics],
        "axis": axis,
        "axes": run_plots.AXIS_NAMES,
        "smooth": here.get("smooth") or "0",
        "numbers": numbers,
        "params": params,
        "metrics": metrics,
        "x": x,
        "y": y,
        "by": by,
        "scatter": _scatter(rows, columns, x, y, by),
        "boxes": _boxes(rows, columns, y, by),
        "parallel": run_plots.parallel(
            [(each.label, _values(rows, columns, each)) for each in across[: run_plots.MOST_AXES]],
            [(run.name, run.run_id) for run in rows],
        ),
    }


def _distinct(runs: Sequence[RunRecord], column: RunColumn) -> int:
    return len({value_of(run, column) for run in runs})


def _column(identifier: str) -> RunColumn | None:
    found = column_of(identifier) if identifier else None
    return None if found is None or found.group == "attribute" else found


def _values(rows: Sequence[Excerpt], columns: Sequence[RunColumn], column: RunColumn) -> list[str | None]:
    at = [each.id for each in columns].index(column.id)
    return [run.cells[at] for run in rows]


def _groups(rows: Sequence[Excerpt], columns: Sequence[RunColumn], by: RunColumn | None) -> list[str]:
    return (
        [value if value is not None else "without it" for value in _values(rows, columns, by)] if by else []
    )


def _scatter(
    rows: Sequence[Excerpt],
    columns: Sequence[RunColumn],
    x: RunColumn | None,
    y: RunColumn | None,
    by: RunColumn | None,
) -> dict[str, Any] | None:
    if x is None or y is None:
        return None
    groups = _groups(rows, columns, by)
    return run_plots.scatter(
        (x.label, _values(rows, columns, x)),
        (y.label, _values(rows, columns, y)),
        groups if len(set(groups)) <= 12 else [],
        [(run.name, f"/runs/{run.run_id}") for run in rows],
    )


def _boxes(
    rows: Sequence[Excerpt], columns: Sequence[RunColumn], y: RunColumn | None, by: RunColumn | None
) -> dict[str, Any] | None:
    if y is None or by is None:
        return None
    return run_plots.boxes(
        (y.label, _values(rows, columns, y)), by.label, _groups(rows, columns, by), [run.name for run in rows]
    )
