"""Whether a column is of a type that a check names: as Arrow prints it, or one of the families people think in."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
from pyarrow import types


def _is_text(kind: pa.DataType) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


_FAMILIES: dict[str, Callable[[pa.DataType], bool]] = {
    "integer": types.is_integer,
    "floating": types.is_floating,
    "number": lambda kind: bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)),
    "text": _is_text,
    "decimal": types.is_decimal,
    "boolean": types.is_boolean,
    "date": types.is_date,
    "timestamp": types.is_timestamp,
    "instant": lambda kind: bool(types.is_timestamp(kind) and kind.tz is not None),
}


def is_of_type(kind: pa.DataType, name: str) -> bool:
    """Whether a type is the one named, or of the family. Texts kept in a dictionary are texts.

    >>> is_of_type(pa.int32(), "integer"), is_of_type(pa.int32(), "int64"), is_of_type(pa.int32(), "int32")
    (True, False, True)
    """
    if types.is_dictionary(kind) and not name.startswith("dictionary"):
        kind = kind.value_type
    family = _FAMILIES.get(name)
    return bool(family(kind)) if family is not None else str(kind) == name
