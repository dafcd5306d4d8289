"""Types that are declared, held against what was computed."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from everloop.domain.featureviews import Feature
from everloop.domain.signature import Type
from everloop.errors import Failed, InvalidInput

ARROW: dict[Type, Any] = {
    Type.DOUBLE: pa.float64(),
    Type.LONG: pa.int64(),
    Type.BOOLEAN: pa.bool_(),
    Type.STRING: pa.string(),
    Type.DATETIME: pa.timestamp("us", "UTC"),
}


def as_type(values: Any, kind: Type, what: str, wrong: type[InvalidInput | Failed]) -> Any:
    """Values as a type of ours, where each of them is one; NaN is null. Raises `wrong`, naming `what`."""
    target = ARROW[kind]
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if kind is Type.DATETIME and pa.types.is_timestamp(values.type) and values.type.tz is None:
        if wrong is InvalidInput:
            raise InvalidInput(f"{what} has no time zone", hint="make it an instant: timestamp('us', 'UTC')")
        values = values.cast(
            pa.timestamp(values.type.unit, "UTC")
        )  # numpy's instants have no zone; they are in UTC
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)
    if values.type != target:
        if not _fits(values.type, kind):
            raise wrong(f"{what} is {values.type}, not {kind}")
        try:
            values = values.cast(target, safe=kind is not Type.DOUBLE)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise wrong(f"{what} is not {kind}: {str(error).splitlines()[0]}") from None
    return values


def _fits(given: Any, kind: Type) -> bool:
    """Whether values of a type can be of another one, where each of them is looked at."""
    if pa.types.is_null(given):
        return True
    number = pa.types.is_integer(given) or pa.types.is_floating(given) or pa.types.is_decimal(given)
    match kind:
        case Type.DOUBLE:
            return number or pa.types.is_boolean(given)
        case Type.LONG:
            return number or pa.types.is_boolean(given)
        case Type.BOOLEAN:
            return pa.types.is_boolean(given) or number
        case Type.STRING:
            text = (
                pa.types.is_string(given) or pa.types.is_large_string(given) or pa.types.is_string_view(given)
            )
            return text or pa.types.is_dictionary(given)
        case Type.DATETIME:
            return bool(pa.types.is_timestamp(given))


def declared_type(values: Any, feature: Feature, what: str) -> Any:
    """A feature's values as its declaration says, as they are where it says nothing. Raises InvalidInput naming the feature."""
    if not feature.type:
        return values
    return as_type(values, Type(feature.type), f"{what}: feature '{feature.name}'", InvalidInput)
