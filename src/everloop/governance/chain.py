"""Whether the chain of events holds: its digests, the changes it binds, its seals, and anchors that were kept of it elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.domain.events import GENESIS, Anchor, changes_digest, event_digest, seal_digest
from everloop.domain.times import from_micros
from everloop.store.ledger import Reader
from everloop.store.schema.base import chain, changes, events, seals

_RAW_TIME = sa.type_coerce(events.c.time, sa.BigInteger).label("time")
"""A damaged time may be none: it is read as it is stored."""


class AuditFault(msgspec.Struct, frozen=True):
    """One thing that is not as it was written: where, and what is wrong."""

    place: str
    message: str


class ChainFaults(msgspec.Struct):
    """What walking the chain found. `digests`: of every event by number, computed again."""

    faults: list[AuditFault]
    digests: dict[int, str]
    seals: int = 0


def walk(look: Reader) -> ChainFaults:
    """Compute every digest of the chain again. `look` must see one moment."""
    found = ChainFaults([], {})
    last = _walk_events(look, found)
    head = look.first(sa.select(chain).where(chain.c.id == 1))
    if head is None or (head.seq, head.digest) != last:
        message = "the head of the chain is not its last event: events were removed at the end"
        found.faults.append(AuditFault("chain", message))
    _walk_seals(look, found)
    return found


def anchor_of(look: Reader, now: datetime) -> Anchor:
    """How far the ledger has come."""
    head = look.first(sa.select(chain).where(chain.c.id == 1))
    first = look.scalar(sa.select(events.c.digest).where(events.c.seq == 1))
    number = look.scalar(sa.select(sa.func.max(seals.c.number)))
    seq, digest = (0, GENESIS) if head is None else (head.seq, head.digest)
    return Anchor(first or GENESIS, number or 0, seq, digest, now)


def anchor_faults(look: Reader, anchors: Sequence[Anchor]) -> list[AuditFault]:
    """Where a ledger does not go on from its anchors, by the digests it has written down: the first anchor that does not hold,
    and the last one before it that does. Whether these digests are right is what `walk` finds out."""
    first = look.scalar(sa.select(events.c.digest).where(events.c.seq == 1))
    held: Anchor | None = None
    for anchor in sorted(anchors, key=lambda each: each.events):
        if anchor.events == 0:
            continue  # every ledger goes on from an empty one
        if anchor.ledger != first:
            message = f"is not the one of the ledger that was anchored on {_day(anchor)}"
            return [AuditFault("event 1", message)]
        digest = look.scalar(sa.select(events.c.digest).where(events.c.seq == anchor.events))
        if digest != anchor.digest:
            return [AuditFault(f"event {anchor.events}", _said(anchor, held, gone=digest is None))]
        held = anchor
    return []


def _walk_events(look: Reader, found: ChainFaults) -> tuple[int, str]:
    columns = [_RAW_TIME if column is events.c.time else column for column in events.columns]
    bound = _Bound(look)
    expected, previous = 1, GENESIS
    for row in look.execute(sa.select(*columns).order_by(events.c.seq).execution_options(yield_per=1000)):
        place = f"event {row.seq}"
        if row.seq != expected:
            message = f"follows event {expected - 1}: {row.seq - expected} events are missing before it"
            found.faults.append(AuditFault(place, message))
        elif row.previous != previous:
            message = "does not name the event before it as its predecessor"
            found.faults.append(AuditFault(place, message))
        digest = _digest(row)
        if digest != row.digest:
            message = f"was changed after it was written ({row.action} of {row.subject})"
            found.faults.append(AuditFault(place, message))
        if bound.digest(row.seq) != row.state:
            found.faults.append(AuditFault(place, "what it changed in the tables was rewritten afterwards"))
        found.digests[row.seq] = digest
        expected, previous = row.seq + 1, row.digest
    found.faults += [AuditFault(f"changes of event {seq}", "there is no such event") for seq in bound.left()]
    return expected - 1, previous


class _Bound:
    """The digests of the changes of each event, asked for in order."""

    def __init__(self, look: Reader) -> None:
        query = sa.select(changes.c.event, changes.c.table, changes.c.rows)
        rows = look.execute(query.order_by(changes.c.event, changes.c.part).execution_options(yield_per=100))
        self._rows = iter(rows)
        self._next = next(self._rows, None)
        self._left: list[int] = []

    def digest(self, seq: int) -> str | None:
        parts: list[tuple[str, bytes]] = []
        while self._next is not None and self._next.event <= seq:
            if self._next.event == seq:
                parts.append((self._next.table, self._next.rows))
            else:
                self._left.append(self._next.event)
            self._next = next(self._rows, None)
        return changes_digest(parts) if parts else None

    def left(self) -> list[int]:
        """The events whose changes nobody asked for."""
        while self._next is not None:
            self._left.append(self._next.event)
            self._next = next(self._rows, None)
        return sorted(set(self._left))


def _walk_seals(look: Reader, found: ChainFaults) -> None:
    before = GENESIS
    for row in look.all(sa.select(seals).order_by(seals.c.number)):
        batch = [found.digests.get(seq, "") for seq in range(row.first, row.last + 1)]
        if row.previous != before or seal_digest(row.previous, batch) != row.digest:
            message = f"does not match events {row.first} to {row.last}"
            found.faults.append(AuditFault(f"seal {row.number}", message))
        before, found.seals = row.digest, found.seals + 1


def _digest(row: sa.Row[Any]) -> str:
    """The digest of an event as it stands; empty when a damaged value cannot even be read."""
    try:
        time, payload = from_micros(row.time), row.payload.encode()
        return event_digest(
            row.previous, row.seq, row.id, time, row.actor, row.action, row.subject, payload, row.state
        )
    except (AttributeError, TypeError, ValueError, OverflowError):
        return ""


def _said(anchor: Anchor, held: Anchor | None, *, gone: bool) -> str:
    what = "is gone, which was there" if gone else "is not the one that was there"
    same = f"; up to event {held.events} the ledger is the same" if held else ""
    return f"{what} when it was anchored on {_day(anchor)}{same}"


def _day(anchor: Anchor) -> str:
    return f"{anchor.time:%Y-%m-%d %H:%M} UTC"
