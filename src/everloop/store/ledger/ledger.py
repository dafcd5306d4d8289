"""Transactions over the ledger, the chain of events, consumers and their cursors, lineage."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.domain.canonical import canonical
from everloop.domain.events import GENESIS, Event, Seal, event_digest, seal_digest
from everloop.domain.ids import Ids
from everloop.domain.references import Reference
from everloop.domain.times import Clock
from everloop.store.ledger import versions
from everloop.store.ledger.engines import begin_write, database_errors, make_engine
from everloop.store.schema.base import chain, cursors, edges, events, objects_held, seals

SEAL_EVERY = 256
"""How many events one seal covers."""

Statement = sa.Executable


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
    a moment, after all other locks: writers cannot block each other in a circle."""

    def __init__(self, connection: sa.Connection, actor: str, clock: Clock, ids: Ids) -> None:
        super().__init__(connection)
        self.actor = actor
        self.now: datetime = clock()
        self._ids = ids
        self._pending: list[tuple[str, str, str, bytes]] = []

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
        build = insert_for(self.dialect)
        listed = [rows] if isinstance(rows, Mapping) else list(rows)
        # Where a driver fetches generated keys, SQLAlchemy forgets how many rows there were unless it is told not to.
        insert = build(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
        return sum(self.execute(insert.values(row)).rowcount for row in listed)

    def put(self, table: sa.Table, row: Mapping[str, Any]) -> None:
        """Insert a row, or replace the columns given of the row with the same primary key."""
        build = insert_for(self.dialect)
        keys = [column.name for column in table.primary_key]
        rest = {name: value for name, value in row.items() if name not in keys}
        statement = build(table).values(row)
        if rest:
            statement = statement.on_conflict_do_update(index_elements=keys, set_=rest)
        else:
            statement = statement.on_conflict_do_nothing()
        self.execute(statement)

    def advance(self, consumer: str, seq: int) -> None:
        """The consumer has dealt with all events up to `seq`: said in the transaction that holds what it did about them."""
        self.put(cursors, {"consumer": consumer, "seq": seq})

    def append_pending(self) -> None:
        """Number, chain and write the events said so far, and seal full batches. Called when the transaction ends."""
        if not self._pending:
            return
        head = self._connection.execute(
            sa.select(chain.c.seq, chain.c.digest).where(chain.c.id == 1).with_for_update()
        ).one()
        seq, previous = int(head.seq), str(head.digest)
        rows = []
        for identifier, action, subject, payload in self._pending:
            seq += 1
            digest = event_digest(previous, seq, identifier, self.now, self.actor, action, subject, payload)
            rows.append(
                {
                    "seq": seq,
                    "id": identifier,
                    "time": self.now,
                    "actor": self.actor,
                    "action": action,
                    "subject": subject,
                    "payload": payload.decode(),
                    "previous": previous,
                    "digest": digest,
                }
            )
            previous = digest
        self._pending.clear()
        self.execute(sa.insert(events), rows)
        self.execute(sa.update(chain).where(chain.c.id == 1).values(seq=seq, digest=previous))
        self._seal(seq)

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
            self.execute(sa.insert(seals), row)
            number, first, previous = number + 1, end + 1, digest


class Ledger:
    """What is known. Open one with `open_ledger`; any number of threads and processes may share one database.

    Contract (run over every backend by ``tests/contracts/test_ledger.py``): a transaction is whole or absent, with its events;
    events are numbered 1, 2, 3 … without gaps in the order they became visible; a consumer sees each event at least once.
    """

    def __init__(self, engine: sa.Engine, clock: Clock, ids: Ids) -> None:
        self._engine = engine
        self._clock = clock
        self._ids = ids

    @property
    def url(self) -> str:
        return self._engine.url.render_as_string(hide_password=True)

    @contextmanager
    def transaction(self, actor: str) -> Iterator[Transaction]:
        """A block that changes things: committed with its events when it ends, nothing of it on an exception."""
        with database_errors(self._engine), self._engine.connect() as connection:
            begin_write(connection)
            transaction = Transaction(connection, actor, self._clock, self._ids)
            yield transaction
            transaction.append_pending()
            connection.commit()

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
        with self.read() as look:
            for row in look.execute(sa.select(objects_held).order_by(objects_held.c.digest)):
                yield row.digest, row.holder, row.size

    def faults(self) -> list[tuple[str, str]]:
        """What the database itself finds damaged, as (place, message): SQLite checks its pages and that tables and indexes agree.
        Postgres has checksums of its own, and answers with nothing here."""
        with self.read() as look:
            if look.dialect != "sqlite":
                return []
            found = [str(row[0]) for row in look.execute(sa.text("PRAGMA integrity_check(100)"))]
        return [(self.url, each) for each in found if each != "ok"]

    def close(self) -> None:
        self._engine.dispose()


def open_ledger(url: str, *, clock: Clock, ids: Ids) -> Ledger:
    """Open a ledger, making or migrating its tables as needed. A ledger written by a newer Everloop is refused."""
    engine = make_engine(url)
    try:
        with database_errors(engine):
            versions.prepare(engine)
    except BaseException:
        engine.dispose()
        raise
    return Ledger(engine, clock, ids)


def insert_for(dialect: str) -> Any:
    """The insert statement of a database, which knows conflicts. Each database's dialect is imported only where it is used: that
    takes .1 s."""
    return importlib.import_module(f"sqlalchemy.dialects.{dialect}").insert


def _action_is(wanted: str) -> sa.ColumnElement[bool]:
    if wanted.endswith(".*"):
        return events.c.action.startswith(wanted[:-1], autoescape=True)
    return events.c.action == wanted


def _event(row: sa.Row[Any]) -> Event:
    return Event(**{**row._mapping, "payload": msgspec.json.decode(row.payload)})
