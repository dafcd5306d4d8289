"""What the operations of the monitoring room take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from everloop.domain.alerts import Alert, Report
from everloop.domain.monitors import Monitor, Outcome, Reading, Streak


class ActualsReceipt(msgspec.Struct, frozen=True):
    """What became of a batch of labels. `matched` counts rows that found their prediction and were new or a
    correction of it; `unmatched` rows are kept and matched when their prediction arrives."""

    matched: int
    unmatched: int
    duplicates: int
    corrections: int
    rows: int
    batch: str


class ActualsBatch(msgspec.Struct, frozen=True):
    """One stored batch: `digest` is of what was given, `object` the Parquet object of its rows."""

    id: str
    endpoint: str
    digest: str
    object: str
    size: int
    source: str
    rows: int
    matched: int
    unmatched: int
    duplicates: int
    corrections: int
    received: datetime
    days: tuple[datetime, ...] = ()


class ReferenceRecord(msgspec.Struct, frozen=True):
    model: str
    digest: str
    rows: int
    days: int
    stored: datetime


class WindowRecord(msgspec.Struct, frozen=True):
    """One day of one model on one endpoint.

    status: ``closed`` (the day is over, labels are awaited) or ``final`` (labels have come, or their time is
    over). values: means of the day; which ones there are depends on the outputs and on what has come. state:
    the object with the day's additive column states.
    """

    endpoint: str
    model: str
    mode: str
    start: datetime
    end: datetime
    status: str
    rows: int
    labelled: int
    values: dict[str, float | None]
    state: str | None = None
    state_size: int = 0

    @property
    def coverage(self) -> float:
        return self.labelled / self.rows if self.rows else 0.0


class ResultRecord(msgspec.Struct, frozen=True):
    """What one monitor said of one window."""

    endpoint: str
    monitor: str
    model: str
    start: datetime
    over: bool
    streak: Streak
    sustained: bool
    readings: tuple[Reading, ...]


class FamilyStep(msgspec.Struct, frozen=True):
    """What the monitors of one family say together about one window: moves that family's alert."""

    family: str
    model: str
    window_end: datetime
    over: bool
    sustained: bool
    clear: bool
    report: Report | None = None


class Note(msgspec.Struct, frozen=True):
    """Something seen that calls nobody: written into the feed when it begins."""

    monitor: str
    model: str
    window_end: datetime
    text: str
    readings: tuple[Reading, ...]


class Evaluation(msgspec.Struct, frozen=True):
    """What one look at an endpoint found, in the order of the windows."""

    windows: tuple[WindowRecord, ...] = ()
    results: tuple[ResultRecord, ...] = ()
    steps: tuple[FamilyStep, ...] = ()
    notes: tuple[Note, ...] = ()


class Progress(msgspec.Struct, frozen=True):
    """How far an endpoint has been evaluated: what the next look starts from."""

    monitors: tuple[Monitor, ...]
    outcome: Outcome
    last_start: datetime | None
    waiting: tuple[datetime, ...]
    """Starts of closed days that await their labels, in order."""
    latest: tuple[ResultRecord, ...]
    """The newest result of each monitor."""


class EvaluationSummary(msgspec.Struct, frozen=True):
    """What `evaluate` did: days closed, days that became final, alerts that changed, and what was noted."""

    closed: int
    final: int
    alerts: tuple[Alert, ...]
    notes: tuple[str, ...]


class Silence(msgspec.Struct, frozen=True):
    alert_id: str
    until: datetime
    because: str


class Health(msgspec.Struct, frozen=True):
    """How an endpoint is doing. Each part is None or empty where nothing is known yet, never a made-up
    number."""

    endpoint: str
    model: str
    until: datetime | None
    realised: dict[str, Any] | None
    estimated: dict[str, Any] | None
    drift: list[dict[str, Any]]
    latency: dict[str, float] | None
    errors: dict[str, float] | None
    alerts: list[Alert]
    windows: dict[str, int]
