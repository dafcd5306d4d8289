"""Plots as data (their shapes: `ui/src/plots/spec.ts`): points thinned without losing extremes, one call a kind of plot."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from everloop.domain.runs import History

MOST_POINTS = 1200
"""Points of one line that are sent: more than a screen has columns."""

Spec = dict[str, Any]


def thinned(values: NDArray[np.float64], most: int = MOST_POINTS) -> NDArray[np.int64]:
    """Positions of the points to draw, in order: first, last, and the least and greatest of each of ``most // 2`` stretches.

    values: float64 (n,). NaN never counts as an extreme.

    >>> import numpy as np
    >>> values = np.zeros(10_000)
    >>> values[4321] = 9.0
    >>> kept = thinned(values, most=100)
    >>> len(kept) <= 102, 4321 in kept, int(kept[0]), int(kept[-1])
    (True, True, 0, 9999)
    """
    import numpy as np

    count = len(values)
    if count <= most:
        return np.arange(count)
    edges = np.linspace(0, count, most // 2 + 1).astype(np.int64)
    low, high = np.where(np.isnan(values), np.inf, values), np.where(np.isnan(values), -np.inf, values)
    kept = {0, count - 1}
    for start, end in itertools.pairwise(edges):
        kept.add(int(start + np.argmin(low[start:end])))
        kept.add(int(start + np.argmax(high[start:end])))
    return np.array(sorted(kept))


def history_points(history: History, *, by_time: bool) -> list[list[float | None]]:
    """Points of a metric by step, or by time in milliseconds; what is not finite breaks the line."""
    import numpy as np

    values = np.frombuffer(history.values, "<f8")
    places = np.frombuffer(history.times if by_time else history.steps, "<i8")
    kept = thinned(values)
    scale = 1000 if by_time else 1
    return [
        [int(places[at]) / scale if by_time else int(places[at]), finite(float(values[at]))] for at in kept
    ]


def finite(value: float | None) -> float | None:
    """JSON has no NaN: what cannot be drawn is a gap."""
    return value if value is not None and math.isfinite(value) else None


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
