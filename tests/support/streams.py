"""Synthetic endpoints: days of predictions whose labels depend on each other, as real ones do, with planted faults."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache

import msgspec
import numpy as np
import pyarrow as pa

from everloop.domain.deployments import SegmentRecord
from everloop.domain.monitors import DAY
from everloop.governance.rooms import Context
from everloop.monitoring.monitoring import Monitoring

FIRST = datetime(2013, 4, 1, tzinfo=UTC)
MODEL = "model:delay@v1"
ROWS = 600

Days = dict[datetime, tuple[pa.Table, pa.Table]]
"""By start: the prediction log of the day, and its labels."""


class Fault(msgspec.Struct, frozen=True):
    """What goes wrong from day `begin` on: `change` gets the day's columns and returns them changed."""

    begin: int
    change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


def make_days(
    seed: int, days: int, *, first: datetime = FIRST, rows: int = ROWS, fault: Fault | None = None
) -> Days:
    """A calibrated model on days whose difficulty wanders: bad days are bad for every row."""
    made: Days = {}
    for number in range(days):
        start = first + number * DAY
        columns = _columns(np.random.default_rng([seed, number]), rows)
        if fault is not None and number >= fault.begin:
            columns = fault.change(columns)
        made[start] = _tables(columns, start)
    return made


@cache  # most tests want the same, which nobody can change
def reference_table(seed: int, days: int = 60, rows: int = ROWS) -> pa.Table:
    """Rows of the time before, as a training run would hand over its out-of-fold predictions."""
    parts = []
    for start, (log, labels) in make_days(seed, days, first=FIRST - days * DAY, rows=rows).items():
        kept = log.select(["time", "temp", "precip", "dewp", "carrier"]).append_column(
            "probability", log["score"]
        )
        parts.append(kept.append_column("label", labels["label"]))
        assert start < FIRST
    return pa.concat_tables(parts)


class FedMonitoring(Monitoring):
    """Monitoring whose prediction log is a dictionary of days."""

    def __init__(self, context: Context, days: Days) -> None:
        super().__init__(context)
        self.days = days
        self.looked: list[tuple[datetime | None, datetime]] = []

    def _predictions(
        self,
        endpoint: str,
        since: datetime | None,
        until: datetime,
        *,
        settle: bool = False,
        asked_only: bool = False,
    ) -> pa.Table:
        self.looked.append((since, until))
        parts = [
            log
            for start, (log, _) in self.days.items()
            if (since is None or start >= since) and start < until
        ]
        some = next(iter(self.days.values()))[0]
        return pa.concat_tables(parts) if parts else some.slice(0, 0)

    def _segments(self, endpoint: str) -> list[SegmentRecord]:
        """One part of the log a day."""
        return [
            SegmentRecord("", endpoint, "", 0, log.num_rows, start, start + DAY, start, start + DAY, {})
            for start, (log, _) in self.days.items()
        ]


def _columns(rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    day_effect, warmth = rng.normal(0, 0.15), rng.normal(0, 0.1)
    temp = rng.normal(50 + 10 * warmth, 10, rows)
    precip = np.where(rng.random(rows) < 0.9, 0.0, rng.exponential(0.1, rows))
    dewp = temp - np.abs(rng.normal(10, 3, rows))
    carrier = rng.choice(np.array(["AA", "UA", "DL", "B6"], dtype=object), rows, p=[0.4, 0.3, 0.2, 0.1])
    logit = -1.2 + 0.3 * (temp - 50) / 10 + 3 * precip + 0.4 * (carrier == "B6")
    score = 1 / (1 + np.exp(-logit))
    label = (rng.random(rows) < 1 / (1 + np.exp(-(logit + day_effect)))).astype(float)
    return {
        "temp": temp,
        "precip": precip,
        "dewp": dewp,
        "carrier": carrier,
        "score": score,
        "label": label,
        "seconds": rng.gamma(2, 0.002, rows),
        "error": np.full(rows, None, dtype=object),
    }


def _tables(columns: dict[str, np.ndarray], start: datetime) -> tuple[pa.Table, pa.Table]:
    rows = len(columns["label"])
    times = [start + timedelta(seconds=86400 * k / rows) for k in range(rows)]
    ids = [f"{start:%m%d}{k:028d}" for k in range(rows)]
    log = pa.table(
        {
            "prediction_id": ids,
            "time": pa.array(times, pa.timestamp("us", tz="UTC")),
            "key": [f"flight-{k}" for k in range(rows)],
            "arm": ["champion"] * rows,
            "mode": ["live"] * rows,
            "model": [MODEL] * rows,
            "score": columns["score"],
            "seconds": columns["seconds"],
            "error": pa.array(columns["error"].tolist(), pa.string()),
            "temp": columns["temp"],
            "precip": columns["precip"],
            "dewp": pa.array(columns["dewp"], from_pandas=True),
            "carrier": pa.array(columns["carrier"].tolist(), pa.string()),
        }
    )
    observed = pa.array([time + timedelta(hours=5) for time in times], pa.timestamp("us", tz="UTC"))
    return log, pa.table({"prediction_id": ids, "label": columns["label"], "observed": observed})
