"""The view of a table in which what is missing is null, whatever it was: NaN is not a value."""

from __future__ import annotations

from typing import Any

import duckdb

from everloop.data.scanning import quoted


def missing_is_null(con: duckdb.DuckDBPyConnection, name: str, rows: Any) -> dict[str, str]:
    """Make a view of a table, `rows`, that DuckDB can register. Returns its columns and their types in DuckDB."""
    given = f"given {name}"
    con.register(given, rows)
    kinds = {str(row[0]): str(row[1]) for row in con.sql(f"describe {quoted(given)}").fetchall()}
    floats = [quoted(column) for column, kind in kinds.items() if kind in ("FLOAT", "DOUBLE")]
    cleaned = ", ".join(f"case when not isnan({c}) then {c} end as {c}" for c in floats)
    replaced = f"replace ({cleaned})" if floats else ""
    con.execute(f"create temp view {quoted(name)} as select * {replaced} from {quoted(given)}")
    return kinds
