"""Transactions: what changes state, says what happened, and binds the one to the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, overload

import msgspec
import sqlalchemy as sa

from everloop.domain.canonical import canonical
from everloop.domain.events import GENESIS, changes_digest, event_digest, seal_digest
from everloop.domain.ids import Ids
from everloop.domain.references import Reference
from everloop.domain.times import Clock
from everloop.errors import Conflict
from everloop.store.ledger.changes import Changes, Written, insert_for
from everloop.store.ledger.rows import Digests, packed, quoted, shape_of, unpacked
from everloop.store.schema.base import (
    chain,
    changes,
    changes_waiting,
    cursors,
    edges,
    events,
    objects_freed,
    objects_held,
    seals,
)

SEAL_EVERY = 256
"""How many events one seal covers."""

PART_ROWS = 50_000
"""How many rows one row of `changes` speaks of at most."""

ASKED_AT_ONCE = 5_000  # SQLite takes 32,766 parameters in one statement

Statement = sa.Executable

Absent = Callable[[Iterable[str]], set[str]]
"""Those of some digests that are not in the object store."""

# Built once: they are part of every transaction.
_HEAD = sa.select(chain.c.seq, chain.c.digest).where(chain.c.id == 1).with_for_update()
_MOVE_HEAD = (
    sa.update(chain).where(chain.c.id == 1).values(seq=sa.bindparam("to"), digest=sa.bindparam("hash"))
)
_ANY_FREED = sa.select(objects_freed.c.digest).limit(1)
_APPEND = sa.insert(events)
_BIND = sa.insert(changes)
_WAIT = sa.insert(changes_waiting)
_TAKE_WAITING = sa.delete(changes_waiting).returning(
    changes_waiting.c.number, changes_waiting.c.table, changes_waiting.c.rows
)


class Reader:
    """A consistent look at the ledger. Statements are SQLAlchemy Core; rows come back as `sa.Row`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._connection.dialect.name

    def execute(self, statement: Statement, parameters: Any = None) -> sa.CursorResult[Any]:
        return self._connection.execute(statement, parameters)

    def all(self, statement: Statement) -> Sequence[sa.Row[Any]]:
        return self._connection.execute(statement).all()

    def first(self, statement: Statement) -> sa.Row[Any] | None:
        return self._connection.execute(statement).first()

    def scalar(self, statement: Statement) -> Any:
        return self._connection.execute(statement).scalar()


class Transaction(Reader):
    """A look that may also change things. Events are numbered and chained when the block ends, so the chain is locked only for
    a moment, after all other locks: writers cannot block each other in a circle.

    Every row written through `execute` (and what stands on it) is noted with its digest, and the last event of the transaction
    binds these: `audit verify` names a row that was written in any other way. So state is written by statements of Core on the
    ledger's tables only, and a primary key is never updated.
    """

    def __init__(
        self, connection: sa.Connection, actor: str, clock: Clock, ids: Ids, absent: Absent = set
    ) -> None:
        super().__init__(connection)
        self.actor = actor
        self.now: datetime = clock()
        self.changes = Changes(connection)
        self._ids = ids
        self._absent = absent
        self._pending: list[tuple[str, str, str, bytes]] = []

    # The answer to a write knows no more than how many rows it wrote.
    @overload
    def execute(self, statement: sa.UpdateBase, parameters: Any = None) -> Written: ...  # type: ignore[overload-overlap]

    @overload
    def execute(self, statement: Statement, parameters: Any = None) -> sa.CursorResult[Any]: ...

    def execute(self, statement: Statement, parameters: Any = None) -> Written | sa.CursorResult[Any]:
        if isinstance(statement, sa.UpdateBase):
            return self.changes.execute(statement, parameters)
        return super().execute(statement, parameters)

    def event(
        self, action: str, subject: Reference | str, payload: Mapping[str, Any] | msgspec.Struct | None = None
    ) -> str:
        """Say what happened: ``room.happened``, to what, with which facts. Returns the event's identifier."""
        identifier = self._ids()
        self._pending.append(
            (identifier, action, str(subject), canonical({} if payload is None else payload))
        )
        return identifier

    def edge(self, source: Reference | str, target: Reference | str, role: str) -> None:
        """Lineage: something of `source` went into `target`. Saying it twice is saying it once."""
        self.insert_new(edges, {"source": str(source), "target": str(target), "role": role, "time": self.now})

    def hold(self, digest: str, size: int, holder: Reference | str) -> None:
        """`holder` needs this object: it is not garbage, and `audit verify` must find it."""
        self.insert_new(objects_held, {"digest": digest, "holder": str(holder), "size": size})

    def release(self, holder: Reference | str) -> None:
        """`holder` needs none of its objects any more."""
        self.execute(sa.delete(objects_held).where(objects_held.c.holder == str(holder)))

    def insert_new(self, table: sa.Table, rows: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> int:
        """Insert rows whose primary or unique key is not there yet; the others stay as they are. Returns how many were new."""
        insert: sa.Insert = insert_for(self.dialect)(table).on_conflict_do_nothing()
        listed = [rows] if isinstance(rows, Mapping) else list(rows)
        if len({frozenset(row) for row in listed}) == 1:
            return self.execute(insert, listed if len(listed) > 1 else listed[0]).rowcount
        return sum(self.execute(insert, row).rowcount for row in listed)

    def put(self, table: sa.Table, rows: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
        """Insert rows, or replace the columns given of those with the same primary key. All rows give the same columns."""
        listed = [rows] if isinstance(rows, Mapping) else list(rows)
        if listed:
            self.changes.put(table, listed)

    def lock(self, table: sa.Table) -> None:
        """Until this transaction ends, nobody else writes to a table. On SQLite nobody else writes at all while one runs."""
        if self.dialect == "postgresql":
            self._connection.exec_driver_sql(f"LOCK TABLE {quoted(table.name)} IN SHARE ROW EXCLUSIVE MODE")

    def advance(self, consumer: str, seq: int) -> None:
        """The consumer has dealt with all events up to `seq`: said in the transaction that holds what it did about them."""
        self.put(cursors, {"consumer": consumer, "seq": seq})

    def append_pending(self) -> None:
        """Number, chain and write the events said so far, the last one binding the rows written, and seal full batches. Called
        when the transaction ends. Rows written without an event wait for the next transaction that has one.

        Raises Conflict when an object that is held now was freed since it was stored."""
        self._rescue()
        written = self.changes.take()
        if not self._pending:
            waiting = [
                {"table": table, "rows": part} for table, rows in written.items() for part in _parts(rows)
            ]
            if waiting:
                self._connection.execute(_WAIT, waiting)
            return
        head = self._connection.execute(_HEAD).one()
        seq, previous = int(head.seq), str(head.digest)
        state = self._bind(seq + len(self._pending), written)
        rows = []
        for number, (identifier, action, subject, payload) in enumerate(self._pending, seq + 1):
            bound = state if number == seq + len(self._pending) else None
            digest = event_digest(
                previous, number, identifier, self.now, self.actor, action, subject, payload, bound
            )
            rows.append(
                {
                    "seq": number,
                    "id": identifier,
                    "time": self.now,
                    "actor": self.actor,
                    "action": action,
                    "subject": subject,
                    "payload": payload.decode(),
                    "previous": previous,
                    "digest": digest,
                    "state": bound,
                }
            )
            previous = digest
        self._pending.clear()
        self._connection.execute(_APPEND, rows)
        self._connection.execute(_MOVE_HEAD, {"to": rows[-1]["seq"], "hash": previous})
        if (seq + len(rows)) // SEAL_EVERY > seq // SEAL_EVERY:
            self._seal(seq + len(rows))

    def _rescue(self) -> None:
        """Objects that are held from now on are not free any more. The collection of objects removes them within a transaction of
        this ledger that locks `objects_held`, so what is found in the store here stays there. This comes after the hold was
        written: what a collection has marked before it is seen, and none can mark after it."""
        held = self.changes.noted(objects_held)
        if not held or self.scalar(_ANY_FREED) is None:
            return
        shape = shape_of(objects_held)
        digests = sorted({shape.key_values(key)[0] for key, digest in held.items() if digest is not None})
        for start in range(0, len(digests), ASKED_AT_ONCE):
            among = objects_freed.c.digest.in_(digests[start : start + ASKED_AT_ONCE])
            freed = [row.digest for row in self.all(sa.select(objects_freed.c.digest).where(among))]
            if absent := self._absent(freed) if freed else ():
                raise Conflict(
                    f"object {min(absent)} was freed after it was stored, for nothing needed it then",
                    hint="store it again",
                )
            if freed:
                self.execute(sa.delete(objects_freed).where(among))

    def _bind(self, seq: int, written: dict[str, Digests]) -> str | None:
        """Write what changed down as the changes of event `seq`; returns their digest, or None when nothing did. Of a row that
        was written several times the last digest counts: what waited is older than this transaction's own, because a row that
        this one wrote first cannot have been written by another one meanwhile."""
        bound: dict[str, Digests] = {}
        for _, table, part in sorted(self._connection.execute(_TAKE_WAITING)):
            bound.setdefault(table, {}).update(unpacked(part))
        for table, rows in written.items():
            bound.setdefault(table, {}).update(rows)
        parts = [(table, part) for table in sorted(bound) for part in _parts(bound[table])]
        if not parts:
            return None
        self._connection.execute(
            _BIND,
            [
                {"event": seq, "part": number, "table": table, "rows": part}
                for number, (table, part) in enumerate(parts)
            ],
        )
        return changes_digest(parts)

    def _seal(self, head: int) -> None:
        last = self.first(sa.select(seals).order_by(seals.c.number.desc()).limit(1))
        number, first, previous = (last.number + 1, last.last + 1, last.digest) if last else (1, 1, GENESIS)
        while head - first + 1 >= SEAL_EVERY:
            end = first + SEAL_EVERY - 1
            digests = [
                row.digest
                for row in self.all(
                    sa.select(events.c.digest).where(events.c.seq.between(first, end)).order_by(events.c.seq)
                )
            ]
            digest = seal_digest(previous, digests)
            row = {
                "number": number,
                "first": first,
                "last": end,
                "time": self.now,
                "previous": previous,
                "digest": digest,
            }
            self._connection.execute(sa.insert(seals), row)
            number, first, previous = number + 1, end + 1, digest


def _parts(rows: Digests) -> Iterator[bytes]:
    if len(rows) <= PART_ROWS:
        if rows:
            yield packed(rows)
        return
    left = iter(rows.items())
    while part := dict(islice(left, PART_ROWS)):
        yield packed(part)
