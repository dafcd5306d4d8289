"""The embedded online store: one SQLite file, one packed row per entity and view version.

    views   reference, until, keys and columns with what reading needs, sources
    rows    view (its number), key, event time, values

A view's rows are replaced in one transaction, so a reader sees all of the old ones or all of the new ones, whatever is killed.
Old and new versions of a view stand side by side: a model that is served keeps the view it was trained with.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from everloop.domain.featureviews import OnlineRow
from everloop.domain.times import from_micros, micros
from everloop.errors import InvalidInput, NotFound, StorageError, Unavailable, nearest

FILE = "online.db"
FORMAT = 1
_MICROSECOND = timedelta(microseconds=1)

_TABLES = """
create table if not exists views (
    id integer primary key, reference text not null unique, name text not null, version integer not null,
    layout blob not null, until integer not null
);
create table if not exists rows (
    view integer not null, key blob not null, event integer not null, packed blob not null, primary key (view, key)
) without rowid;
"""


class Layout(msgspec.Struct, frozen=True):
    """What reading a row needs. ttl in microseconds; it ages columns, not aggregates, which are of the moment they were made."""

    keys: tuple[str, ...]
    key_types: tuple[str, ...]
    columns: tuple[str, ...]
    aggregates: tuple[str, ...]
    ttl: int | None
    sources: dict[str, str]


class Packed(msgspec.Struct, frozen=True):
    """An entity's values as they are stored: its key, its row's event time in microseconds, its values, columns first."""

    key: bytes
    event: int
    values: bytes


class OnlineStore:
    """The online store in a workspace's folder. Safe for threads and processes; each thread has its own connection."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._local = threading.local()

    def replace(
        self, reference: str, name: str, version: int, layout: Layout, until: datetime, rows: Sequence[Packed]
    ) -> None:
        """Put these rows in the place of all that a view version had. Raises InvalidInput when what is there is newer."""
        with self._errors():
            con = self._connection(make=True)
            con.execute("begin immediate")
            try:
                known = con.execute(
                    "select id, until from views where reference = ?", (reference,)
                ).fetchone()
                if known is not None and known[1] > micros(until):
                    raise InvalidInput(
                        f"the online store has {reference} as of {from_micros(known[1]):%Y-%m-%d %H:%M:%S}, which is later",
                        hint="materialize until a later moment",
                    )
                if known is not None:
                    con.execute("delete from rows where view = ?", (known[0],))
                    con.execute("delete from views where id = ?", (known[0],))
                fields = (reference, name, version, msgspec.msgpack.encode(layout), micros(until))
                made = con.execute(
                    "insert into views (reference, name, version, layout, until) values (?, ?, ?, ?, ?)",
                    fields,
                )
                con.executemany(
                    "insert into rows values (?, ?, ?, ?)",
                    ((made.lastrowid, row.key, row.event, row.values) for row in rows),
                )
                con.execute("commit")
            except BaseException:
                con.execute("rollback")
                raise

    def get(
        self, name: str, version: int | None, keys: Sequence[Mapping[str, Any]], time: datetime
    ) -> list[OnlineRow]:
        """Rows in the order of the keys, aged as of `time`; the newest materialised version when none is named."""
        with self._errors():
            con = self._connection(make=False)
            con.execute("begin")  # the view and its rows as of one moment
            try:
                number, layout, until = self._view(con, name, version)
                now = micros(time)
                if now < until:
                    raise InvalidInput(
                        f"the online store has '{name}' as of {from_micros(until):%Y-%m-%d %H:%M:%S}, later than the time asked",
                        hint="ask for a later time, or use history for the past",
                    )
                rows = []
                for each in keys:
                    key = self._key(name, layout, each)
                    found = con.execute(
                        "select event, packed from rows where view = ? and key = ?", (number, key)
                    ).fetchone()
                    rows.append(_row(layout, each, found, now))
            finally:
                con.execute("commit")
            return rows

    def _view(self, con: sqlite3.Connection, name: str, version: int | None) -> tuple[int, Layout, int]:
        found = con.execute(
            "select id, layout, until from views where name = ? and version = coalesce(?, version) order by version desc limit 1",
            (name, version),
        ).fetchone()
        if found is None:
            known = [each[0] for each in con.execute("select distinct name from views")]
            which = f"'{name}'" if version is None else f"'{name}' at version {version}"
            raise NotFound(
                f"the online store has no {which}",
                hint=nearest(name, known) or "put it there with: everloop features materialize",
            )
        return int(found[0]), msgspec.msgpack.decode(found[1], type=Layout), int(found[2])

    def _key(self, name: str, layout: Layout, given: Mapping[str, Any]) -> bytes:
        values = []
        for column, kind in zip(layout.keys, layout.key_types, strict=True):
            if column not in given:
                raise InvalidInput(
                    f"feature view '{name}' needs the key '{column}'", hint=nearest(column, given)
                )
            values.append(_as_kind(given[column], kind))
        return encode_key(values)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                raise Unavailable(f"the online store {self._path} is locked", hint="try again") from None
            raise StorageError(
                f"the online store {self._path}: {error}", hint="is there room, and may you write there?"
            ) from None
        except sqlite3.DatabaseError as error:
            raise StorageError(
                f"the online store {self._path} is damaged: {error}",
                hint="delete it and materialize again: it holds copies only",
            ) from None

    def _connection(self, *, make: bool) -> sqlite3.Connection:
        con: sqlite3.Connection | None = getattr(self._local, "con", None)
        if con is None:
            if not make and not self._path.exists():
                raise NotFound(
                    "nothing is in the online store yet",
                    hint="put it there with: everloop features materialize",
                )
            self._path.parent.mkdir(parents=True, exist_ok=True)
            con = sqlite3.connect(self._path, timeout=10, isolation_level=None)
            con.execute("pragma journal_mode = wal")
            con.execute("pragma synchronous = normal")
            con.execute("pragma mmap_size = 268435456")
            con.executescript(_TABLES)
            self._local.con = con
        return con


def encode_key(values: Sequence[Any]) -> bytes:
    """The bytes an entity is found by."""
    return msgspec.msgpack.encode(list(values))


def _row(layout: Layout, keys: Mapping[str, Any], found: tuple[int, bytes] | None, now: int) -> OnlineRow:
    names = (*layout.columns, *layout.aggregates)
    if found is None:
        return OnlineRow(keys=dict(keys), values=dict.fromkeys(names), status="unknown")
    event, packed = found
    values = dict(zip(names, msgspec.msgpack.decode(packed), strict=True))
    expired = layout.ttl is not None and bool(layout.columns) and now - event > layout.ttl
    if expired:
        values |= dict.fromkeys(layout.columns)
    return OnlineRow(
        keys=dict(keys),
        values=values,
        status="expired" if expired else "present",
        event_time=from_micros(event),
        age=(now - event) / 1e6,
    )


def _as_kind(value: Any, kind: str) -> Any:
    """A key as the store has it: from a command line or a web address, numbers come as text."""
    if isinstance(value, str) and kind.startswith(("int", "uint")):
        try:
            return int(value)
        except ValueError:
            raise InvalidInput(f"the key {value!r} is not a whole number") from None
    return value
