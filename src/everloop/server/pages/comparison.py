"""Runs side by side: parameters that differ first, metrics with their distance from one run, curves over each other, code and
environment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import BaseRoute

from everloop.domain.differences import ValueChange
from everloop.domain.repeats import Delta, Mean
from everloop.domain.runs import OF_THE_MACHINE, Comparison, Difference, RunRecord, param_number
from everloop.errors import InvalidInput
from everloop.server.pages import captured, run_plots
from everloop.server.pages.addresses import Address
from everloop.server.pages.rendering import Pages
from everloop.tracking.differences import environment_of, machine_facts, package_versions
from everloop.workspace.workspace import Workspace

MOST_COMPARED = 200
MOST_DIFFED = 12
"""Runs whose code and packages are laid side by side."""
MOST_ROWS = 400
"""Rows of one kind that are shown: a run may have ten thousand keys."""
MOST_GROUPS, MOST_REPEATED = 24, 60
"""Groups of repeated runs, and metrics of them."""


class Cell(msgspec.Struct, frozen=True):
    """A value of a run; for a metric, how far it is from the base, as a share of it where that has a meaning."""

    text: str | None
    number: float | None = None
    delta: float | None = None
    share: float | None = None


class Row(msgspec.Struct, frozen=True):
    """What all runs have under one key."""

    key: str
    cells: list[Cell]
    differs: bool


class Part(msgspec.Struct, frozen=True):
    """Rows of one kind; `more` of them are not shown."""

    key: str
    title: str
    rows: list[Row]
    differing: int
    total: int
    more: int = 0


def routes(pages: Pages) -> list[BaseRoute]:
    return [pages.page("/runs/compare", "runs/compare.html", compare, active="runs")]


def percent(share: float) -> str:
    """A share as it is read at a glance: three digits, and thousands written out.

    >>> percent(0.0123), percent(0.91), percent(10.19)
    ('1.23 %', '91 %', '1,019 %')
    """
    number = share * 100
    return f"{number:,.0f} %" if 1e3 <= number < 1e6 else f"{number:.3g} %"


def compare(request: Request, workspace: Workspace) -> dict[str, Any]:
    here = Address.of(request)
    picked = list(dict.fromkeys(here.all("ref")))
    if not 2 <= len(picked) <= MOST_COMPARED:
        raise InvalidInput(
            f"{len(picked)} runs cannot be shown side by side", hint=f"pick 2 to {MOST_COMPARED} in the table"
        )
    if here.get("base") in picked:  # the first is what the others are measured against
        picked.sort(key=lambda each: each != here.get("base"))
    comparison = workspace.tracking.compare(picked)
    runs = comparison.runs
    only = here.get("only") != "all"
    axis = here.choice("x", run_plots.AXES)
    with_code = len(runs) <= MOST_DIFFED
    return {
        "crumbs": [("Runs", "/runs"), ("Compare", None)],
        "here": here,
        "runs": runs,
        "names": run_plots.labels(runs),
        "only": only,
        "parts": parts_of(comparison, only=only),
        "repeats": repeats_of(comparison),
        "parallel": run_plots.parallel_of(comparison),
        "curves": run_plots.curves(workspace, runs, axis=axis),
        "axis": axis,
        "axes": run_plots.AXIS_NAMES,
        "smooth": here.get("smooth") or "0",
        "environment": environment_rows(workspace, runs) if with_code else [],
        "code": differences(workspace, runs) if with_code else [],
        "with_code": with_code,
        "most_diffed": MOST_DIFFED,
        "percent": percent,
        "command": "everloop runs compare " + " ".join(run.run_id for run in runs),
    }


def parts_of(comparison: Comparison, *, only: bool) -> list[Part]:
    """The table's parts; with `only`, the rows that differ."""
    listed = [
        ("params", "Parameters", comparison.params),
        ("metrics", "Metrics", comparison.metrics),
        ("attributes", "Attributes", comparison.attributes),
        ("tags", "Tags", [row for row in comparison.tags if not row.key.startswith("mlflow.")]),
    ]
    parts = []
    for key, title, rows in listed:
        if rows:
            shown = [row for row in rows if row.differs or not only]
            make = metric_row if key == "metrics" else text_row
            made = [make(row) for row in shown[:MOST_ROWS]]
            differing = sum(row.differs for row in rows)
            parts.append(Part(key, title, made, differing, len(rows), max(0, len(shown) - MOST_ROWS)))
    return parts


class Repeated(msgspec.Struct, frozen=True):
    """A metric over the runs of a group, and how far its mean is from the first group's."""

    mean: Mean | None
    delta: Delta | None


def repeats_of(comparison: Comparison) -> dict[str, Any] | None:
    """Runs that repeat each other but for their seeds, as columns, and metrics as rows; None where nothing is repeated."""
    groups = comparison.groups[:MOST_GROUPS]
    if len(groups) < 2 or all(len(group.runs) < 2 for group in groups):
        return None
    deltas = {(each.metric, each.group): each for each in comparison.deltas}
    keys = sorted({key for group in groups for key in group.metrics if not key.startswith(OF_THE_MACHINE)})
    rows = [
        (key, [Repeated(group.metrics.get(key), deltas.get((key, at))) for at, group in enumerate(groups)])
        for key in keys[:MOST_REPEATED]
    ]
    return {"groups": groups, "rows": rows}


def text_row(row: Difference) -> Row:
    """A parameter, tag or attribute; its numbers stay as they were written."""
    return Row(
        row.key, [Cell(value, param_number(value) if value else None) for value in row.values], row.differs
    )


def metric_row(row: Difference) -> Row:
    """A metric with distances from the first run.

    >>> metric_row(Difference("loss", ["0.5", "0.4", None], True)).cells[1]
    Cell(text='0.4', number=0.4, delta=-0.09999999999999998, share=-0.19999999999999996)
    """
    numbers = [None if value is None else float(value) for value in row.values]
    against = numbers[0]
    cells = []
    for at, (text, number) in enumerate(zip(row.values, numbers, strict=True)):
        delta = share = None
        if number is not None and against is not None and at > 0:
            delta = number - against
            delta = delta if math.isfinite(delta) else None
            share = delta / abs(against) if delta is not None and against else None
        cells.append(Cell(text, number, delta, share))
    return Row(row.key, cells, row.differs)


def environment_rows(workspace: Workspace, runs: Sequence[RunRecord]) -> list[Row]:
    """Where the runs' machines, Pythons and packages differ."""
    details = [workspace.tracking.describe(run.run_id) for run in runs]
    known = [environment_of(each.captured, workspace.objects) for each in details]
    facts = [machine_facts(each) | package_versions(each) for each in known]
    rows = []
    for key in dict.fromkeys(key for each in facts for key in each):
        values = [each.get(key) for each in facts]
        if len(set(values)) > 1:
            rows.append(Row(key, [Cell(value) for value in values], differs=True))
    return rows[:MOST_ROWS]


def differences(
    workspace: Workspace, runs: Sequence[RunRecord]
) -> list[tuple[RunRecord, list[captured.FileLines], list[ValueChange], str]]:
    """How the code and the data of each run differ from those of the first, and what could not be compared."""
    found = []
    for run in runs[1:]:
        answer = workspace.tracking.diff(runs[0].run_id, run.run_id)
        files = captured.file_lines(answer.code.files)
        if files or answer.data:
            found.append((run, files, answer.data, answer.code.note))
    return found
