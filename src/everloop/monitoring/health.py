"""How an endpoint is doing, from what has been evaluated: pure, so that a page and a script see the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from everloop.domain.alerts import Alert
from everloop.domain.monitors import Measure, Monitor
from everloop.monitoring import judging
from everloop.monitoring.evaluation import WATCHED, day_values
from everloop.monitoring.records import Health, ResultRecord, WindowRecord
from everloop.stats.estimate import ASSUMPTION

HEALTH_WINDOWS = 28
"""Final days that are taken together."""
SERVICE_WINDOWS = 7


def watched_model(windows: Sequence[WindowRecord]) -> str:
    """The model that monitors judged on the newest day; empty without windows."""
    if not windows:
        return ""
    newest = max(window.start for window in windows)
    of_day = [window for window in windows if window.start == newest]
    return max(of_day, key=lambda window: (window.values.get(WATCHED) or 0.0, window.rows)).model


def health_of(
    endpoint: str,
    model: str,
    windows: Sequence[WindowRecord],
    results: Sequence[ResultRecord],
    monitors: dict[str, Monitor],
    alerts: list[Alert],
) -> Health:
    final = [window for window in windows if window.status == "final"][-HEALTH_WINDOWS:]
    latest: dict[str, ResultRecord] = {}
    for result in results:  # newest first
        latest.setdefault(result.monitor, result)

    def values(names: Sequence[str], of: Sequence[WindowRecord]) -> dict[str, Any] | None:
        found = {name: judging.current_values(day_values(of, name), HEALTH_WINDOWS) for name in names}
        kept = {name: value for name, value in found.items() if value is not None}
        return kept or None

    realised = values(("loss", "excess", "auc", "gap", "rate", "score"), final)
    if realised is not None:
        rows, labelled = sum(window.rows for window in final), sum(window.labelled for window in final)
        realised |= {
            "rows": rows,
            "coverage": labelled / rows if rows else 0.0,
            "since": final[0].start,
            "until": final[-1].end,
            "against": _against(latest, monitors),
        }
    estimated = values(("estimated_auc", "estimated_accuracy", "estimated_rate"), windows[-SERVICE_WINDOWS:])
    if estimated is not None:
        estimated["assumption"] = ASSUMPTION
    drift = [
        {
            "monitor": name,
            "column": reading.column,
            "effect": reading.effect,
            "floor": reading.floor,
            "p": reading.p,
            "noted": result.sustained,
        }
        for name, result in latest.items()
        if name in monitors and monitors[name].measure in {Measure.DRIFT, Measure.MISSING, Measure.CATEGORIES}
        for reading in result.readings
        if reading.over
    ]
    recent = windows[-SERVICE_WINDOWS:]
    requests = sum(int(window.values.get("requests") or 0) for window in recent)
    latencies = [
        (name, [value for window in recent if (value := window.values.get(name)) is not None])
        for name in ("p50", "p95", "p99")
    ]
    latency = {name: max(found) for name, found in latencies if found}
    failed = [value for window in recent if (value := window.values.get("errors")) is not None]
    return Health(
        endpoint=endpoint,
        model=model,
        until=windows[-1].end if windows else None,
        realised=realised,
        estimated=estimated,
        drift=sorted(drift, key=lambda each: -each["effect"] / max(each["floor"], 1e-9)),
        latency=latency or None,
        errors={"count": sum(failed), "requests": float(requests), "rate": sum(failed) / requests}
        if failed and requests
        else None,
        alerts=alerts,
        windows={
            status: sum(window.status == status for window in windows)
            for status in ("closed", "provisional", "final")
        },
    )


def _against(latest: dict[str, ResultRecord], monitors: dict[str, Monitor]) -> list[dict[str, Any]]:
    """What the performance monitors last said, with their intervals."""
    return [
        {"monitor": name, **msgspec.to_builtins(reading)}
        for name, result in latest.items()
        if name in monitors and monitors[name].trailing
        for reading in result.readings
    ]
