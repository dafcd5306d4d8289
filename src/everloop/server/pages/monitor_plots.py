"""An endpoint's days as pictures: each monitor against its limit with its interval, columns by windows as a heat map, and what
the days were like. Deployments, alerts and retrainings are marked on every time axis."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from everloop.domain.monitors import Measure, Monitor
from everloop.monitoring.records import ResultRecord, WindowRecord
from everloop.server.pages import plots
from everloop.workspace.workspace import Workspace

DAYS_SHOWN = 90
MOST_COLUMNS = 40
"""Rows of a heat map: the columns that moved most."""

Chart = dict[str, Any]

_Y: dict[Measure, tuple[str, str]] = {
    Measure.EXCESS_LOSS: ("worse than the reference by", "log loss"),
    Measure.DAILY_AUC: ("worse than the reference by", "AUC"),
    Measure.CALIBRATION: ("worse than the reference by", "gap"),
    Measure.ESTIMATED: ("worse than the reference by", "AUC"),
    Measure.LATENCY: ("95th percentile", "ms"),
    Measure.ERRORS: ("failed requests", "%"),
    Measure.GROUP_GAP: ("difference between groups", ""),
}
_SCALE = {Measure.LATENCY: 1000.0, Measure.ERRORS: 100.0}
BY_COLUMN = frozenset({Measure.DRIFT, Measure.MISSING, Measure.CATEGORIES})
NAMES = {
    Measure.DRIFT: "Drift of inputs",
    Measure.MISSING: "Missing values",
    Measure.CATEGORIES: "Values never seen before",
    Measure.EXCESS_LOSS: "Excess loss",
    Measure.DAILY_AUC: "AUC within a day",
    Measure.CALIBRATION: "Calibration",
    Measure.ESTIMATED: "Estimated AUC, before labels",
    Measure.LATENCY: "Latency",
    Measure.ERRORS: "Failed requests",
    Measure.GROUP_GAP: "Groups",
}


class Days:
    """The last days of an endpoint, as monitoring has evaluated them."""

    def __init__(self, workspace: Workspace, endpoint: str, days: int) -> None:
        self._workspace, self._endpoint, self._days = workspace, endpoint, days

    @cached_property
    def windows(self) -> list[WindowRecord]:
        """Live days, oldest first."""
        found: list[WindowRecord] = self._workspace.monitoring.windows(
            endpoint=self._endpoint, mode="live", limit=self._days * 4
        )
        since = found[-1].start - timedelta(days=self._days) if found else None
        return [each for each in found if since is None or each.start > since]

    @cached_property
    def monitors(self) -> list[Monitor]:
        found: list[Monitor] = self._workspace.monitoring.monitors(endpoint=self._endpoint)
        return found

    @cached_property
    def results(self) -> dict[str, list[ResultRecord]]:
        """By monitor, oldest first, in the days shown."""
        if not self.windows:
            return {}
        since = self.windows[0].start
        return {
            each.name: self._workspace.monitoring.results(
                endpoint=self._endpoint, monitor=each.name, since=since, limit=self._days * 4
            )
            for each in self.monitors
        }

    def has_readings(self, monitor: str) -> bool:
        """Whether a monitor had anything to go by."""
        return any(each.readings for each in self.results.get(monitor, []))

    @cached_property
    def marks(self) -> list[dict[str, Any]]:
        """What happened in these days: deployments, alerts, retrainings."""
        if not self.windows:
            return []
        first, last = self.windows[0].start, self.windows[-1].end
        found = [
            (each.time, "deployment", each.reason or f"revision {each.revision}")
            for each in self._workspace.serving.revisions(self._endpoint)
        ]
        found += [
            (each.fired, "alert", each.family)
            for each in self._workspace.monitoring.alerts(endpoint=self._endpoint)
            if each.fired is not None
        ]
        for each in self._workspace.rollout.rollouts(endpoint=self._endpoint):
            name = short(each.candidate)
            found.append((each.started, "deployment", f"rollout of {name}"))
            if each.ended is not None:
                found.append((each.ended, "deployment", f"{name} {str(each.state).replace('_', ' ')}"))
        found += [
            (each.requested, "retrain", "retraining")
            for each in self._workspace.loop.retrainings()
            if each.endpoint == self._endpoint
        ]
        return [
            {"at": moment.isoformat(), "kind": kind, "label": label[:40]}
            for moment, kind, label in sorted(found, key=lambda each: each[0])
            if first <= moment <= last
        ]

    def monitor_charts(self) -> list[Chart]:
        """One chart a monitor that measures one number a day: what it saw, its interval, its limit."""
        charts = []
        for monitor in self.monitors:
            if monitor.measure in BY_COLUMN or not self.has_readings(monitor.name):
                continue
            name, unit = _Y[monitor.measure]
            scale = _SCALE.get(monitor.measure, 1.0)
            series = list(_by_model(self.results[monitor.name], scale))
            over = sum(each.over for each in self.results[monitor.name])
            spec = plots.line(
                monitor.name,
                series,
                x=TIME,
                y={"name": name, "unit": unit} if unit else {"name": name},
                marks=self.marks,
                thresholds=[{"y": monitor.effect * scale, "label": "limit"}],
            )
            charts.append(
                {
                    "name": monitor.name,
                    "caption": NAMES[monitor.measure],
                    "note": f"{monitor.name}, "
                    + (f"over {monitor.trailing} days" if monitor.trailing else "each day"),
                    "summary": f"{NAMES[monitor.measure]}: over its limit on {over} of {len(self.results[monitor.name])} days",
                    "spec": spec,
                }
            )
        return charts

    def heat_maps(self, only: set[str] | None = None) -> list[Chart]:
        """One picture a monitor that measures columns: effect in units of its floor, columns by days."""
        charts = []
        for monitor in self.monitors:
            results = self.results.get(monitor.name, [])
            if (
                monitor.measure not in BY_COLUMN
                or not self.has_readings(monitor.name)
                or (only is not None and monitor.name not in only)
            ):
                continue
            days = sorted({each.start for each in results})
            values: dict[str, dict[datetime, float]] = {}
            for each in results:
                for reading in each.readings:
                    share = reading.effect / reading.floor if reading.floor else reading.effect
                    values.setdefault(reading.column, {})[each.start] = share
            largest = sorted(values, key=lambda column: -max(values[column].values(), default=0.0))[
                :MOST_COLUMNS
            ]
            charts.append(
                {
                    "name": monitor.name,
                    "caption": NAMES[monitor.measure],
                    "note": f"{monitor.name}, in units of its limit: 1 is at the limit",
                    "spec": {
                        "kind": "heatmap",
                        "name": monitor.name,
                        "x": {"name": "day", "categories": [f"{day:%Y-%m-%d}" for day in days]},
                        "y": {"name": "", "categories": largest},
                        "value": {"name": "times the limit", "min": 0, "max": 2},
                        "values": [
                            [plots.finite(values[column].get(day)) for day in days] for column in largest
                        ],
                    },
                }
            )
        return charts

    def day_charts(self) -> list[Chart]:
        """What the days were like: rows, predictions beside outcomes, AUC as it was and as it was expected."""
        if not self.windows:
            return []
        rate = [
            *self._values("score", "mean prediction", dashed=True),
            *self._values("rate", "outcome"),
        ]
        auc = [
            *self._values("auc", "AUC"),
            *self._values(
                "estimated_auc", "expected", dashed=True, band=("estimated_auc_low", "estimated_auc_high")
            ),
        ]
        charts: list[tuple[str, str, list[dict[str, Any]], dict[str, Any]]] = [
            ("Predictions and outcomes", "mean of the day", rate, {"name": "share"}),
            ("AUC", "expected before labels, with its interval", auc, {"name": "AUC"}),
            ("Predictions", "a day", list(self._rows()), {"name": "predictions", "zero": True}),
        ]
        return [
            {
                "caption": caption,
                "note": note,
                "spec": plots.line(caption, series, x=TIME, y=y, marks=self.marks),
            }
            for caption, note, series, y in charts
            if any(each["points"] for each in series)
        ]

    def _values(
        self, key: str, name: str, *, dashed: bool = False, band: tuple[str, str] | None = None
    ) -> Iterable[dict[str, Any]]:
        for model, windows in self._models().items():
            points = [[at(each.start), plots.finite(each.values.get(key))] for each in windows]
            if all(value is None for _, value in points):
                continue
            label = name if len(self._models()) == 1 else f"{short(model)} {name}"
            series: dict[str, Any] = {
                "name": label,
                "key": f"{model} {key}",
                "points": points,
                "dashed": dashed,
            }
            if band:
                series["band"] = [
                    [at(each.start), each.values[band[0]], each.values[band[1]]]
                    for each in windows
                    if each.values.get(band[0]) is not None and each.values.get(band[1]) is not None
                ]
            yield series

    def _rows(self) -> Iterable[dict[str, Any]]:
        for model, windows in self._models().items():
            yield {
                "name": short(model),
                "key": model,
                "points": [[at(each.start), each.rows] for each in windows],
            }

    def _models(self) -> dict[str, list[WindowRecord]]:
        found: dict[str, list[WindowRecord]] = {}
        for each in self.windows:
            found.setdefault(each.model, []).append(each)
        return found


TIME = {"name": "day", "type": "time"}


def at(moment: datetime) -> int:
    """An instant as plots want it: milliseconds."""
    return int(moment.timestamp() * 1000)


def short(model: str) -> str:
    """``model:delay@v3`` as ``delay@v3``."""
    return model.partition(":")[2]


def _by_model(results: list[ResultRecord], scale: float) -> Iterable[dict[str, Any]]:
    by_model: dict[str, list[ResultRecord]] = {}
    for each in results:
        by_model.setdefault(each.model, []).append(each)
    for model, found in by_model.items():
        readings = [(at(each.start), each.readings[0]) for each in found if each.readings]
        series: dict[str, Any] = {
            "name": short(model),
            "key": model,
            "points": [[place, plots.finite(reading.effect * scale)] for place, reading in readings],
        }
        band = [
            [place, reading.low * scale, reading.high * scale]
            for place, reading in readings
            if reading.low is not None and reading.high is not None
        ]
        if band:
            series["band"] = band
        yield series
