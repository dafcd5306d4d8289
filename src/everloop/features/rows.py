"""The rows of a view, computed by DuckDB: keys, times in microseconds, columns, and what aggregates are over."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from everloop.data.scanning import quoted, sql_errors
from everloop.domain.featureviews import FeatureView
from everloop.errors import InvalidInput

Times = npt.NDArray[np.int64]
LONG_AGO = np.iinfo(np.int64).min
"""Stands for a null availability: known at its event time, and older than any other row of that time."""


class ViewRows(NamedTuple):
    """Rows in the order of the data. `created` is when a row was known as the data say it, None when that is its event time."""

    keys: list[Any]
    event: Times
    created: Times | None
    columns: dict[str, Any]
    values: dict[str, npt.NDArray[np.float64]]

    @property
    def size(self) -> int:
        return len(self.event)


def compute_rows(con: duckdb.DuckDBPyConnection, view: FeatureView, tables: Mapping[str, Any]) -> ViewRows:
    """Run a view over its datasets (anything DuckDB can register, by dataset name). Raises InvalidInput naming the view."""
    what = f"feature view '{view.name}'"
    expressions = list(dict.fromkeys(each.expression for each in view.aggregates))
    with sql_errors(what):
        for name in view.sources:
            con.register(name, tables[name])
        try:
            table = con.sql(_query(con, view, expressions, what)).to_arrow_table().combine_chunks()
        finally:
            for name in view.sources:
                con.unregister(name)
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
        {each.name: _array(table[f"f{number}"]) for number, each in enumerate(view.columns)},
        {each: _floats(table[f"a{number}"]) for number, each in enumerate(expressions)},
    )


def _query(con: duckdb.DuckDBPyConnection, view: FeatureView, expressions: list[str], what: str) -> str:
    source = f"({view.sql})" if view.sql else quoted(view.sources[0])
    times = {"the event time": view.event_time}
    if view.available:
        times["the availability"] = view.available
    bound = con.sql(f"select {', '.join(f'({each})' for each in times.values())} from {source} limit 0")
    for (name, expression), kind in zip(times.items(), bound.types, strict=True):
        if str(kind) != "TIMESTAMP WITH TIME ZONE":
            raise InvalidInput(
                f"{what}: {name} '{expression}' is {kind}, not an instant with a time zone",
                hint="store instants in UTC, or say which: … at time zone 'UTC'",
            )
    selected = [f"epoch_us({each}) as {letter}" for letter, each in zip("ec", times.values(), strict=False)]
    selected += [f"{quoted(name)} as k{number}" for number, name in enumerate(view.entity.keys)]
    selected += [f"({each.expression}) as f{number}" for number, each in enumerate(view.columns)]
    selected += [f"({each})::double as a{number}" for number, each in enumerate(expressions)]
    keep = f"where ({view.where})" if view.where else ""
    return f"select * from (select {', '.join(selected)} from {source} {keep}) where e is not null"


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
