"""Plots of runs: metrics over steps or time, and many runs across their parameters and metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from everloop.domain.runs import Comparison, MetricSummary, RunRecord, param_number
from everloop.server.pages import plots
from everloop.workspace.workspace import Workspace

MOST_CURVES = 12
"""Charts on one page: beyond that the numbers say more than the pictures."""
MOST_AXES = 10

Chart = dict[str, Any]


def run_curves(
    workspace: Workspace, run: RunRecord, summaries: Sequence[MetricSummary], *, by_time: bool
) -> list[Chart]:
    """A chart for each metric of one run that was measured more than once."""
    charts = []
    for summary in [each for each in summaries if each.count > 1][:MOST_CURVES]:
        points = plots.history_points(workspace.tracking.history(run.run_id, summary.key), by_time=by_time)
        series = [{"name": summary.key, "key": run.run_id, "points": points}]
        charts.append(_chart(summary.key, series, by_time, f"{summary.count:,} points"))
    return charts


def curves(workspace: Workspace, runs: Sequence[RunRecord], *, by_time: bool) -> list[Chart]:
    """A chart for each metric that at least two of the runs measured more than once, a line for each run."""
    summaries = {
        run.run_id: {each.key: each for each in workspace.tracking.summaries(run.run_id)} for run in runs
    }
    counted = Counter(key for found in summaries.values() for key, each in found.items() if each.count > 1)
    names = labels(runs)
    charts = []
    for key in sorted(key for key, count in counted.items() if count > 1)[:MOST_CURVES]:
        series = [
            {
                "name": names[run.run_id],
                "key": run.run_id,
                "points": plots.history_points(workspace.tracking.history(run.run_id, key), by_time=by_time),
            }
            for run in runs
            if key in summaries[run.run_id]
        ]
        charts.append(_chart(key, series, by_time, f"{len(series)} runs"))
    return charts


def parallel(comparison: Comparison) -> plots.Spec | None:
    """Every run as a line across the parameters and metrics that differ; None where that would be no picture."""
    rows = [row for row in (*comparison.params, *comparison.metrics) if row.differs][:MOST_AXES]
    if len(rows) < 2 or len(comparison.runs) < 3:
        return None
    axes: list[dict[str, Any]] = []
    columns: list[Sequence[str | float | None]] = []
    for row in rows:
        numbers = [None if value is None else param_number(value) for value in row.values]
        if all(
            number is not None or value is None for number, value in zip(numbers, row.values, strict=True)
        ):
            axes.append({"name": row.key})
            columns.append(numbers)
        else:
            names = sorted({value for value in row.values if value is not None})
            axes.append({"name": row.key, "type": "category", "categories": names})
            columns.append(row.values)
    names_of = labels(comparison.runs)
    lines = [
        {
            "name": names_of[run.run_id],
            "key": run.run_id,
            "values": [column[at] for column in columns],
        }
        for at, run in enumerate(comparison.runs)
    ]
    return {"kind": "parallel", "name": "runs", "axes": axes, "lines": lines}


def labels(runs: Sequence[RunRecord]) -> dict[str, str]:
    """What to call each run in a legend: its name, with the beginning of its identifier where two share one."""
    shared = Counter(run.name for run in runs)
    return {
        run.run_id: run.name if shared[run.name] == 1 else f"{run.name} ({run.run_id[-6:]})" for run in runs
    }


def _chart(key: str, series: list[dict[str, Any]], by_time: bool, note: str) -> Chart:
    x = {"name": "time", "type": "time"} if by_time else {"name": "step"}
    return {
        "key": key,
        "note": note,
        "spec": plots.line(key, series, x=x, y={"name": key}),
    }
