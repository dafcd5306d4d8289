"""Tables as columns (name -> array of one dimension), and the check of columns against a signature.

A column of type double is float64 with NaN for nothing, long is int64 (float64 with NaN when rows lack it), boolean is bool,
string is an array of objects (str or None), datetime is datetime64[us] with NaT for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everloop.domain.names import shown
from everloop.domain.signature import Field, Signature, Type
from everloop.errors import InvalidInput, nearest

Column = NDArray[Any]
Columns = dict[str, Column]


def columns_of(table: Any, names: Sequence[str] | None = None) -> Columns:
    """The columns of a pandas frame, an Arrow table, a dict of columns, a list of rows (dicts), or a
    two-dimensional array, whose columns are called `names` (else ``x0``, ``x1``, …).

    >>> columns_of([{"a": 1, "b": 2.5}, {"a": 3}])["b"].tolist()
    [2.5, nan]
    """
    kind = type(table).__module__.partition(".")[0]
    if kind == "pandas" and hasattr(table, "columns"):
        return {str(name): _from_pandas(table[name]) for name in table.columns}
    if kind == "pyarrow" and hasattr(table, "column_names"):
        return {name: _from_arrow(table.column(name)) for name in table.column_names}
    if isinstance(table, Mapping):
        return {str(name): plain(values) for name, values in table.items()}
    if isinstance(table, np.ndarray) or _is_matrix(table):
        return _from_matrix(np.asarray(table), names)
    if isinstance(table, list) and all(isinstance(row, Mapping) for row in table):
        return {name: plain(values) for name, values in columns_from_rows(table).items()}
    raise InvalidInput(
        f"a {type(table).__name__} is not a table",
        hint="give a pandas frame, an Arrow table, a dict of columns, a list of rows, or a matrix",
    )


def categories_of(table: Any) -> dict[str, tuple[str, ...]]:
    """The categories of each categorical column of a pandas frame, of text; other tables have none."""
    if type(table).__module__.partition(".")[0] != "pandas" or not hasattr(table, "dtypes"):
        return {}
    found = {}
    for name, dtype in table.dtypes.items():
        categories = getattr(dtype, "categories", None)
        if categories is not None and all(isinstance(each, str) for each in categories):
            found[str(name)] = tuple(categories)
    return found


def columns_from_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows turned into columns; a row that lacks a name has None there.

    >>> columns_from_rows([{"a": 1}, {"b": 2}])
    {'a': [1, None], 'b': [None, 2]}
    """
    names = dict.fromkeys(rows[0]) if rows else {}
    if any(row.keys() != names.keys() for row in rows):
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: [row.get(name) for row in rows] for name in names}
    return {name: [row[name] for row in rows] for name in names}


def plain(values: Any) -> Column:
    """Values of one column as an array of one of the five kinds, by what they are."""
    array = values if isinstance(values, np.ndarray) else np.asarray(values)
    if array.ndim != 1:
        array = np.fromiter(values, dtype=object, count=len(values))
    if array.dtype.kind == "f":
        return array.astype(np.float64, copy=False)
    if array.dtype.kind in "iu":
        return array.astype(np.int64, copy=False)
    if array.dtype.kind == "M":
        return array.astype("datetime64[us]", copy=False)
    if array.dtype.kind == "b":
        return array
    # np.asarray turns numbers beside text into text, so objects are read from the values themselves.
    objects = np.empty(len(array), dtype=object)
    objects[:] = list(values)
    kinds = {type(value) for value in objects}
    if kinds - {type(None)} and kinds <= {int, float, type(None)}:
        return objects.astype(np.float64)
    if kinds <= {bool}:
        return objects.astype(np.bool_)
    return objects


def field_of(name: str, column: Column, categories: tuple[str, ...] | None = None) -> Field:
    """The field that describes a column. Raises InvalidInput for values of no known type.

    >>> field_of("a", np.array([1.5, float("nan")]))
    Field(name='a', type=<Type.DOUBLE: 'double'>, nullable=True, categories=None)
    """
    match column.dtype.kind:
        case "f":
            return Field(name, Type.DOUBLE, bool(np.isnan(column).any()))
        case "i":
            return Field(name, Type.LONG)
        case "b":
            return Field(name, Type.BOOLEAN)
        case "M":
            return Field(name, Type.DATETIME, bool(np.isnat(column).any()))
    for value in column:
        if value is not None and not isinstance(value, str):
            raise InvalidInput(
                f"column {shown(name)} holds {type(value).__name__} values",
                hint="use numbers, text, booleans or times",
            )
    return Field(name, Type.STRING, any(value is None for value in column), categories)


def conform(given: Mapping[str, Any], signature: Signature, *, drop_extra: bool = False) -> Columns:
    """The columns a model takes, in its order and types, or InvalidInput that names column and row.

    `given` holds arrays or plain lists. Numbers are never cut or read from text: 2.5 in a long column is
    refused, a whole 2.0 is taken. Unknown columns are refused unless `drop_extra`.

    >>> from everloop.domain.signature import Task
    >>> takes = Signature((Field("n", Type.LONG),), (Field("prediction", Type.DOUBLE),), Task.REGRESSION)
    >>> conform({"n": [1, 2.0]}, takes)["n"].tolist()
    [1, 2]
    >>> conform({"n": [1, 2.5]}, takes)
    Traceback (most recent call last):
    everloop.errors.InvalidInput: column 'n' takes whole numbers; row 1 has 2.5
    """
    missing = [name for name in signature.names if name not in given]
    extra = [] if drop_extra else [name for name in given if name not in signature.names]
    if missing or extra:
        raise _wrong_names(missing, extra, signature)
    checked = {field.name: _READERS[field.type](field, given[field.name]) for field in signature.inputs}
    lengths = {len(column) for column in checked.values()}
    if len(lengths) > 1:
        sizes = ", ".join(f"{name}: {len(column)}" for name, column in list(checked.items())[:6])
        raise InvalidInput(
            f"the columns differ in length ({sizes})", hint="give every column the same number of rows"
        )
    return checked


def _wrong_names(missing: list[str], extra: list[str], signature: Signature) -> InvalidInput:
    listed = ", ".join(signature.names)
    if missing:
        hint = f"the model takes: {listed}"
        return InvalidInput(
            f"missing column{'s'[: len(missing) - 1]} {', '.join(map(shown, missing))}", hint=hint
        )
    hint = nearest(extra[0], signature.names) or f"the model takes: {listed}"
    return InvalidInput(f"unknown column{'s'[: len(extra) - 1]} {', '.join(map(shown, extra))}", hint=hint)


def _wrong(field: Field, values: Sequence[Any], is_wrong: Callable[[Any], bool]) -> InvalidInput:
    wanted = {
        Type.DOUBLE: "numbers",
        Type.LONG: "whole numbers",
        Type.BOOLEAN: "true or false",
        Type.STRING: "text",
        Type.DATETIME: "times such as 2026-01-01T00:00:00Z",
    }[field.type]
    row = next(row for row, value in enumerate(values) if is_wrong(value))
    if _is_missing(values[row]):
        return InvalidInput(
            f"column {shown(field.name)} may not be empty; row {row} has no value",
            hint="fill it in, or leave the row out",
        )
    value = shown(values[row]) if isinstance(values[row], str) else shown(str(values[row]))[1:-1]
    return InvalidInput(f"column {shown(field.name)} takes {wanted}; row {row} has {value}")


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _listed(values: Any, field: Field) -> Any:
    if isinstance(values, np.ndarray) and values.dtype != object:
        return values
    if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
        raise InvalidInput(f"column {shown(field.name)} is not a list of values", hint="give one value a row")
    return values


def _doubles(field: Field, values: Any) -> Column:
    values = _listed(values, field)
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiu":
        column = values.astype(np.float64, copy=False)
    else:
        if not {type(value) for value in values} <= {float, int, type(None)}:
            raise _wrong(field, values, lambda value: type(value) not in {float, int, type(None)})
        try:
            column = np.array(values, dtype=np.float64)
        except OverflowError:
            raise _wrong(
                field, values, lambda value: isinstance(value, int) and abs(value) > 10**308
            ) from None
    if not np.isfinite(column).all():
        if np.isinf(column).any():
            raise _wrong(field, column.tolist(), lambda value: value in (float("inf"), float("-inf")))
        if not field.nullable:
            raise _wrong(field, column.tolist(), _is_missing)
    return column


def _longs(field: Field, values: Any) -> Column:
    values = _listed(values, field)
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu":
        return values.astype(np.int64, copy=False)
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    if {type(value) for value in listed} <= {int}:
        try:
            return np.array(listed, dtype=np.int64)
        except OverflowError:
            raise _wrong(field, listed, lambda value: not -(2**63) <= value < 2**63) from None

    def fits(value: Any) -> bool:
        return _is_whole(value) or (field.nullable and _is_missing(value))

    if not all(fits(value) for value in listed):
        raise _wrong(field, listed, lambda value: not fits(value))
    if any(_is_missing(value) for value in listed):
        return np.array([np.nan if _is_missing(value) else float(value) for value in listed])
    return np.array([int(value) for value in listed], dtype=np.int64)


def _is_whole(value: Any) -> bool:
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return number and value == value and abs(value) < 2**63 and int(value) == value


def _booleans(field: Field, values: Any) -> Column:
    values = _listed(values, field)
    if isinstance(values, np.ndarray) and values.dtype.kind == "b":
        return values
    if not all(isinstance(value, bool | np.bool_) for value in values):
        raise _wrong(field, values, lambda value: not isinstance(value, bool | np.bool_))
    return np.array(values, dtype=np.bool_)


def _texts(field: Field, values: Any) -> Column:
    values = _listed(values, field)
    listed = [None if _is_missing(value) else value for value in values]
    allowed = (str, type(None)) if field.nullable else (str,)
    if not all(isinstance(value, allowed) for value in listed):
        raise _wrong(field, listed, lambda value: not isinstance(value, allowed))
    column = np.empty(len(listed), dtype=object)
    column[:] = listed
    return column


def _times(field: Field, values: Any) -> Column:
    values = _listed(values, field)
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        column = values.astype("datetime64[us]", copy=False)
    else:
        column = np.array(
            [_time(field, row, value) for row, value in enumerate(values)], dtype="datetime64[us]"
        )
    if not field.nullable and np.isnat(column).any():
        row = int(np.argmax(np.isnat(column)))
        raise InvalidInput(f"column {shown(field.name)} may not be empty; row {row} has no value")
    return column


def _time(field: Field, row: int, value: Any) -> np.datetime64:
    from datetime import UTC, datetime

    if value is None:
        return np.datetime64("NaT")
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise InvalidInput(
            f"column {shown(field.name)} takes times; row {row} has {shown(str(value))}",
            hint="write times such as 2026-01-01T00:00:00Z",
        ) from None
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment, "us")


_READERS: dict[Type, Callable[[Field, Any], Column]] = {
    Type.DOUBLE: _doubles,
    Type.LONG: _longs,
    Type.BOOLEAN: _booleans,
    Type.STRING: _texts,
    Type.DATETIME: _times,
}


def jsonable(column: Column) -> list[Any]:
    """A column as JSON can hold it: NaN and NaT as None, times as text in UTC.

    >>> jsonable(np.array([1.5, float("nan")]))
    [1.5, None]
    """
    if column.dtype.kind == "f":
        values: list[Any] = column.tolist()
        return [None if value != value else value for value in values] if np.isnan(column).any() else values
    if column.dtype.kind == "M":
        return [
            None if value is None else value.isoformat() + "Z"
            for value in column.astype("datetime64[us]").tolist()
        ]
    return column.tolist()


def _is_matrix(table: Any) -> bool:
    return (
        isinstance(table, list | tuple)
        and len(table) > 0
        and all(isinstance(row, list | tuple) for row in table)
    )


def _from_matrix(matrix: NDArray[Any], names: Sequence[str] | None) -> Columns:
    if matrix.ndim != 2:
        raise InvalidInput(
            f"an array of {matrix.ndim} dimension{'s'[: matrix.ndim != 1]} is not a table",
            hint="give rows and columns",
        )
    called = list(names) if names is not None else [f"x{number}" for number in range(matrix.shape[1])]
    if len(called) != matrix.shape[1]:
        raise InvalidInput(
            f"the rows have {matrix.shape[1]} columns, the model takes {len(called)}: {', '.join(called)}"
        )
    return {name: plain(matrix[:, number]) for number, name in enumerate(called)}


def _from_pandas(series: Any) -> Column:
    if series.dtype.kind in "fiubM" and isinstance(series.dtype, np.dtype):
        return plain(series.to_numpy())
    missing = series.isna().to_numpy()
    listed = [None if gone else value for value, gone in zip(series.tolist(), missing, strict=True)]
    return plain(listed)


def _from_arrow(column: Any) -> Column:
    import pyarrow as pa

    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = whole.type
    if pa.types.is_dictionary(kind):
        whole = whole.cast(kind.value_type)
    elif pa.types.is_timestamp(kind):
        return whole.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False).astype("datetime64[us]")
    elif pa.types.is_decimal(kind):
        whole = whole.cast(pa.float64())
    if pa.types.is_boolean(whole.type) and whole.null_count:
        return plain(whole.to_pylist())
    return plain(whole.to_numpy(zero_copy_only=False))
