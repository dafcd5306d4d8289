"""What all tables share: the metadata, the column types that read and write our types, and the ledger's own tables."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from everloop.domain.canonical import canonical
from everloop.domain.times import from_micros, micros

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)


class Moment(sa.TypeDecorator[datetime]):
    """An instant, kept as whole microseconds since 1970 UTC: exact, and ordered the same on every database."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else from_micros(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[int | None], datetime | None]:
        """At once, not through SQLAlchemy's two functions more: a page of a search has hundreds of instants."""
        return _read_moment


def _read_moment(value: int | None) -> datetime | None:
    return None if value is None else from_micros(value)


class Json(sa.TypeDecorator[Any]):
    """Any value msgspec can encode, as canonical JSON text; read back as plain dicts and lists."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else canonical(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else msgspec.json.decode(value)


Identifier = sa.String(32)
"""A UUIDv7 as hexadecimal digits."""
Digest = sa.String(64)
"""A SHA-256 as hexadecimal digits: the key of an object."""
Name = sa.String(250)
Ref = sa.String(300)
"""A printed reference."""

events = sa.Table(
    "events",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("id", Identifier, nullable=False, unique=True),
    sa.Column("time", Moment, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.String(80), nullable=False),
    sa.Column("subject", Ref, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("previous", Digest, nullable=False),
    sa.Column("digest", Digest, nullable=False),
    sa.Column("state", Digest),
    sa.Index(None, "subject", "seq"),
    sa.Index(None, "action", "seq"),
    comment="`state`: the digest of the `changes` of this event.",
)

chain = sa.Table(
    "chain",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("digest", Digest, nullable=False),
    comment="One row: the head of the chain. Locking it makes writers append one after another.",
)

seals = sa.Table(
    "seals",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("first", sa.BigInteger, nullable=False),
    sa.Column("last", sa.BigInteger, nullable=False),
    sa.Column("time", Moment, nullable=False),
    sa.Column("previous", Digest, nullable=False),
    sa.Column("digest", Digest, nullable=False),
)

changes = sa.Table(
    "changes",
    metadata,
    sa.Column("event", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("table", sa.String(63), nullable=False),
    sa.Column("rows", sa.LargeBinary, nullable=False),
    sa.Index(None, "table", "event"),
    comment="Which rows of all other tables were written up to an event, and the digest of each. See `ledger/state.py`.",
)

changes_waiting = sa.Table(
    "changes_waiting",
    metadata,
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("table", sa.String(63), nullable=False),
    sa.Column("rows", sa.LargeBinary, nullable=False),
    comment="The same, of transactions without an event: the next event takes them in.",
)

CHAINED = frozenset({"events", "chain", "seals", "changes", "changes_waiting"})
"""The tables that the chain is made of. The rows of all others are the state, which it binds."""

cursors = sa.Table(
    "cursors",
    metadata,
    sa.Column("consumer", Name, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
)

edges = sa.Table(
    "edges",
    metadata,
    sa.Column("source", Ref, primary_key=True),
    sa.Column("target", Ref, primary_key=True),
    sa.Column("role", sa.String(40), primary_key=True),
    sa.Column("time", Moment, nullable=False),
    sa.Index(None, "target", "source"),
    comment="Lineage: something of `source` went into `target`.",
)

objects_held = sa.Table(
    "objects_held",
    metadata,
    sa.Column("digest", Digest, primary_key=True),
    sa.Column("holder", Ref, primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Index(None, "holder"),
    comment="Which object is needed by what: the roots of garbage collection, and what `audit verify` must find.",
)

objects_freed = sa.Table(
    "objects_freed",
    metadata,
    sa.Column("digest", Digest, primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("time", Moment, nullable=False),
    comment="Objects that nothing needed, and that may be gone since: who needs one of them again makes sure that it is stored.",
)

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", Identifier, primary_key=True),
    sa.Column("digest", Digest, nullable=False, unique=True),
    sa.Column("user", Name, nullable=False),
    sa.Column("role", sa.String(40), nullable=False),
    sa.Column("created", Moment, nullable=False),
    sa.Column("revoked", Moment),
)

definitions = sa.Table(
    "definitions",
    metadata,
    sa.Column("kind", sa.String(40), primary_key=True),
    sa.Column("name", Name, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("digest", Digest, nullable=False),
    sa.Column("declaration", Json, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("created", Moment, nullable=False),
    comment="What user code declared (checks, feature views, pipelines, gates, monitors, policies), as data.",
)
