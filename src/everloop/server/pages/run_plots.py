"""Plots of runs: metrics over steps or time, and many runs across their parameters and metrics."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from everloop.domain.runs import OF_THE_MACHINE, Comparison, MetricSummary, RunRecord, param_number
from everloop.server.pages import plots
from everloop.workspace.workspace import Workspace

if TYPE_CHECKING:
    from everloop.domain.runs import History

AXES = ("step", "time", "relative")
AXIS_NAMES = {"step": "Step", "time": "Wall time", "relative": "Since its start"}
MOST_CURVES = 12
"""Charts on one page: beyond that the numbers say more than the pictures."""
MOST_AXES = 10
MOST_POINTS = 1000
POINTS_OF_MANY = 250
"""Points of a line, alone and among more than twenty."""
MOST_CATEGORIES = 60
_NOT_FINITE = {"nan", "inf", "-inf", "infinity", "-infinity"}
"""Metrics that have no place on an axis of numbers, and do not make it one of words."""
MOST_NUMBERED = 12
"""Rows of a matrix whose cells still have room for their numbers."""

Chart = dict[str, Any]


def run_curves(
    workspace: Workspace, run: RunRecord, summaries: Sequence[MetricSummary], *, axis: str
) -> list[Chart]:
    """A chart for each metric of one run that was measured more than once."""
    several = [each for each in summaries if each.count > 1][:MOST_CURVES]
    if not several:
        return []
    keys = [each.key for each in several]
    found = workspace.tracking.histories([run.run_id], keys, MOST_POINTS)
    by_key = {each.history.key: each.history for each in found}
    return [
        _chart(
            each.key,
            [{"name": each.key, "key": run.run_id, "points": points_of(by_key[each.key], axis)}],
            axis,
            f"{each.count:,} points",
        )
        for each in several
        if each.key in by_key
    ]


def curves(
    workspace: Workspace, runs: Sequence[RunRecord], *, axis: str, keys: Sequence[str] = ()
) -> list[Chart]:
    """A chart for each metric that some of the runs measured more than once, a line for each run; `keys`: these only."""
    shared = Counter(key for run in runs for key in run.metrics)
    wanted = [key for key in keys or sorted(shared) if shared[key]][: 10 * MOST_CURVES]
    names = labels(runs)
    most = MOST_POINTS if len(runs) <= 20 else POINTS_OF_MANY
    charts: list[Chart] = []
    for start in range(0, len(wanted), MOST_CURVES):  # most keys are no curves: they have one point
        some = wanted[start : start + MOST_CURVES]
        found = workspace.tracking.histories([run.run_id for run in runs], some, most)
        lines: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for each in found:
            if each.history.count > 1:
                points = points_of(each.history, axis)
                lines[each.history.key].append(
                    {"name": names[each.run_id], "key": each.run_id, "points": points}
                )
        for key in some:
            if lines[key]:
                count = len(lines[key])
                charts.append(_chart(key, lines[key], axis, f"{count} run{'' if count == 1 else 's'}"))
        if len(charts) >= MOST_CURVES:
            break
    return charts[:MOST_CURVES]


def points_of(history: History, axis: str) -> list[list[float | None]]:
    """Points of a metric by step, by time in milliseconds, or by seconds since its first; what is not finite breaks the line."""
    import numpy as np

    values = np.frombuffer(history.values, "<f8")
    if axis == "step":
        places = np.frombuffer(history.steps, "<i8")
    else:
        times = np.frombuffer(history.times, "<i8")
        places = times / 1000 if axis == "time" else (times - (times[0] if len(times) else 0)) / 1e6
    return [
        [place, value if math.isfinite(value) else None]
        for place, value in zip(places.tolist(), values.tolist(), strict=True)
    ]


def parallel_of(comparison: Comparison) -> plots.Spec | None:
    """Every run as a line across the parameters and metrics that differ; None where that would be no picture."""
    rows = [row for row in (*comparison.params, *comparison.metrics) if row.differs]
    rows = [row for row in rows if not row.key.startswith(OF_THE_MACHINE)][:MOST_AXES]
    named = labels(comparison.runs)
    lines = [(named[run.run_id], run.run_id) for run in comparison.runs]
    return parallel([(row.key, row.values) for row in rows], lines)


def parallel(
    columns: Sequence[tuple[str, Sequence[str | None]]], lines: Sequence[tuple[str, str]]
) -> plots.Spec | None:
    """Lines (name, key) across columns of values as text. Columns of numbers are axes of numbers; where there are more lines
    than colours, the last of these shades them."""
    if len(columns) < 2 or len(lines) < 3:
        return None
    axes: list[dict[str, Any]] = []
    places: list[Sequence[str | float | None]] = []
    for name, values in columns:
        numbers = [number_of(value) for value in values]
        placed = {value for value in values if value is not None and value.lower() not in _NOT_FINITE}
        if None not in map(number_of, placed):
            axes.append({"name": name})
            places.append(numbers)
        else:
            words = sorted({value for value in values if value is not None})[:MOST_CATEGORIES]
            axes.append({"name": name, "type": "category", "categories": words})
            places.append([value if value in words else None for value in values])
    shades = _shades(places, axes) if len(lines) > 8 else {}
    return {
        "kind": "parallel",
        "name": "runs",
        "axes": axes,
        "lines": [
            {"name": name, "key": key, "values": [column[at] for column in places]}
            | ({"shade": shades[at]} if at in shades else {})
            for at, (name, key) in enumerate(lines)
        ],
    }


def _shades(
    places: Sequence[Sequence[str | float | None]], axes: Sequence[Mapping[str, Any]]
) -> dict[int, float]:
    column = next((places[at] for at in reversed(range(len(axes))) if "categories" not in axes[at]), None)
    numbers = {at: each for at, each in enumerate(column or ()) if isinstance(each, float)}
    if not numbers:
        return {}
    low, high = min(numbers.values()), max(numbers.values())
    return {at: (each - low) / (high - low) if high > low else 0.5 for at, each in numbers.items()}


def scatter(
    x: tuple[str, Sequence[str | None]],
    y: tuple[str, Sequence[str | None]],
    groups: Sequence[str],
    runs: Sequence[tuple[str, str]],
) -> plots.Spec | None:
    """A point for each run (name, address) that has both numbers; one colour a group. None without a point."""
    series: dict[str, dict[str, Any]] = {}
    for at, (name, address) in enumerate(runs):
        across, up = number_of(x[1][at]), number_of(y[1][at])
        if across is not None and up is not None:
            group = groups[at] if groups else ""
            line = series.setdefault(
                group, {"name": group or "runs", "points": [], "labels": [], "hrefs": []}
            )
            line["points"].append([across, up])
            line["labels"].append(name)
            line["hrefs"].append(address)
    if not series:
        return None
    ordered = [series[group] for group in sorted(series)]
    return {
        "kind": "scatter",
        "name": f"{y[0]} by {x[0]}",
        "x": {"name": x[0]},
        "y": {"name": y[0]},
        "series": ordered,
    }


def boxes(
    y: tuple[str, Sequence[str | None]], by: str, groups: Sequence[str], names: Sequence[str]
) -> plots.Spec | None:
    """How a metric spreads over the runs of each group: over seeds, when they are grouped by everything else."""
    found: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for value, group, name in zip(y[1], groups, names, strict=True):
        number = number_of(value)
        if number is not None:
            found[group].append((number, name))
    if not found:
        return None
    categories = sorted(found, key=lambda word: (number_of(word) is None, number_of(word) or 0, word))
    categories = categories[:MOST_CATEGORIES]
    return {
        "kind": "box",
        "name": f"{y[0]} by {by}",
        "x": {"name": by, "categories": categories},
        "y": {"name": y[0]},
        "boxes": [box_of([number for number, _ in found[each]]) for each in categories],
        "points": [
            [at, number, name] for at, each in enumerate(categories) for number, name in found[each][:400]
        ],
    }


def box_of(values: Sequence[float]) -> list[float] | None:
    """Whiskers, quartiles (linear between values) and median; whiskers end at the last values within 1.5 times the box
    (Tukey, Exploratory Data Analysis, 1977). None for fewer than two values.

    >>> box_of([1.0, 2.0, 3.0, 4.0, 100.0])
    [1.0, 2.0, 3.0, 4.0, 4.0]
    """
    if len(values) < 2:
        return None
    ordered = sorted(values)

    def quantile(share: float) -> float:
        place = share * (len(ordered) - 1)
        low = math.floor(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    first, median, third = quantile(0.25), quantile(0.5), quantile(0.75)
    reach = 1.5 * (third - first)
    inside = [each for each in ordered if first - reach <= each <= third + reach]
    return [inside[0], first, median, third, inside[-1]]


def confusion(name: str, header: Sequence[Any], rows: Sequence[Sequence[Any]]) -> plots.Spec | None:
    """A confusion matrix from a table: a square of numbers, one with a column of labels before it, or rows of actual,
    predicted and count. None for any other table."""
    if len(rows) < 2 or len(header) > MOST_CATEGORIES + 1:
        return None
    labels_across, labels_down = [str(each) for each in header], [str(at) for at in range(len(rows))]
    if len(header) == len(rows) + 1:
        labels_across, labels_down = labels_across[1:], [str(row[0]) for row in rows]
        cells = [[_count(each) for each in row[1:]] for row in rows]
    elif len(header) == len(rows):
        labels_down = labels_across
        cells = [[_count(each) for each in row] for row in rows]
    elif len(header) == 3 and all(_count(row[2]) is not None for row in rows if len(row) == 3):
        labels_down = sorted({str(row[0]) for row in rows})
        labels_across = sorted({str(row[1]) for row in rows})
        counted = {(str(row[0]), str(row[1])): _count(row[2]) for row in rows}
        cells = [[counted.get((down, across)) for across in labels_across] for down in labels_down]
    else:
        return None
    if len(labels_across) > MOST_CATEGORIES or any(each is None for row in cells for each in row):
        return None
    return {
        "kind": "heatmap",
        "name": name,
        "x": {"name": "predicted", "categories": labels_across},
        "y": {"name": "actual", "categories": labels_down},
        "value": {"name": "count"},
        "numbers": len(rows) <= MOST_NUMBERED,
        "values": cells,
    }


def _count(value: Any) -> float | None:
    return None if isinstance(value, bool) or value is None else number_of(str(value))


def number_of(text: str | None) -> float | None:
    """A cell's finite number; None for words and gaps."""
    return None if text is None else param_number(text)


def labels(runs: Sequence[RunRecord]) -> dict[str, str]:
    """What to call each run in a legend: its name, with the end of its identifier where two share one."""
    shared = Counter(run.name for run in runs)
    return {
        run.run_id: run.name if shared[run.name] == 1 else f"{run.name} ({run.run_id[-6:]})" for run in runs
    }


def _chart(key: str, series: list[dict[str, Any]], axis: str, note: str) -> Chart:
    axes: dict[str, dict[str, Any]] = {
        "step": {"name": "step", "whole": True},
        "time": {"name": "time", "type": "time"},
        "relative": {"name": "since its start", "unit": "s"},
    }
    return {
        "key": key,
        "note": note,
        "spec": plots.line(key, series, x=axes[axis], y={"name": key}) | {"smooths": True},
    }
