"""What the operations about triggers take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from everloop.domain.firings import FiringStatus
from everloop.domain.triggers import PipelineTrigger


class Firing(msgspec.Struct, frozen=True):
    """One time or event that set a trigger off, and what came of it.

    key: names the cause for good; the same cause fires a trigger once. scheduled: the time it stands for; for an event, when it
    happened. cause: in words. facts: what it hands to the templates of the parameters. waits: it is not skipped because another
    one runs. attempts: how many processes had it.
    """

    id: str
    trigger: str
    key: str
    scheduled: datetime
    cause: str
    facts: dict[str, Any]
    params: dict[str, Any]
    status: FiringStatus
    reason: str
    waits: bool
    not_before: datetime
    created: datetime
    started: datetime | None = None
    ended: datetime | None = None
    run: str | None = None
    backfill: str | None = None
    attempts: int = 0
    deaths: int = 0
    stopping: str = ""


class TriggerRecord(msgspec.Struct, frozen=True):
    """A trigger as it is now. on: what sets it off, in words; starts: what it starts; next: its next time, if it has times."""

    name: str
    kind: str
    on: str
    starts: str
    declaration: PipelineTrigger
    declared: datetime
    next: datetime | None
    paused: datetime | None
    paused_by: str
    paused_because: str
    waiting: int
    running: int
    last: Firing | None


class Backfill(msgspec.Struct, frozen=True):
    """A range of past times that are gone through, `at_once` at a time in their order. counts: firings by status."""

    id: str
    trigger: str
    since: datetime
    until: datetime
    at_once: int
    user: str
    created: datetime
    counts: dict[str, int] = {}
    left_alone: int = 0
    """Times in the range that were done, or under way, when it was asked for."""

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def open(self) -> int:
        """How many are not over yet."""
        return self.counts.get("waiting", 0) + self.counts.get("running", 0)


class FileSeen(msgspec.Struct, frozen=True):
    """A file at one look. `path`: relative to the project where it is inside."""

    path: str
    size: int
    modified: datetime
