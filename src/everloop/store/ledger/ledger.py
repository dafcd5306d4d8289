"""The ledger: its transactions, the feed of events, consumers and their cursors, lineage, and whether all still holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.domain.events import Event, Seal
from everloop.domain.ids import Ids
from everloop.domain.times import Clock
from everloop.store.ledger import versions
from everloop.store.ledger.engines import begin_write, database_errors, make_engine, readable_damage
from everloop.store.ledger.state import Fault, state_faults
from everloop.store.ledger.transaction import Absent, Reader, Transaction
from everloop.store.schema.base import chain, cursors, edges, events, objects_held, seals


class Ledger:
    """What is known. Open one with `open_ledger`; any number of threads and processes may share one database.

    Contract (run over every backend by ``tests/contracts/test_ledger.py``): a transaction is whole or absent, with its events;
    events are numbered 1, 2, 3 … without gaps in the order they became visible; a consumer sees each event at least once.
    """

    def __init__(self, engine: sa.Engine, clock: Clock, ids: Ids, absent: Absent = set) -> None:
        self._engine = engine
        self._clock = clock
        self._ids = ids
        self._absent = absent

    @property
    def url(self) -> str:
        return self._engine.url.render_as_string(hide_password=True)

    @contextmanager
    def transaction(self, actor: str) -> Iterator[Transaction]:
        """A block that changes things: committed with its events when it ends, nothing of it on an exception."""
        with database_errors(self._engine), self._engine.connect() as connection:
            begin_write(connection)
            transaction = Transaction(connection, actor, self._clock, self._ids, self._absent)
            yield transaction
            transaction.append_pending()
            connection.commit()

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """A block that looks at one moment of the ledger, whatever is written meanwhile, and can read damaged text."""
        with self._at_one_moment() as connection:
            yield Reader(connection)

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """A block that only looks."""
        with database_errors(self._engine), self._engine.connect() as connection:
            yield Reader(connection)

    def events(
        self,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = 1000,
        actions: Iterable[str] = (),
        subject: str | None = None,
        newest_first: bool = False,
    ) -> list[Event]:
        """Events by number; `actions` may end in ``.*`` to take a whole room."""
        query = sa.select(events).where(events.c.seq > after)
        if before is not None:
            query = query.where(events.c.seq < before)
        if subject is not None:
            query = query.where(events.c.subject == subject)
        wanted = list(actions)
        if wanted:
            query = query.where(sa.or_(*(_action_is(each) for each in wanted)))
        query = query.order_by(events.c.seq.desc() if newest_first else events.c.seq).limit(limit)
        with self.read() as look:
            return [_event(row) for row in look.all(query)]

    def head(self) -> int:
        """The number of the newest event."""
        with self.read() as look:
            return int(look.scalar(sa.select(chain.c.seq).where(chain.c.id == 1)) or 0)

    def seals(self) -> list[Seal]:
        with self.read() as look:
            return [Seal(**row._mapping) for row in look.all(sa.select(seals).order_by(seals.c.number))]

    def cursor(self, consumer: str) -> int:
        """The number of the last event the consumer has dealt with."""
        with self.read() as look:
            return int(look.scalar(sa.select(cursors.c.seq).where(cursors.c.consumer == consumer)) or 0)

    def consume(
        self,
        consumer: str,
        handle: Callable[[Transaction, Event], None],
        *,
        actor: str,
        actions: Iterable[str] = (),
        limit: int = 100,
    ) -> int:
        """Give the consumer its next events, each in a transaction of its own that also moves the cursor: what `handle` writes
        through that transaction happens exactly once, what it does elsewhere at least once. Returns how many were dealt with."""
        batch = self.events(after=self.cursor(consumer), limit=limit, actions=actions)
        for event in batch:
            with self.transaction(actor) as tx:
                handle(tx, event)
                tx.advance(consumer, event.seq)
        return len(batch)

    def edges_of(self, reference: str, *, upward: bool, depth: int = 100) -> list[tuple[str, str, str]]:
        """Lineage as (source, target, role): what went into `reference` (upward), or what it went into, transitively."""
        here, there = (edges.c.target, edges.c.source) if upward else (edges.c.source, edges.c.target)
        start = sa.select(sa.literal(reference, sa.String).label("node"), sa.literal(0).label("depth"))
        walk = start.cte("walk", recursive=True)
        walk = walk.union(
            sa.select(there, walk.c.depth + 1)
            .select_from(walk.join(edges, here == walk.c.node))
            .where(walk.c.depth < depth)
        )
        query = (
            sa.select(edges.c.source, edges.c.target, edges.c.role)
            .where(here.in_(sa.select(walk.c.node)))
            .distinct()
            .order_by(edges.c.source, edges.c.target, edges.c.role)
        )
        with self.read() as look:
            return [(row.source, row.target, row.role) for row in look.all(query)]

    def held_objects(self) -> Iterator[tuple[str, str, int]]:
        """Every object something needs, as (digest, holder, size)."""
        with self.snapshot() as look:
            for row in look.execute(sa.select(objects_held).order_by(objects_held.c.digest)):
                yield row.digest, row.holder, row.size

    def state_faults(self) -> tuple[int, list[Fault]]:
        """How many rows the tables hold, and which of them were written, changed or removed by other means than transactions, as
        (place, message)."""
        with self._at_one_moment() as connection:
            return state_faults(connection)

    def faults(self) -> list[Fault]:
        """What the database itself finds damaged, as (place, message): SQLite checks its pages and that tables and indexes agree.
        Postgres has checksums of its own, and answers with nothing here."""
        with self.read() as look:
            if look.dialect != "sqlite":
                return []
            found = [str(row[0]) for row in look.execute(sa.text("PRAGMA integrity_check(100)"))]
        return [(self.url, each) for each in found if each != "ok"]

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _at_one_moment(self) -> Iterator[sa.Connection]:
        with database_errors(self._engine), self._engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ")
            with readable_damage(connection):
                yield connection


def open_ledger(url: str, *, clock: Clock, ids: Ids, absent: Absent = set) -> Ledger:
    """Open a ledger, making or migrating its tables as needed. A ledger written by a newer Everloop is refused.

    absent: those of some digests that the object store does not have; asked when an object is held that was freed before.
    """
    engine = make_engine(url)
    try:
        with database_errors(engine):
            versions.prepare(engine, clock, ids)
    except BaseException:
        engine.dispose()
        raise
    return Ledger(engine, clock, ids, absent)


def _action_is(wanted: str) -> sa.ColumnElement[bool]:
    if wanted.endswith(".*"):
        return events.c.action.startswith(wanted[:-1], autoescape=True)
    return events.c.action == wanted


def _event(row: sa.Row[Any]) -> Event:
    return Event(**{**row._mapping, "payload": msgspec.json.decode(row.payload)})
