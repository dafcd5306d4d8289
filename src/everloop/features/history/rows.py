"""The rows of a view, computed by DuckDB: keys, times in microseconds, columns, and what aggregates are over."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from everloop.data.tables.native_parquet import offered
from everloop.data.tables.scanning import quoted, sql_errors
from everloop.domain.featureviews import Aggregate, FeatureView
from everloop.errors import Failed, InvalidInput
from everloop.features.history.span import Span, counting
from everloop.features.types import declared_type

Times = npt.NDArray[np.int64]
LONG_AGO = np.iinfo(np.int64).min
"""Stands for a null availability: known at its event time, and older than any other row of that time."""


class ViewRows(NamedTuple):
    """Rows in the order of the data.

    created: when a row was known as the data say it, None when that is its event time. values: what aggregates are over, by
    `values_key`, NaN where missing; marks: the same for those that only tell values apart, of any type, null where missing.
    """

    keys: list[Any]
    event: Times
    created: Times | None
    columns: dict[str, Any]
    values: dict[str, npt.NDArray[np.float64]]
    marks: dict[str, Any]

    @property
    def size(self) -> int:
        return len(self.event)


def compute_rows(
    con: duckdb.DuckDBPyConnection, view: FeatureView, tables: Mapping[str, Any], within: Span | None = None
) -> ViewRows:
    """Run a view over its datasets (anything DuckDB can register, by dataset name); with `within`, only as far as rows can
    count at a moment of it. Raises InvalidInput naming the view, and the feature where it is one."""
    what = f"feature view '{view.name}'"
    wanted = list({values_key(each): each for each in view.aggregates}.values())
    relations = dict(tables) if view.python is None else {view.sources[0]: transformed(view, tables)}
    with (
        sql_errors(what),
        offered(con, {name: relations[name] for name in view.sources if name in relations}),
    ):
        kinds = _expression_types(con, view, what)
        table = _fetched(con.sql(_query(con, view, wanted, kinds, what, within)))
    event = _numbers(table["e"], LONG_AGO)
    created = None
    if view.available:
        created = _numbers(table["c"], LONG_AGO)
    elif view.available_after:
        created = event + view.available_after // _MICROSECOND
    return ViewRows(
        [_array(table[f"k{number}"]) for number in range(len(view.entity.keys))],
        event,
        created,
        {
            each.name: declared_type(_array(table[f"f{number}"]), each, what)
            for number, each in enumerate(view.columns)
        },
        {
            values_key(each): _floats(table[f"a{number}"])
            for number, each in enumerate(wanted)
            if each.function != "distinct"
        },
        {
            values_key(each): _marks(table[f"a{number}"])
            for number, each in enumerate(wanted)
            if each.function == "distinct"
        },
    )


def values_key(aggregate: Aggregate) -> str:
    """What the values an aggregate is over are kept by: several functions of one expression share them."""
    return f"distinct {aggregate.expression}" if aggregate.function == "distinct" else aggregate.expression


def transformed(view: FeatureView, tables: Mapping[str, Any]) -> pa.Table:
    """The rows that a view's Python function makes of its datasets' tables: the user's code runs here, or in a child."""
    from everloop.features import apart
    from everloop.features.on_demand.functions import call

    assert view.python is not None
    what = f"feature view '{view.name}'"
    sources = [
        each if isinstance(each, pa.Table) else each.to_table()
        for each in (tables[name] for name in view.sources)
    ]
    if apart.is_apart():
        return apart.computed("rows", view, sources)
    made = call(view.python, what, *sources)
    try:
        return made if isinstance(made, pa.Table) else pa.table(made)
    except (TypeError, pa.ArrowInvalid) as error:
        raise Failed(f"{what}: its function gave a {type(made).__name__}, not a table: {error}") from None


def _expression_types(con: duckdb.DuckDBPyConnection, view: FeatureView, what: str) -> dict[str, str]:
    """What type each expression is of. Raises InvalidInput that names the feature, where DuckDB would name the whole query, and
    for a number over what is none."""
    source = _source(view)
    said = _Saying(con, source)
    expressions = ", ".join(f"({said(each.expression)})" for each in view.features)
    try:
        bound = con.sql(f"select {expressions} from {source} limit 0")
    except duckdb.Error:
        for each in view.features:
            with sql_errors(f"{what}: feature '{each.name}'"):
                con.sql(f"select ({said(each.expression)}) from {source} limit 0")
        raise
    kinds: dict[str, str] = {
        each.expression: kind.id for each, kind in zip(view.features, bound.types, strict=True)
    }
    for each in view.aggregates:
        kind = kinds[each.expression]
        if each.function not in ("count", "distinct") and kind not in _NUMBERS:
            raise InvalidInput(
                f"{what}: feature '{each.name}' is the {each.function} of '{each.expression}', which is {kind} and no number",
                hint=f"make it one, such as ({each.expression})::double; count and distinct take anything",
            )
    return kinds


class _Saying:
    """Expressions as SQL: the name of a column as it is, also one that SQL has other uses for, such as order or at."""

    def __init__(self, con: duckdb.DuckDBPyConnection, source: str) -> None:
        self._columns = set(con.sql(f"select * from {source} limit 0").columns)

    def __call__(self, expression: str) -> str:
        return quoted(expression) if expression in self._columns else expression


def _source(view: FeatureView) -> str:
    return f"({view.sql})" if view.sql else quoted(view.sources[0])


def _query(
    con: duckdb.DuckDBPyConnection,
    view: FeatureView,
    wanted: list[Aggregate],
    kinds: Mapping[str, str],
    what: str,
    within: Span | None,
) -> str:
    source = _source(view)
    said = _Saying(con, source)
    times = {"the event time": view.event_time}
    if view.available:
        times["the availability"] = view.available
    bound = con.sql(f"select {', '.join(f'({said(each)})' for each in times.values())} from {source} limit 0")
    for (name, expression), kind in zip(times.items(), bound.types, strict=True):
        if str(kind) != "TIMESTAMP WITH TIME ZONE":
            raise InvalidInput(
                f"{what}: {name} '{expression}' is {kind}, not an instant with a time zone",
                hint="store instants in UTC, or say which: … at time zone 'UTC'",
            )
    selected = [
        f"epoch_us({said(each)}) as {letter}" for letter, each in zip("ec", times.values(), strict=False)
    ]
    selected += [f"{quoted(name)} as k{number}" for number, name in enumerate(view.entity.keys)]
    selected += [f"({said(each.expression)}) as f{number}" for number, each in enumerate(view.columns)]
    for number, each in enumerate(wanted):
        value = f"({said(each.expression)})"
        if each.function != "distinct":
            # What is no number is only counted.
            number_of = kinds[each.expression] in _NUMBERS
            value = f"{value}::double" if number_of else f"case when {value} is not null then 1::double end"
        selected.append(f"{value} as a{number}")
    conditions = [f"({view.where})"] if view.where else []
    if within is not None:
        available = said(view.available) if view.available else ""
        conditions.append(counting(view, within, said(view.event_time), available))
    keep = f"where {' and '.join(conditions)}" if conditions else ""
    return f"select * from (select {', '.join(selected)} from {source} {keep}) where e is not null"


def _fetched(rows: duckdb.DuckDBPyRelation) -> pa.Table:
    """The rows with each column in one piece. Of fixed width, it is made in one piece, not copied together; a piece of texts may
    hold two gigabytes at most."""
    fixed = all(kind.id in _FIXED_WIDTH for kind in rows.types)
    return (rows.to_arrow_table(_ONE_PIECE) if fixed else rows.to_arrow_table()).combine_chunks()


_NUMBERS = {
    *("boolean", "tinyint", "smallint", "integer", "bigint", "hugeint"),
    *("utinyint", "usmallint", "uinteger", "ubigint", "uhugeint"),
    *("float", "double", "decimal", "bignum", "null"),
}
"""Types whose values are taken as doubles, as DuckDB calls them."""

_FIXED_WIDTH = {
    "boolean",
    "integer",
    "bigint",
    "smallint",
    "float",
    "double",
    "date",
    "timestamp with time zone",
}
_ONE_PIECE = 1 << 26
"""Rows."""
_MICROSECOND = timedelta(microseconds=1)


def _array(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _numbers(column: Any, missing: int) -> Times:
    filled = _array(column.fill_null(missing))
    numbers: Times = filled.to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    return numbers


def _floats(column: Any) -> npt.NDArray[np.float64]:
    numbers: npt.NDArray[np.float64] = _array(column).to_numpy(zero_copy_only=False).astype(np.float64)
    return numbers


def _marks(column: Any) -> Any:
    if pa.types.is_floating(column.type):
        column = pc.add(column, 0.0)  # 0.0 and -0.0 are one value
        return _array(pc.if_else(pc.is_nan(column), None, column))
    return _array(column)
