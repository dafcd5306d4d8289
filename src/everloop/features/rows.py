"""The rows of a view, computed by DuckDB: keys, times in microseconds, columns, and what aggregates are over."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from everloop.data.scanning import connection, quoted, sql_errors
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
    def count(self) -> int:
        return len(self.event)


def compute_rows(view: FeatureView, tables: Mapping[str, Any]) -> ViewRows:
    """Run a view over its datasets (anything DuckDB can register, by dataset name). Raises InvalidInput naming the view."""
    what = f"feature view '{view.name}'"
    with connection() as con, sql_errors(what):
        for name in view.sources:
            con.register(name, tables[name])
        con.execute(f"create temp view source_rows as {view.sql or f'from {quoted(view.sources[0])}'}")
        keep = f"where ({view.where})" if view.where else ""
        _require_instant(con, view.event_time, f"{what}: the event time")
        if view.available:
            _require_instant(con, view.available, f"{what}: the availability")
        selected = [f"epoch_us({view.event_time}) as e"]
        if view.available:
            selected.append(f"epoch_us({view.available}) as c")
        selected += [f"{quoted(name)} as k{number}" for number, name in enumerate(view.entity.keys)]
        selected += [f"({each.expression}) as f{number}" for number, each in enumerate(view.columns)]
        expressions = list(dict.fromkeys(each.expression for each in view.aggregates))
        selected += [f"({each})::double as a{number}" for number, each in enumerate(expressions)]
        table = con.sql(
            f"select * from (select {', '.join(selected)} from source_rows {keep}) where e is not null"
        ).to_arrow_table()
    table = table.combine_chunks()
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


_MICROSECOND = timedelta(microseconds=1)


def _require_instant(con: Any, expression: str, what: str) -> None:
    kind = con.sql(f"select ({expression}) from source_rows limit 0").types[0]
    if str(kind) != "TIMESTAMP WITH TIME ZONE":
        raise InvalidInput(
            f"{what} is {kind}, not an instant with a time zone",
            hint="store instants in UTC, or say which: … at time zone 'UTC'",
        )


def _array(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _numbers(column: Any, missing: int) -> Times:
    filled = _array(column.fill_null(missing))
    numbers: Times = filled.to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    return numbers


def _floats(column: Any) -> npt.NDArray[np.float64]:
    numbers: npt.NDArray[np.float64] = _array(column).to_numpy(zero_copy_only=False).astype(np.float64)
    return numbers
