"""Pages that begin after a row rather than at a number: a walk sees every row once, whatever is added meanwhile."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.domain.canonical import digest_of
from everloop.errors import InvalidInput
from everloop.store.schema.base import Moment


@dataclass(frozen=True)
class Term:
    """What is sorted by. Where the column is NULL, an earlier term must say so (or it never is)."""

    column: sa.ColumnElement[Any]
    descending: bool = False

    @property
    def directed(self) -> sa.ColumnElement[Any]:
        return self.column.desc() if self.descending else self.column.asc()

    @property
    def plain(self) -> sa.ColumnElement[Any]:
        """The column as it is stored."""
        return (
            sa.type_coerce(self.column, sa.BigInteger)
            if isinstance(self.column.type, Moment)
            else self.column
        )


def after(terms: Sequence[Term], values: Sequence[Any]) -> sa.ColumnElement[bool]:
    """Whether a row comes after the one whose terms have these values.

    The comparison of the first term stands outside as well, so that a database begins to walk its index there.
    """
    term, value, rest = terms[0], values[0], terms[1:]
    if value is None:  # an earlier term has sorted out all that is not NULL
        return after(rest, values[1:])
    column = term.plain
    beyond = column < value if term.descending else column > value
    if not rest:
        return beyond
    at_least = column <= value if term.descending else column >= value
    return sa.and_(at_least, sa.or_(beyond, after(rest, values[1:])))


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a page begins: in which stretch of the order, after which values of its terms. `search` is a digest of what was
    asked for, since the place means nothing elsewhere."""

    search: str
    stretch: int = 0
    values: list[bool | int | float | str | None] | None = None

    @property
    def token(self) -> str:
        """The place as text; what is in it is nobody's business."""
        return base64.urlsafe_b64encode(msgspec.msgpack.encode(self)).decode()


def place_of(token: str, *search: object) -> Place:
    """Where the page of a search begins that `token` names; without one it is the first."""
    begin = Place(digest_of(search)[:16])
    if not token:
        return begin
    try:
        found = _PLACES.decode(base64.b64decode(token.encode(), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise InvalidInput(
            "that is not the token of a page", hint="pass on next_page of the page before, or nothing"
        ) from None
    if found.search != begin.search:
        raise InvalidInput(
            "that page belongs to another search", hint="ask with the filter and order of its first page"
        )
    return found


_PLACES = msgspec.msgpack.Decoder(Place)
