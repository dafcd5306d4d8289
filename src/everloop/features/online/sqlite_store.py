"""The embedded online store: one SQLite file in the workspace's folder.

    views   id, reference, name, version, layout, until
    rows    view (its id), key, event, created, packed

Ids are never used twice, so what a reader remembers of a view by its id stays true for as long as the view answers to that id.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from everloop.errors import NotFound, StorageError, Unavailable
from everloop.features.online.contract import (
    KEYS_AT_ONCE,
    NEVER,
    Answered,
    Changed,
    Found,
    Held,
    Layout,
    Packed,
    Wanted,
    changes,
    later_than,
    not_stored,
    other_types,
)

FILE = "online.db"
FORMAT = 2

_TABLES = """
create table views (
    id integer primary key autoincrement, reference text not null unique, name text not null, version integer not null,
    layout blob not null, until integer not null
);
create index views_by_name on views (name, version);
create table rows (
    view integer not null, key blob not null, event integer not null, created integer not null, packed blob not null,
    primary key (view, key)
) without rowid;
"""

_VIEW = "select id, until, reference, name, version, layout from views"
_ONE = (
    "select v.id, v.until, r.event, r.created, r.packed from views v"
    " left join rows r on r.view = v.id and r.key = ? where v.name = ? and v.version = ?"
)
_ONE_NEWEST = (
    "select v.id, v.until, r.event, r.created, r.packed from views v"
    " left join rows r on r.view = v.id and r.key = ? where v.name = ? order by v.version desc limit 1"
)
_NEWER = (
    "insert into rows values (?, ?, ?, ?, ?) on conflict (view, key) do update"
    " set event = excluded.event, created = excluded.created, packed = excluded.packed"
    " where (excluded.event, excluded.created) >= (rows.event, rows.created)"
    " and (excluded.event, excluded.created, excluded.packed) <> (rows.event, rows.created, rows.packed)"
)


class SqliteOnlineStore:
    """An `OnlineStore` in a folder. Each thread has its own connection."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._local = threading.local()
        self._seen: dict[int, Held] = {}
        self._last: dict[tuple[str, int | None], int] = {}
        """Which id answered last for a name and version: a guess, which every answer confirms or corrects."""

    def fill(self, view: Held, rows: Sequence[Packed], *, complete: bool = True) -> Changed:
        with self._changing() as con:
            number, until = self._place(con, view)
            if until > view.until:
                raise later_than(msgspec.structs.replace(view, until=until), view.until)
            stored = self._stored(con, number, None if complete else [row.key for row in rows])
            written, gone = changes(view, stored, rows, complete)
            con.executemany("delete from rows where view = ? and key = ?", ((number, key) for key in gone))
            con.executemany(
                "insert or replace into rows values (?, ?, ?, ?, ?)",
                ((number, row.key, row.event, row.created, row.values) for row in written),
            )
            con.execute("update views set until = ? where id = ?", (view.until, number))
            entities = con.execute("select count(*) from rows where view = ?", (number,)).fetchone()[0]
        return Changed(len(written), len(gone), entities)

    def put(self, view: Held, rows: Sequence[Packed]) -> int:
        with self._changing() as con:
            known = con.execute("select layout from views where reference = ?", (view.reference,)).fetchone()
            if known is not None and known[0] != msgspec.msgpack.encode(view.layout):
                raise other_types(view)
            number, _ = self._place(con, view)
            before = con.total_changes
            con.executemany(_NEWER, ((number, row.key, row.event, row.created, row.values) for row in rows))
            return con.total_changes - before

    def read(self, wanted: Sequence[Wanted]) -> list[Answered]:
        try:
            con = self._connection(make=False)
            con.execute("begin")  # all views and their rows as of one moment
            try:
                return [self._read(con, each) for each in wanted]
            finally:
                con.execute("commit")
        except sqlite3.DatabaseError as error:
            raise self._told(error) from None

    def read_one(
        self, name: str, version: int | None, key: Callable[[Layout], bytes]
    ) -> tuple[Held, Found | None]:
        guess = self._last.get((name, version))
        if guess is not None:  # then one statement does, unless the view is not as it was last time
            held = self._seen[guess]
            asked = (key(held.layout), name) if version is None else (key(held.layout), name, version)
            try:
                con = self._connection(make=False)
                row = con.execute(_ONE_NEWEST if version is None else _ONE, asked).fetchone()
            except sqlite3.DatabaseError as error:
                raise self._told(error) from None
            if row is not None and row[0] == guess:
                _, until, event, created, packed = row
                if until != held.until:
                    held = self._seen[guess] = msgspec.structs.replace(held, until=until)
                return held, None if packed is None else Found(event, created, packed)
        [answered] = self.read([Wanted(name, version, lambda layout: [key(layout)])])
        return answered.held, answered.rows[0]

    def held(self) -> list[Held]:
        with self._errors():
            if not self._path.exists():
                return []
            found = self._connection(make=False).execute(f"{_VIEW} order by reference")
            return [_held(row) for row in found]

    def drop(self, reference: str) -> bool:
        if not self._path.exists():
            return False
        with self._changing() as con:
            found = con.execute("select id from views where reference = ?", (reference,)).fetchone()
            if found is not None:
                con.execute("delete from rows where view = ?", found)
                con.execute("delete from views where id = ?", found)
        return found is not None

    # Reading

    def _read(self, con: sqlite3.Connection, wanted: Wanted) -> Answered:
        name, version, keys_of = wanted
        number, held = self._view(con, name, version)
        keys = keys_of(held.layout)
        found = self._stored(con, number, keys)
        return Answered(held, [found.get(key) for key in keys])

    def _stored(
        self, con: sqlite3.Connection, number: int, keys: Sequence[bytes] | None
    ) -> dict[bytes, Found]:
        """The rows of a view, all of them or those of `keys`."""
        query = "select key, event, created, packed from rows where view = ?"
        if keys is None:
            return {key: Found(*row) for key, *row in con.execute(query, (number,))}
        found = {}
        for start in range(0, len(keys), KEYS_AT_ONCE):
            some = keys[start : start + KEYS_AT_ONCE]
            marks = ",".join("?" * len(some))
            for key, event, created, packed in con.execute(f"{query} and key in ({marks})", (number, *some)):
                found[key] = Found(event, created, packed)
        return found

    def _view(self, con: sqlite3.Connection, name: str, version: int | None) -> tuple[int, Held]:
        where = "name = ? and version = coalesce(?, version) order by version desc limit 1"
        head = con.execute(f"select id, until from views where {where}", (name, version)).fetchone()
        if head is None:
            known = [each[0] for each in con.execute("select distinct name from views")]
            raise not_stored(name, version, known)
        number, until = head
        held = self._seen.get(number)
        if held is None:
            held = _held(con.execute(f"{_VIEW} where id = ?", (number,)).fetchone())
        if held.until != until:
            held = msgspec.structs.replace(held, until=until)
        self._seen[number] = held
        self._last[name, version] = number
        return number, held

    # Changing

    def _place(self, con: sqlite3.Connection, view: Held) -> tuple[int, int]:
        """The id of a view, and the moment it was filled. A view whose layout is another one begins anew, under a new id: its
        rows could not be read."""
        known = con.execute(
            "select id, until, layout from views where reference = ?", (view.reference,)
        ).fetchone()
        layout = msgspec.msgpack.encode(view.layout)
        if known is not None:
            if known[2] == layout:
                return int(known[0]), int(known[1])
            con.execute("delete from rows where view = ?", (known[0],))
            con.execute("delete from views where id = ?", (known[0],))
        made = con.execute(
            "insert into views (reference, name, version, layout, until) values (?, ?, ?, ?, ?)",
            (view.reference, view.name, view.version, layout, NEVER),
        )
        assert made.lastrowid is not None
        return made.lastrowid, NEVER if known is None else int(known[1])

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._errors():
            con = self._connection(make=True)
            con.execute("begin immediate")
            try:
                yield con
                con.execute("commit")
            except BaseException:
                con.execute("rollback")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise self._told(error) from None

    def _told(self, error: sqlite3.DatabaseError) -> StorageError | Unavailable:
        if not isinstance(error, sqlite3.OperationalError):
            return StorageError(
                f"the online store {self._path} is damaged: {error}",
                hint="delete it and materialize again: it holds copies only",
            )
        if "locked" in str(error) or "busy" in str(error):
            return Unavailable(f"the online store {self._path} is locked", hint="try again")
        return StorageError(
            f"the online store {self._path}: {error}", hint="is there room, and may you write there?"
        )

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
            _make_tables(con, self._path)
            self._local.con = con
        return con


def _make_tables(con: sqlite3.Connection, path: Path) -> None:
    if _format(con, path) == FORMAT:
        return
    con.execute("begin immediate")
    try:
        if _format(con, path) != FORMAT:  # nobody else did it meanwhile
            # What is there was written by an earlier Everloop. It holds copies only: materializing brings them again.
            con.execute("drop table if exists rows")
            con.execute("drop table if exists views")
            for statement in _TABLES.split(";"):
                con.execute(statement)
            con.execute(f"pragma user_version = {FORMAT}")
        con.execute("commit")
    except BaseException:
        con.execute("rollback")
        raise


def _format(con: sqlite3.Connection, path: Path) -> int:
    found = int(con.execute("pragma user_version").fetchone()[0])
    if found > FORMAT:
        raise StorageError(
            f"the online store {path} was written by a newer Everloop", hint="update Everloop here too"
        )
    return found


def _held(row: tuple[int, int, str, str, int, bytes]) -> Held:
    _, until, reference, name, version, layout = row
    return Held(reference, name, version, msgspec.msgpack.decode(layout, type=Layout), until)
