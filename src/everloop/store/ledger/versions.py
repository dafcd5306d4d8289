"""Which version of the schema a ledger has: a new one is made, an older one migrated, a newer one refused."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from everloop.domain.events import GENESIS
from everloop.errors import StorageError
from everloop.store.ledger.engines import BUSY_SECONDS, begin_write
from everloop.store.schema import metadata
from everloop.store.schema.base import chain

HEAD = "0008"
"""The newest revision in ``migrations/``. Kept as a constant so that opening a current ledger need not import Alembic."""

_stamp = sa.Table("alembic_version", sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True))

_LOCK = 0x65766572  # an arbitrary number that only Everloop uses, for Postgres's advisory lock


def prepare(engine: sa.Engine) -> None:
    """Bring the ledger to `HEAD`. Any number of processes may call this at once on a fresh ledger."""
    if engine.dialect.name == "sqlite":
        _use_wal(engine)
    found = _revision(engine)
    if found == HEAD:
        return
    if found is None:
        _create(engine)
    elif found > HEAD:
        raise StorageError(
            f"the ledger has schema {found}, newer than this Everloop knows ({HEAD})",
            hint="install a newer Everloop",
        )
    else:
        _migrate(engine, found)


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
    if not sa.inspect(engine).has_table("alembic_version"):
        return None
    with engine.connect() as connection:
        value = connection.execute(sa.select(_stamp.c.version_num)).scalar()
    return None if value is None else str(value)


def _create(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        begin_write(connection)
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        if not sa.inspect(connection).has_table("alembic_version"):  # another process may have been first
            metadata.create_all(connection)
            _stamp.create(connection)
            connection.execute(sa.insert(chain).values(id=1, seq=0, digest=GENESIS))
            connection.execute(sa.insert(_stamp).values(version_num=HEAD))
        connection.commit()


def _migrate(engine: sa.Engine, found: str) -> None:
    """Run the migrations from `found` on. A SQLite ledger is copied first, beside itself."""
    import alembic.command
    import alembic.config

    if engine.dialect.name == "sqlite" and engine.url.database not in (None, "", ":memory:"):
        path = Path(str(engine.url.database))
        shutil.copy2(path, path.with_name(f"{path.name}.{found}.backup"))
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(__file__).parent.parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, HEAD)
