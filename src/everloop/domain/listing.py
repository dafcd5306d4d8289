"""What a table of very many runs is made of: their order without their data, and the data of those in sight."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Spread(msgspec.Struct, frozen=True):
    """A metric over the runs of a group: of how many it is known (NaN is not), their mean, least and greatest."""

    runs: int
    mean: float | None = None
    min: float | None = None
    max: float | None = None


class RunGroup(msgspec.Struct, frozen=True):
    """Runs that share a value: `runs` of them, from position `first` of the outline on. `value` None: those without one."""

    value: str | None
    first: int
    runs: int
    spreads: list[Spread] = []
    """One for each metric that was asked for."""


class Outline(msgspec.Struct, frozen=True):
    """The identifiers of all runs that match a filter, in order.

    `depths`: how deep each lies below another one (empty where nothing is nested). `context`: the positions of runs that do not
    match themselves and are there for those below them. `matching` counts all that match, also those beyond the limit.
    """

    run_ids: list[str]
    matching: int
    depths: list[int] = []
    context: list[int] = []
    groups: list[RunGroup] = []


class Excerpt(msgspec.Struct, frozen=True):
    """One row of a table of runs: what every run has, how many runs are below it, and the cells that were asked for, as text
    (metrics so that no digit is lost), None where the run has none."""

    run_id: str
    name: str
    experiment: str
    user: str
    source: str
    version: str
    status: str
    state: str
    start_time: datetime
    end_time: datetime | None
    parent: str | None
    children: int
    cells: list[str | None]

    @property
    def reference(self) -> str:
        return f"run:{self.run_id}"

    @property
    def duration(self) -> float | None:
        """Seconds from start to end; None while it runs."""
        return (self.end_time - self.start_time).total_seconds() if self.end_time else None


class KeyCount(msgspec.Struct, frozen=True):
    """A key and how many runs have it. `numeric`: all its values are numbers."""

    key: str
    runs: int
    numeric: bool


class RunKeys(msgspec.Struct, frozen=True):
    """The keys that runs have, those most runs have first."""

    params: list[KeyCount]
    metrics: list[KeyCount]
    tags: list[KeyCount]
