"""Which version of the schema a ledger has: a new one is made, an older one migrated, a newer one refused."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from everloop.domain.events import GENESIS
from everloop.domain.ids import Ids
from everloop.domain.times import Clock
from everloop.errors import StorageError
from everloop.store.ledger.engines import BUSY_SECONDS, begin_write
from everloop.store.ledger.rows import Digests
from everloop.store.ledger.state import carried_over, created, doubtful_rows
from everloop.store.ledger.transaction import Transaction
from everloop.store.schema import complete
from everloop.store.schema.base import chain

HEAD = "0021"
"""The newest revision in ``migrations/``. Kept as a constant so that opening a current ledger need not import Alembic."""

ACTOR = "everloop"
"""Who migrates: whoever opens the ledger first, not in their own name."""

_stamp = sa.Table("alembic_version", sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True))

_LOCK = 0x65766572  # an arbitrary number that only Everloop uses, for Postgres's advisory lock


def prepare(engine: sa.Engine, clock: Clock, ids: Ids) -> None:
    """Bring the ledger to `HEAD`. Any number of processes may call this at once on a fresh ledger."""
    if engine.dialect.name == "sqlite":
        _use_wal(engine)
    found = _revision(engine)
    if found == HEAD:
        return
    if found is None:
        _create(engine, clock, ids)
    elif found > HEAD:
        raise StorageError(
            f"the ledger has schema {found}, newer than this Everloop knows ({HEAD})",
            hint="install a newer Everloop",
        )
    else:
        migrate(engine, found, clock, ids)


def _use_wal(engine: sa.Engine, pause: Callable[[float], None] = time.sleep) -> None:
    """Switch a new SQLite ledger to its write-ahead log. While another process switches the same file SQLite says "locked" at
    once, whatever the busy timeout, so we ask again."""
    deadline = time.monotonic() + BUSY_SECONDS
    with engine.connect() as connection:
        raw = connection.connection.cursor()
        try:
            while raw.execute("PRAGMA journal_mode").fetchone()[0] not in ("wal", "memory"):
                try:
                    raw.execute("PRAGMA journal_mode = WAL")
                except sqlite3.OperationalError as error:
                    if "locked" not in str(error) or time.monotonic() > deadline:
                        raise sa.exc.OperationalError("PRAGMA journal_mode = WAL", None, error) from error
                    pause(0.02)
        finally:
            raw.close()


def _revision(engine: sa.Engine) -> str | None:
    with engine.connect() as connection:
        return _revision_in(connection)


def _revision_in(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    value = connection.execute(sa.select(_stamp.c.version_num)).scalar()
    return None if value is None else str(value)


def _create(engine: sa.Engine, clock: Clock, ids: Ids) -> None:
    with engine.connect() as connection:
        _begin_alone(connection)
        if not sa.inspect(connection).has_table("alembic_version"):  # another process may have been first
            complete().create_all(connection, checkfirst=False)
            _stamp.create(connection)
            connection.execute(sa.insert(chain).values(id=1, seq=0, digest=GENESIS))
            connection.execute(sa.insert(_stamp).values(version_num=HEAD))
            bind(Transaction(connection, ACTOR, clock, ids), created(connection))
        connection.commit()


def migrate(engine: sa.Engine, found: str, clock: Clock, ids: Ids) -> None:
    """Run the migrations from `found` on. A SQLite ledger is copied first, beside itself."""
    import alembic.command
    import alembic.config

    if engine.dialect.name == "sqlite" and engine.url.database not in (None, "", ":memory:"):
        path = Path(str(engine.url.database))
        _copy(path, path.with_name(f"{path.name}.{found}.backup"))
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(__file__).parent.parent / "migrations"))
    with engine.connect() as connection:
        _begin_alone(connection)
        if _revision_in(connection) != HEAD:  # another process may have been first
            doubtful = doubtful_rows(connection)
            config.attributes["connection"] = connection
            alembic.command.upgrade(config, HEAD)
            tx = Transaction(connection, ACTOR, clock, ids)
            said = {"from": found, "to": HEAD, "doubtful": sum(len(keys) for keys in doubtful.values())}
            tx.event("ledger.migrated", "ledger", said)
            bind(tx, carried_over(connection, doubtful))
        connection.commit()


def _begin_alone(connection: sa.Connection) -> None:
    begin_write(connection)
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


def bind(tx: Transaction, written: Iterable[tuple[str, Digests]]) -> None:
    """Bind rows that no transaction wrote: those of a new ledger, and those that a migration wrote."""
    for table, digests in written:
        tx.changes.note(table, digests)
    tx.append_pending()


def _copy(path: Path, target: Path) -> None:
    """A copy with what is still in the write-ahead log."""
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
