"""Events: what happened, who did it, and the chain of digests that makes a later edit visible, also of the state beside them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from everloop.domain.canonical import canonical, sha256
from everloop.domain.times import micros

GENESIS = "0" * 64
"""What the first event of a ledger names as its predecessor."""


class Event(msgspec.Struct, frozen=True):
    """One entry of the chain. `subject` is a reference, or a short name where no reference exists. `state`: the digest of what
    changed in the tables until then, if anything did (`changes_digest`)."""

    seq: int
    id: str
    time: datetime
    actor: str
    action: str
    subject: str
    payload: dict[str, Any]
    previous: str
    digest: str
    state: str | None = None


class Seal(msgspec.Struct, frozen=True):
    """One digest over a batch of events: `first` to `last` by sequence number, chained to the seal before it."""

    number: int
    first: int
    last: int
    time: datetime
    previous: str
    digest: str


class Anchor(msgspec.Struct, frozen=True):
    """How far a ledger had come at some time, to be kept where who can write the ledger cannot.

    ledger: the digest of its first event, which no other ledger has. events, digest: the number and the digest of the newest
    event, which stands for all before it and for the state they left. seal: the number of the newest seal.
    """

    ledger: str
    seal: int
    events: int
    digest: str
    time: datetime


def event_digest(
    previous: str,
    seq: int,
    id: str,
    time: datetime,
    actor: str,
    action: str,
    subject: str,
    payload: bytes,
    state: str | None = None,
) -> str:
    """The digest of an event; `payload` is its JSON exactly as stored. An event that binds no state has the digest it had before
    there was any binding.

    >>> from datetime import UTC
    >>> first = event_digest(GENESIS, 1, "a", datetime(2026, 1, 1, tzinfo=UTC), "ann", "run.started", "run:1", b"{}")
    >>> first == event_digest(GENESIS, 1, "a", datetime(2026, 1, 1, tzinfo=UTC), "bob", "run.started", "run:1", b"{}")
    False
    """
    fields = [previous, seq, id, micros(time), actor, action, subject]
    head = canonical(fields if state is None else [*fields, state])
    return sha256(head + b"\n" + payload)


def changes_digest(changes: Sequence[tuple[str, bytes]]) -> str:
    """The digest of what changed: for each part in order, the name of its table and its digest.

    >>> changes_digest([("runs", b"a")]) == changes_digest([("run_tags", b"a")])
    False
    """
    return sha256(canonical([[table, sha256(part)] for table, part in changes]))


def seal_digest(previous: str, digests: list[str]) -> str:
    """The digest of a seal over the digests of its events, in order."""
    return sha256(canonical([previous, digests]))
