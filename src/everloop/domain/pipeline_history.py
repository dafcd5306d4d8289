"""What pipelines and steps did over time, as it is asked for: small records without the values that passed between steps."""

from __future__ import annotations

import re
from datetime import datetime

import msgspec

from everloop.domain.pipelines import StepStatus

_PART = re.compile(r"(\[\d+\])+\Z")


class PastRun(msgspec.Struct, frozen=True):
    """A run of a pipeline. status: as it is now, so a run whose process has gone is ``killed``. ended: None while it runs."""

    run: str
    pipeline: str
    source: str
    status: str
    started: datetime
    ended: datetime | None = None

    @property
    def seconds(self) -> float | None:
        """From the start to the end; None before the end."""
        return None if self.ended is None else (self.ended - self.started).total_seconds()


class PipelineOverview(msgspec.Struct, frozen=True):
    """A pipeline: how many runs it has had, and the newest of them, newest first."""

    pipeline: str
    runs: int
    recent: list[PastRun]


class StepTotal(msgspec.Struct, frozen=True):
    """All records of one step in one run that have the same status: one, or the parts of a map.

    step: what names it in its project, ``train.py::fit``; name and position: of the first of them; seconds: their sum.
    run: that in which the first of them was computed; empty where that is not a run of its own.
    """

    of: str
    step: str
    name: str
    position: int
    status: StepStatus
    count: int
    seconds: float
    run: str = ""
    reason: str = ""


class StepMoment(msgspec.Struct, frozen=True):
    """One record of a step, and when it was at work.

    of: the pipeline's run. run: the step's own, where it was computed in one. began and ended: of its own run where it has
    one, else reckoned from when it was recorded and how long it took (`exact` is false then, and right to a second or so); a
    step whose result was taken from the cache has only `ended`. status: ``running`` for one that is at work and has a run of
    its own, or takes a while. inputs: names of the steps whose results went in. log: the object that holds what it printed.
    """

    of: str
    position: int
    name: str
    step: str
    status: str
    seconds: float
    ended: datetime | None
    began: datetime | None = None
    exact: bool = False
    reason: str = ""
    key: str = ""
    run: str = ""
    attempts: int = 1
    inputs: tuple[str, ...] = ()
    error: str = ""
    log: str = ""


class StepUse(msgspec.Struct, frozen=True):
    """Where a step is known from. names: what it was called in runs; pipelines: how often each had it; both the most frequent
    first."""

    step: str
    names: dict[str, int]
    pipelines: dict[str, int]


def whole_name(name: str) -> str:
    """The name of the map that a part belongs to; any other name as it is.

    >>> whole_name("fit[3]"), whole_name("fit#2[0]"), whole_name("fit#2")
    ('fit', 'fit#2', 'fit#2')
    """
    return _PART.sub("", name)
