"""A table as checks see it: what is missing is null, whatever it was, and NaN is not a value. And answers as Python has them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import duckdb

from everloop.data.tables.native_parquet import offer
from everloop.data.tables.scanning import quoted

AGGREGATES = 300
"""In one scan. DuckDB's time grows with their square."""
DISTINCTS = 8
"""Of these, such as hold all values they have met."""
MEMORY = "500MB"
"""What DuckDB may hold; more goes to a temporary folder."""


def settle(con: duckdb.DuckDBPyConnection) -> None:
    """Let a connection use little memory, and a temporary folder beyond."""
    con.execute(f"set memory_limit = '{MEMORY}'")
    con.execute("set temp_directory = ?", [tempfile.gettempdir()])


def missing_is_null(con: duckdb.DuckDBPyConnection, name: str, rows: Any) -> dict[str, str]:
    """Make a view of a table, `rows`, that DuckDB can register. Returns its columns and their types in DuckDB."""
    kinds = offer(con, f"given {name}", rows)
    con.execute(f"create temp view {quoted(name)} as {_cleaned(name, kinds)}")
    return kinds


def only(name: str, kinds: Mapping[str, str], columns: Iterable[str]) -> str:
    """What stands before a query so that the view `name` has just these columns in it: DuckDB binds every column of a view anew
    for every query, and there may be thousands."""
    return f"with {quoted(name)} as ({_cleaned(name, {column: kinds[column] for column in columns})}) "


def _cleaned(name: str, kinds: Mapping[str, str]) -> str:
    columns = [
        f"case when not isnan({quoted(column)}) then {quoted(column)} end as {quoted(column)}"
        if kind in ("FLOAT", "DOUBLE")
        else quoted(column)
        for column, kind in kinds.items()
    ]
    return f"select {', '.join(columns)} from {quoted(f'given {name}')}"


def first_row(relation: duckdb.DuckDBPyRelation) -> tuple[Any, ...]:
    """The only row of an answer. By way of Arrow, for DuckDB's own way to Python's times wants another package."""
    found = relation.to_arrow_table()
    return tuple(_plain(found.column(at)[0].as_py()) for at in range(found.num_columns))


def _plain(value: Any) -> Any:
    """DuckDB's whole numbers of 128 bits come as decimals without a fraction."""
    return int(value) if isinstance(value, Decimal) and value.as_tuple().exponent == 0 else value
