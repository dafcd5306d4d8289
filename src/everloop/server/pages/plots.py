"""Plots as data (their shapes: `ui/src/plots/spec.ts`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Spec = dict[str, Any]


def finite(value: float | None) -> float | None:
    """JSON has no NaN: what cannot be drawn is a gap."""
    return value if value is not None and math.isfinite(value) else None


def cloud(name: str, points: Sequence[Sequence[Any]], labels: Sequence[str], hrefs: Sequence[str]) -> Spec:
    """A series of a scatter plot: [x, y] of each point, what it is, and where a click on it leads."""
    return {
        "name": name,
        "key": name,
        "points": list(points),
        "labels": list(labels),
        "hrefs": list(hrefs),
    }


def scatter(name: str, series: Sequence[Spec], *, x: dict[str, Any], y: dict[str, Any]) -> Spec:
    """Points over numbers, time or categories; series without points are left out."""
    return {
        "kind": "scatter",
        "name": name,
        "x": x,
        "y": y,
        "series": [each for each in series if each["points"]],
    }


def line(
    name: str,
    series: Sequence[dict[str, Any]],
    *,
    x: dict[str, Any],
    y: dict[str, Any],
    marks: Sequence[dict[str, Any]] = (),
    thresholds: Sequence[dict[str, Any]] = (),
) -> Spec:
    """Lines over numbers or time."""
    spec: Spec = {"kind": "line", "name": name, "x": x, "y": y, "series": list(series)}
    if marks:
        spec["marks"] = list(marks)
    if thresholds:
        spec["thresholds"] = list(thresholds)
    return spec
