"""Points of metrics that a reader has gathered one by one, as the columns in which they travel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from everloop.domain.adoption import MetricColumns
from everloop.domain.times import EPOCH, from_micros, micros

Point = tuple[int, int, float]
"""Step, time in microseconds since 1970, value."""

_LATEST = micros(from_micros(253_370_764_800_000_000))


def metric_columns(series: Mapping[str, Sequence[Point]]) -> MetricColumns:
    """All points by metric. Metrics without points are left out.

    >>> columns = metric_columns({"loss": [(0, 1, 0.5), (1, 2, 0.25)], "none": []})
    >>> columns.keys, columns.counts, len(columns.points)
    (['loss'], [2], 48)
    """
    import numpy as np

    found = {key: points for key, points in series.items() if points}
    if not found:
        return MetricColumns()
    steps, times, values = zip(*(point for points in found.values() for point in points), strict=True)
    parts = (np.array(steps, "<i8"), np.array(times, "<i8"), np.array(values, "<f8"))
    counts = [len(points) for points in found.values()]
    return MetricColumns(list(found), counts, b"".join(part.tobytes() for part in parts))


def seconds_as_micros(seconds: float) -> int:
    """A time in seconds as whole microseconds; 1970 where there is none.

    >>> seconds_as_micros(1.5), seconds_as_micros(math.nan)
    (1500000, 0)
    """
    if not math.isfinite(seconds) or seconds < 0:
        return micros(EPOCH)
    return min(round(seconds * 1e6), _LATEST)
