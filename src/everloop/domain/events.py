"""Events: what happened, who did it, and the chain of digests that makes a later edit visible."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from everloop.domain.canonical import canonical, sha256
from everloop.domain.times import micros

GENESIS = "0" * 64
"""What the first event of a ledger names as its predecessor."""


class Event(msgspec.Struct, frozen=True):
    """One entry of the chain. `subject` is a reference, or a short name where no reference exists."""

    seq: int
    id: str
    time: datetime
    actor: str
    action: str
    subject: str
    payload: dict[str, Any]
    previous: str
    digest: str


class Seal(msgspec.Struct, frozen=True):
    """One digest over a batch of events: `first` to `last` by sequence number, chained to the seal before it."""

    number: int
    first: int
    last: int
    time: datetime
    previous: str
    digest: str


def event_digest(
    previous: str, seq: int, id: str, time: datetime, actor: str, action: str, subject: str, payload: bytes
) -> str:
    """The digest of an event; `payload` is its JSON exactly as stored.

    >>> from datetime import UTC
    >>> first = event_digest(GENESIS, 1, "a", datetime(2026, 1, 1, tzinfo=UTC), "ann", "run.started", "run:1", b"{}")
    >>> first == event_digest(GENESIS, 1, "a", datetime(2026, 1, 1, tzinfo=UTC), "bob", "run.started", "run:1", b"{}")
    False
    """
    head = canonical([previous, seq, id, micros(time), actor, action, subject])
    return sha256(head + b"\n" + payload)


def seal_digest(previous: str, digests: list[str]) -> str:
    """The digest of a seal over the digests of its events, in order."""
    return sha256(canonical([previous, digests]))
