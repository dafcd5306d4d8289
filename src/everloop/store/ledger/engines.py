"""The only place that knows which database is underneath: how it is opened, how a write begins, what its errors mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from everloop.domain.search import patterns
from everloop.errors import Corrupted, EverloopError, InvalidInput, MissingExtra, StorageError, Unavailable

BUSY_SECONDS = 30
"""How long a writer waits for another before the ledger counts as locked."""


def make_engine(url: str) -> sa.Engine:
    """An engine for ``sqlite:///path`` or ``postgresql://…``. Raises InvalidInput, MissingExtra."""
    try:
        parsed = make_url(url)
    except sa.exc.ArgumentError:
        raise InvalidInput(
            f"'{url}' is not a ledger URL", hint="use sqlite:///path or postgresql://user@host/db"
        ) from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        return _sqlite(parsed)
    if backend == "postgresql":
        try:
            import psycopg  # noqa: F401  (the extra decides, not the driver's own error)
        except ModuleNotFoundError:
            raise MissingExtra(
                "the Postgres driver is not installed", hint="pip install 'everloop[postgres]'"
            ) from None
        return sa.create_engine(
            parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True, isolation_level="READ COMMITTED"
        )
    raise InvalidInput(
        f"the ledger cannot rest on {backend}", hint="use sqlite:///path or postgresql://user@host/db"
    )


def begin_write(connection: sa.Connection) -> None:
    """Begin a transaction that will write. On SQLite the write lock is taken at once: a transaction that read first and asked
    for the lock later could be refused half-way."""
    if connection.dialect.name == "sqlite":
        connection.execution_options(begin_immediate=True)
    connection.begin()


def _rlike(pattern: str, text: object) -> bool | None:
    """Regular expressions of the search language, which SQLite has not."""
    return None if text is None else patterns.found(pattern, str(text))


@contextmanager
def readable_damage(connection: sa.Connection) -> Iterator[None]:
    """Read text that is no UTF-8 (any more) with a sign in its place, where SQLite's driver would fail. Postgres lets none in."""
    raw: Any = connection.connection.dbapi_connection
    if connection.dialect.name != "sqlite":
        yield
        return
    raw.text_factory = lambda data: data.decode(errors="replace")
    try:
        yield
    finally:
        raw.text_factory = str


@contextmanager
def database_errors(engine: sa.Engine) -> Iterator[None]:
    """Turn what drivers say into errors a user can act on."""
    try:
        yield
    except OverflowError as error:  # sqlite3 raises it as it is
        raise InvalidInput(
            "a number is too large to keep", hint="whole numbers must fit in 64 bits"
        ) from error
    except sa.exc.DBAPIError as error:
        known = _translated(error, engine)
        if known is None:
            raise
        raise known from error


def _sqlite(url: sa.URL) -> sa.Engine:
    in_memory = url.database in (None, "", ":memory:")
    if not in_memory:
        folder = Path(str(url.database)).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make the folder {folder}: {error.strerror}") from error
    options: dict[str, object] = {"poolclass": sa.pool.StaticPool} if in_memory else {}
    engine = sa.create_engine(
        url, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False}, **options
    )

    @sa.event.listens_for(engine, "connect")
    def _connected(raw: sqlite3.Connection, _: object) -> None:
        raw.isolation_level = None  # sqlite3 must not begin transactions by itself: we do, below
        raw.create_function("rlike", 2, _rlike, deterministic=True)
        cursor = raw.cursor()
        try:
            cursor.execute("PRAGMA foreign_keys = ON")
            cursor.execute("PRAGMA synchronous = NORMAL")
            cursor.execute(
                "PRAGMA cache_size = -8000"
            )  # 8 MB: a search of many runs touches more than SQLite's 2
        except UnicodeDecodeError:  # the driver cannot read SQLite's own sentence, which quotes the damage
            raise Corrupted(
                f"the ledger {url} is damaged: its schema cannot be read", hint="restore it from a backup"
            ) from None
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        write = connection.get_execution_options().get("begin_immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _translated(error: sa.exc.DBAPIError, engine: sa.Engine) -> EverloopError | None:
    text = str(error.orig).lower()
    where = f"the ledger {engine.url.render_as_string(hide_password=True)}"
    if "out of range" in text:
        return InvalidInput("a number is too large to keep", hint="whole numbers must fit in 64 bits")
    if engine.dialect.name == "sqlite":
        if "locked" in text or "busy" in text:
            return Unavailable(
                f"{where} is locked by another process", hint="wait for it to finish, or stop it"
            )
        if "readonly" in text or "read-only" in text:
            return StorageError(
                f"{where} is read-only", hint="check the permissions of the file and its folder"
            )
        if "disk is full" in text or "disk i/o" in text:
            return StorageError(
                f"{where} cannot be written: the disk is full or failing", hint="free space and try again"
            )
        if "not a database" in text or "malformed" in text:
            return Corrupted(f"{where} is damaged: {error.orig}", hint="restore it from a backup")
        if "could not decode" in text:  # text in a row that is no UTF-8
            return Corrupted(f"{where} is damaged: {error.orig}", hint="see: everloop audit verify")
        if "unable to open" in text:
            return StorageError(
                f"{where} cannot be opened", hint="check that the folder exists and may be written"
            )
        return None
    if error.connection_invalidated or isinstance(error, sa.exc.OperationalError):
        return Unavailable(
            f"{where} does not answer: {str(error.orig).splitlines()[0]}", hint="check that Postgres runs"
        )
    return None
