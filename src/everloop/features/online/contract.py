"""What an online store is: one packed row per entity and view version, replaced all at once, read by key.

`OnlineStore` says what every backend promises; `sqlite_store` is the embedded one, `redis_store` the shared one. What is packed
how is decided here, so the backends see keys and values as bytes and two numbers that order the rows of an entity.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

import msgspec

from everloop.domain.times import from_micros, micros
from everloop.errors import InvalidInput, NotFound, nearest

KEYS_AT_ONCE = 500
"""Keys of one statement or command: what every backend takes."""


class Layout(msgspec.Struct, frozen=True):
    """What reading the rows of a view version needs: the types of its keys, the names of its values.

    columns: how many of the names are columns; they stand first, aggregates behind them. ttl: in microseconds; it ages columns,
    not aggregates, which are of the moment they were computed. types: of values whose type the packing does not keep (dates,
    decimals), by place.
    """

    keys: tuple[str, ...]
    key_types: tuple[str, ...]
    names: tuple[str, ...]
    columns: int
    ttl: int | None
    types: dict[int, str] = {}

    @property
    def has_aggregates(self) -> bool:
        return self.columns < len(self.names)


class Packed(msgspec.Struct, frozen=True, array_like=True):
    """An entity's values as they are stored: its key, event time and availability in microseconds, its values.

    Of two rows of one entity that with the greater (event, created) counts. Values with aggregates are of the moment they were
    computed: there `created` is that moment.
    """

    key: bytes
    event: int
    created: int
    values: bytes

    @property
    def known(self) -> int:
        """Since when the row counts."""
        return max(self.event, self.created)


class Held(msgspec.Struct, frozen=True):
    """A view version in a store. until: the moment of its last materialisation, in microseconds; `NEVER` when it was only pushed
    to."""

    reference: str
    name: str
    version: int
    layout: Layout
    until: int


NEVER = -(2**62)


class Changed(NamedTuple):
    """What filling did to the rows of a view, and how many it has now."""

    written: int
    removed: int
    entities: int


class Found(NamedTuple):
    """A stored row."""

    event: int
    created: int
    values: bytes


class Wanted(NamedTuple):
    """Rows that are asked for: of a view at a version (None: the newest stored one), by keys, once its layout is known."""

    name: str
    version: int | None
    keys: Callable[[Layout], list[bytes]]


class Answered(NamedTuple):
    """A view version, and its rows in the order of the keys; None for an entity it does not have."""

    held: Held
    rows: list[Found | None]


class OnlineStore(Protocol):
    """Keeps the newest values of each entity, for reading by key in microseconds.

    Safe for threads and processes. Every call is whole or absent, whatever is killed: a reader sees all that a call wrote or
    nothing of it. Raises Unavailable when the store cannot be reached or is locked, StorageError when it cannot be written or is
    damaged.
    """

    def fill(self, view: Held, rows: Sequence[Packed], *, complete: bool = True) -> Changed:
        """Make the rows of a view version what `rows` say, which are all that was known at ``view.until``. Rows that became known
        after that moment (somebody pushed them) stay; rows that are as they were are not written. Not `complete`: `rows` are
        only what became known since the last filling, so the others stay, and so do newer ones. Raises InvalidInput when the
        store has the view as of a later moment."""
        ...

    def put(self, view: Held, rows: Sequence[Packed]) -> int:
        """Write rows that came one by one, unless the store has a newer one of the same entity; give how many were written. A
        view that was never filled is begun. Raises InvalidInput when what is stored has another layout."""
        ...

    def read(self, wanted: Sequence[Wanted]) -> list[Answered]:
        """Rows of several views, all as of one moment. Raises NotFound for a view that is not stored."""
        ...

    def read_one(
        self, name: str, version: int | None, key: Callable[[Layout], bytes]
    ) -> tuple[Held, Found | None]:
        """One row of one view: what `read` answers for one key, and quicker where a store can be."""
        ...

    def held(self) -> list[Held]:
        """All that is stored, by reference."""
        ...

    def drop(self, reference: str) -> bool:
        """Forget a view version. False when it is not stored."""
        ...


def is_newer(row: Packed, than: Found | None) -> bool:
    """Whether a row takes the place of a stored one: the rule of `OnlineStore.put`.

    >>> is_newer(Packed(b"k", 5, 7, b""), Found(5, 6, b"")), is_newer(Packed(b"k", 4, 9, b""), Found(5, 5, b""))
    (True, False)
    """
    return than is None or (row.event, row.created) >= (than.event, than.created)


def changes(
    view: Held, stored: dict[bytes, Found], rows: Sequence[Packed], complete: bool
) -> tuple[list[Packed], list[bytes]]:
    """What `OnlineStore.fill` has to write and to remove. Takes what it decides on out of `stored`."""
    written = []
    for row in rows:
        was = stored.pop(row.key, None)
        differs = was is None or (
            max(was.event, was.created) <= view.until and _differs(view.layout, row, was)
        )
        if differs and (complete or is_newer(row, was)):
            written.append(row)
    if not complete:
        return written, []
    return written, [key for key, was in stored.items() if max(was.event, was.created) <= view.until]


def _differs(layout: Layout, row: Packed, was: Found) -> bool:
    if row.values != was.values:
        return True
    if layout.has_aggregates:  # when they were computed is the view's moment, unless the row says a later one
        return layout.columns > 0 and row.event != was.event
    return row.event != was.event or row.created != was.created


def later_than(view: Held, until: int) -> InvalidInput:
    """The refusal to fill a view with an older state."""
    return InvalidInput(
        f"the online store has {view.reference} as of {from_micros(view.until):%Y-%m-%d %H:%M:%S}, which is later"
        f" than {from_micros(until):%Y-%m-%d %H:%M:%S}",
        hint="materialize until a later moment",
    )


def other_types(view: Held) -> InvalidInput:
    """The refusal of rows that would be packed otherwise than those that are stored."""
    return InvalidInput(
        f"rows for {view.reference} have other types than those in the online store",
        hint="materialize it anew: everloop features materialize",
    )


def not_stored(name: str, version: int | None, known: Sequence[str]) -> NotFound:
    """The answer for a view that is not there."""
    which = f"'{name}'" if version is None else f"'{name}' at version {version}"
    return NotFound(
        f"the online store has no {which}",
        hint=nearest(name, [each for each in known if each != name])
        or "put it there with: everloop features materialize",
    )


# Keys


def encode_key(values: Sequence[Any]) -> bytes:
    """The bytes an entity is found by."""
    return _encode(list(values))


def encoded_keys(view: str, layout: Layout, columns: Mapping[str, Sequence[Any]]) -> list[bytes]:
    """Keys, given column by column, as the store has them. Raises InvalidInput when a column is missing or of another type."""
    listed = []
    for name, kind in zip(layout.keys, layout.key_types, strict=True):
        if name not in columns:
            raise _missing_key(view, name, columns)
        exact = _EXACT.get(kind)
        values = columns[name]
        if exact is not None and all(type(value) is exact for value in values):
            listed.append(values)
        else:
            listed.append([_as_kind(value, kind, name) for value in values])
    try:
        return [_encode(key) for key in zip(*listed, strict=True)]
    except (OverflowError, UnicodeEncodeError):
        raise _no_key(view) from None


def encoded_key(view: str, layout: Layout, entity: Mapping[str, Any]) -> bytes:
    """The key of one entity, as `encoded_keys` makes those of many."""
    values = []
    for name, kind in zip(layout.keys, layout.key_types, strict=True):
        if name not in entity:
            raise _missing_key(view, name, entity)
        value = entity[name]
        values.append(value if type(value) is _EXACT.get(kind) else _as_kind(value, kind, name))
    try:
        return _encode(values)
    except (OverflowError, UnicodeEncodeError):
        raise _no_key(view) from None


def _no_key(view: str) -> InvalidInput:
    return InvalidInput(
        f"feature view '{view}' can have no such key",
        hint="whole numbers have 64 bits at most, and texts are UTF-8",
    )


def _missing_key(view: str, name: str, given: Iterable[str]) -> InvalidInput:
    return InvalidInput(f"feature view '{view}' needs the key '{name}'", hint=nearest(name, given))


_encode = msgspec.msgpack.Encoder(decimal_format="string").encode
_EXACT: dict[str, type] = {
    "string": str,
    "large_string": str,
    **dict.fromkeys(("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"), int),
}


def _as_kind(value: Any, kind: str, name: str) -> Any:
    """A key as the store has it. From a command line or a web address numbers come as text, from numpy as its own types."""
    if value is None:
        return None
    if kind.startswith(("int", "uint")):
        try:
            if isinstance(value, float) and value.is_integer():
                return int(value)
            return int(value) if isinstance(value, str) else operator.index(value)
        except (ValueError, TypeError):
            raise InvalidInput(f"the key {name}={value!r} is not a whole number") from None
    if kind in ("string", "large_string") and not isinstance(value, str):
        raise InvalidInput(f"the key {name}={value!r} is not text", hint=f"the key '{name}' is text")
    return value.item() if hasattr(value, "item") else value


# Values


def encode_values(values: Sequence[Any]) -> bytes:
    """Values in the order of the layout."""
    return _encode(values)


_decode = msgspec.msgpack.Decoder(list).decode

_KEPT = ("int", "uint", "float", "double", "halffloat", "string", "large_string", "bool", "null", "binary")


def lost_types(kinds: Sequence[str]) -> dict[int, str]:
    """Places of the types that packing does not keep by itself.

    >>> lost_types(["double", "date32[day]", "timestamp[us, tz=UTC]", "decimal128(9, 2)"])
    {1: 'date32[day]', 2: 'timestamp[us, tz=UTC]', 3: 'decimal128(9, 2)'}
    """
    return {place: kind for place, kind in enumerate(kinds) if not kind.startswith(_KEPT)}


def decode_values(layout: Layout, values: bytes) -> list[Any]:
    """The inverse of `encode_values`."""
    found: list[Any] = _decode(values)
    if layout.types:
        for place, kind in layout.types.items():
            if found[place] is not None:
                found[place] = _restored(found[place], kind)
    return found


def storable(value: Any, kind: str) -> Any:
    """A value of one of the `lost_types` as it is packed: instants as microseconds, the others as text."""
    if value is None or isinstance(value, str | list | dict | bytes):
        return value
    if kind.startswith("timestamp") and "tz=" in kind:
        return micros(value)
    return str(value)


def _restored(value: Any, kind: str) -> Any:
    if kind.startswith("timestamp") and "tz=" in kind:
        return from_micros(value)
    if kind.startswith("timestamp"):
        return datetime.fromisoformat(value)
    if kind.startswith("date"):
        return date.fromisoformat(value)
    if kind.startswith("decimal"):
        return Decimal(value)
    return value
