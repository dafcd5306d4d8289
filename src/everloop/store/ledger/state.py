"""Whether the rows of the ledger's tables are those that were written, and how a migration carries that over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.store.ledger.rows import Digests, Shape, is_state, shape_of, unpacked
from everloop.store.schema import complete
from everloop.store.schema.base import changes, changes_waiting

FAULTS_A_TABLE = 100
"""How many rows of one table are named; of further ones the number is said."""

_READ_ROWS = 5_000

_sqlite_schema = sa.Table(
    "sqlite_master",
    sa.MetaData(),
    *(sa.Column(name, sa.Text, primary_key=name == "name") for name in ("name", "type", "tbl_name", "sql")),
)
"""What SQLite knows of tables, indexes and triggers is rows too, which only new ledgers and migrations write."""

Fault = tuple[str, str]
"""The place, and what is wrong there."""


class Differences(msgspec.Struct):
    """Keys of the rows of one table that are not as the ledger wrote them. `rows`: how many rows there are."""

    rows: int
    changed: list[bytes]
    unknown: list[bytes]
    gone: list[bytes]

    @property
    def keys(self) -> set[bytes]:
        return {*self.changed, *self.unknown, *self.gone}


def state_faults(connection: sa.Connection) -> tuple[int, list[Fault]]:
    """Compare every row of every table with the digest that its last change left. Returns how many rows there are, and faults."""
    count, faults = 0, []
    for table in _bound(complete(), connection.dialect):
        try:
            found = differences(connection, table)
        except sa.exc.DBAPIError as error:
            faults.append((f"table {table.name}", f"cannot be read: {error.orig}"))
            continue
        except msgspec.MsgspecError as error:
            faults.append((f"table {table.name}", f"the record of its changes cannot be read: {error}"))
            continue
        count += found.rows
        faults += _named(connection, table, found)
    return count, faults


def differences(connection: sa.Connection, table: sa.Table) -> Differences:
    """What is in the table against what its changes say. Raises sqlalchemy's DBAPIError, msgspec.MsgspecError."""
    shape = shape_of(table)
    expected = expected_rows(connection, table.name)
    found = Differences(0, [], [], [])
    for rows in _read(connection, table, shape):
        found.rows += len(rows)
        for key, digest in shape.digests(rows).items():
            written = expected.pop(key, None)
            if written is None:
                found.unknown.append(key)
            elif written != digest:
                found.changed.append(key)
    found.gone = [key for key, digest in expected.items() if digest is not None]
    return found


def expected_rows(connection: sa.Connection, table: str) -> Digests:
    """What the last change of each row left, by key; None for a row that was deleted."""
    found: Digests = {}
    for _, part in _changes_of(connection, table):
        found.update(part)
    return found


def created(connection: sa.Connection) -> Iterator[tuple[str, Digests]]:
    """What has to be noted of a new ledger. Nearly all of its tables are empty: one query says which are not."""
    tables = {table.name: table for table in _bound(complete(), connection.dialect)}
    quote = connection.dialect.identifier_preparer.quote
    filled = (f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM {quote(name)})" for name in tables)
    names = connection.exec_driver_sql(" UNION ALL ".join(filled)).scalars().all()
    yield from _not_as_noted(connection, [tables[name] for name in names], {})


def carried_over(connection: sa.Connection, doubtful: dict[str, set[bytes]]) -> Iterator[tuple[str, Digests]]:
    """What has to be noted after a migration, which writes rows by other means: the digests of all rows as they are now, except
    of those that were not as written before it. These stay faults."""
    yield from _not_as_noted(connection, _bound(complete(), connection.dialect), doubtful)


def _not_as_noted(
    connection: sa.Connection, tables: list[sa.Table], doubtful: dict[str, set[bytes]]
) -> Iterator[tuple[str, Digests]]:
    for table in tables:
        shape, expected = shape_of(table), expected_rows(connection, table.name)
        left = doubtful.get(table.name, set())
        now: Digests = {}
        for rows in _read(connection, table, shape):
            now |= shape.digests(rows)
        digests: Digests = {
            key: digest for key, digest in now.items() if key not in left and expected.get(key) != digest
        }
        digests |= {
            key: None
            for key, digest in expected.items()
            if digest is not None and key not in now and key not in left
        }
        if digests:
            yield table.name, digests


def doubtful_rows(connection: sa.Connection) -> dict[str, set[bytes]]:
    """Rows that are not as written in a ledger of an older schema, before it is migrated: its tables are read as they are."""
    if not sa.inspect(connection).has_table(changes.name):
        return {}  # nothing was bound yet
    found = sa.MetaData()
    found.reflect(connection)
    return {table.name: differences(connection, table).keys for table in _bound(found, connection.dialect)}


def _bound(of: sa.MetaData, dialect: sa.Dialect) -> list[sa.Table]:
    """The tables whose rows are bound to the chain, by name."""
    tables = [table for _, table in sorted(of.tables.items()) if is_state(table)]
    return [_sqlite_schema, *tables] if dialect.name == "sqlite" else tables


def _read(connection: sa.Connection, table: sa.Table, shape: Shape) -> Iterator[list[tuple[Any, ...]]]:
    query = sa.select(shape.columns).select_from(table)
    if table is _sqlite_schema:  # ANALYZE, which anyone may run, makes tables of its own
        query = query.where(table.c.name.not_like("sqlite_stat%"))
    for rows in connection.execute(query.execution_options(yield_per=_READ_ROWS)).partitions():
        yield [tuple(row) for row in rows]


def _changes_of(connection: sa.Connection, table: str) -> Iterator[tuple[int | None, Digests]]:
    bound = sa.select(changes.c.event, changes.c.rows).where(changes.c.table == table)
    for row in connection.execute(
        bound.order_by(changes.c.event, changes.c.part).execution_options(yield_per=100)
    ):
        yield row.event, unpacked(row.rows)
    waiting = sa.select(changes_waiting.c.rows).where(changes_waiting.c.table == table)
    for row in connection.execute(waiting.order_by(changes_waiting.c.number)):
        yield None, unpacked(row.rows)


def _named(connection: sa.Connection, table: sa.Table, found: Differences) -> Iterator[Fault]:
    said = [
        *((key, "was changed after it was written") for key in found.changed),
        *((key, "was not written by Everloop") for key in found.unknown),
        *((key, "is gone: it was not deleted by Everloop") for key in found.gone),
    ]
    shown = said[:FAULTS_A_TABLE]
    events = _last_events(connection, table.name, {key for key, _ in shown}) if shown else {}
    for key, message in shown:
        event = events.get(key)
        yield _place(connection.dialect, table, key), message + (f" (event {event})" if event else "")
    if len(said) > len(shown):
        yield f"table {table.name}", f"{len(said) - len(shown)} more rows are not as they were written"


def _last_events(connection: sa.Connection, table: str, keys: Iterable[bytes]) -> dict[bytes, int]:
    """The event that bound the last change of each key. What still waits for an event has none."""
    wanted, events = set(keys), {}
    for event, part in _changes_of(connection, table):
        for key in wanted & part.keys():
            events[key] = event
    return {key: event for key, event in events.items() if event is not None}


def _place(dialect: sa.Dialect, table: sa.Table, key: bytes) -> str:
    """The name of a row: its table and its primary key, as our types read it.

    >>> from everloop.store.schema.base import cursors
    >>> from sqlalchemy.dialects import sqlite
    >>> _place(sqlite.dialect(), cursors, shape_of(cursors).digests([("loop", 7)]).popitem()[0])
    'cursors consumer=loop'
    """
    values = shape_of(table).key_values(key)
    printed = []
    for column, value in zip(table.primary_key, values, strict=True):
        processor = column.type.dialect_impl(dialect).result_processor(dialect, None)
        try:
            shown = value if processor is None else processor(value)
        except (TypeError, ValueError, OverflowError):  # a damaged value is shown as it is
            shown = value
        printed.append(f"{column.name}={shown}")
    return f"{table.name} {', '.join(printed)}"
