"""How a row of a table becomes a key and a digest: the same on the way in and when `audit verify` reads it back.

A row is taken as the database gives it, without our column types: what is digested is what is stored. Its columns are ordered
by name, so that neither the order of a migration's columns nor that of the schema matters.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.store.schema.base import CHAINED

Digests = dict[bytes, bytes | None]
"""Rows of one table: key to digest, or to None where the row was deleted."""

DIGEST_BYTES = 16
"""Half a SHA-256: nobody finds another row for a given digest of 128 bits, and rows are many."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[bytes, bytes | None]).decode


class Shape:
    """The columns of one table, as SQL and as positions in a row.

    columns: all of them, for a SELECT. returned, returned_key: all of them, and those of the primary key, for a RETURNING, where
    they stand behind what a statement returns itself and so have names of their own.
    """

    def __init__(self, table: sa.Table) -> None:
        self.names = sorted(column.name for column in table.columns)
        key = [column.name for column in table.primary_key]
        self.columns = sa.text(", ".join(map(quoted, self.names)))
        self.returned = sa.text(_renamed(self.names))
        self.returned_key = sa.text(_renamed(key))
        self._key: Callable[[Any], Any] = itemgetter(*(self.names.index(name) for name in key))
        self._width = len(key)
        self._floats = [
            self.names.index(column.name) for column in table.columns if isinstance(column.type, sa.Float)
        ]

    def digests(self, rows: Sequence[tuple[Any, ...]]) -> Digests:
        """The key and the digest of each row; rows hold the values of `columns`."""
        if self._floats and rows:
            rows = self._with_plain_floats(rows)
        keys = map(_encode, map(self._key, rows))
        half = DIGEST_BYTES
        sha256 = hashlib.sha256
        return dict(zip(keys, [sha256(each).digest()[:half] for each in map(_encode, rows)], strict=True))

    def keys(self, rows: Iterable[Sequence[Any]]) -> list[bytes]:
        """The keys of rows that hold the values of `key_columns`."""
        return [_encode(row[0] if self._width == 1 else tuple(row)) for row in rows]

    def key_values(self, key: bytes) -> list[Any]:
        """The primary key that was encoded, in the order of the table's primary key."""
        try:
            found = msgspec.msgpack.decode(key)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return [key.hex()] * self._width  # the record of changes itself is damaged
        return [found] if self._width == 1 else list(found)

    def _with_plain_floats(self, rows: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Any, ...]]:
        """A whole number in a column of floats is that float, and a negative zero is zero: SQLite keeps neither difference."""
        columns = list(zip(*rows, strict=True))
        for at in self._floats:
            columns[at] = tuple(each + 0.0 if isinstance(each, int | float) else each for each in columns[at])
        return list(zip(*columns, strict=True))


@functools.cache
def shape_of(table: sa.Table) -> Shape:
    return Shape(table)


def is_state(table: Any) -> bool:
    """Whether the rows of a table are bound to the chain: all but the chain's own, and those that are not of the ledger."""
    return isinstance(table, sa.Table) and table.name not in CHAINED and table.name != "alembic_version"


def packed(digests: Digests) -> bytes:
    """Digests as they are kept in the ledger."""
    return _encode(digests)


def unpacked(part: bytes) -> Digests:
    """The inverse of `packed`. Raises msgspec.MsgspecError."""
    return _decode(part)


def _renamed(names: Sequence[str]) -> str:
    return ", ".join(f"{quoted(name)} AS everloop_{at}" for at, name in enumerate(names))


def quoted(name: str) -> str:
    """An identifier as both databases read it. Ours are all in lower case, so quoting changes none.

    >>> quoted("end")
    '"end"'
    """
    return '"' + name.replace('"', '""') + '"'
