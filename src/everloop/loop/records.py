"""What the operations of the loop room take and give."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from everloop.domain.gates import GateResult


class Status(StrEnum):
    WAITING = "waiting"
    """Its policy does not act yet (something is in flight, a cooldown, broken inputs); it is asked again with
    every tick."""
    QUEUED = "queued"
    RUNNING = "running"
    ROLLING_OUT = "rolling_out"
    """The candidate passed its gates and its rollout has begun; once that has ended, one of the next four."""
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    STOPPED = "stopped"
    ABORTED = "aborted"
    REFUSED = "refused"
    FAILED = "failed"
    DROPPED = "dropped"
    """Its cause is gone or too old."""


IN_FLIGHT = frozenset({Status.QUEUED, Status.RUNNING})
STARTED = frozenset({Status.QUEUED, Status.RUNNING, Status.ROLLING_OUT, Status.REFUSED, Status.FAILED})
IN_VAIN = frozenset({Status.REFUSED, Status.FAILED, Status.ROLLED_BACK, Status.STOPPED, Status.ABORTED})
"""It is over, and its candidate does not answer."""


class Retraining(msgspec.Struct, frozen=True):
    """One retraining, from its cause to what became of its candidate. `ended`, `message`: of its rollout, where that is over."""

    id: str
    policy: str
    cause: str
    because: str
    alert: str
    endpoint: str
    model: str
    params: dict[str, Any]
    status: Status
    requested: datetime
    ended: datetime | None = None
    run: str | None = None
    candidate: str | None = None
    rollout: str | None = None
    gates: tuple[GateResult, ...] = ()
    message: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """What came of a retraining."""

    status: Status
    message: str
    run: str | None = None
    candidate: str | None = None
    rollout: str | None = None
    gates: tuple[GateResult, ...] = ()


class Applied(msgspec.Struct, frozen=True):
    """What a definitions module declared about watching, rolling out, retraining and starting pipelines."""

    monitors: tuple[str, ...]
    outcomes: tuple[str, ...]
    plans: tuple[str, ...]
    policies: tuple[str, ...]
    triggers: tuple[str, ...] = ()
