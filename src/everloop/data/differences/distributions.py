"""How far a column's distribution is from that of another version: states counted in a stream, compared by `stats.drift`."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np

from everloop.data.tables.scanning import quoted
from everloop.errors import InvalidInput
from everloop.stats.drift import (
    CategoricalBins,
    CategoricalState,
    Measurement,
    NumericBins,
    NumericState,
    measure,
)

SIGNIFICANT = 0.01
"""A difference whose p is not below this may be chance."""
FIT_ROWS = 100_000
"""Values of the reference, evenly spread, from which bins are made."""
CATEGORIES = 1_000
"""The most frequent values that are told apart; the rest is one category."""
REST = "(every other value)"

_NUMERIC = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")


def distance(
    con: duckdb.DuckDBPyConnection, column: str, kinds: tuple[str, str], reference: str, current: str
) -> Measurement:
    """The distance of `column` between two views, `reference` first, and how likely one so large is by chance.

    kinds: DuckDB's types of the column in both. Raises InvalidInput when they are not of one kind, or either has no value.
    """
    numeric = [_is_numeric(kind) for kind in kinds]
    if numeric[0] != numeric[1]:
        raise InvalidInput(f"'{column}' is {kinds[1]}, and {kinds[0]} in the reference")
    if numeric[0]:
        bins = _fitted(con, column, kinds[0], reference)
        states: tuple[Any, Any] = (
            _counted(con, column, kinds[0], reference, bins),
            _counted(con, column, kinds[1], current, bins),
        )
    else:
        states = _categories(con, column, reference, current)
    found = [each for each in measure(column, *states) if each.aspect == "distribution"]
    if not found:
        raise InvalidInput(f"'{column}' has no value to compare, here or in the reference")
    return found[0]


def _is_numeric(kind: str) -> bool:
    return kind.removeprefix("U").startswith((*_NUMERIC, "TIMESTAMP", "DATE"))


def _number(column: str, kind: str) -> str:
    """Times as microseconds, and every number as a float."""
    if kind.startswith("TIMESTAMP"):
        return f"epoch_us({quoted(column)})::double"
    return f"epoch_us({quoted(column)}::timestamp)::double" if kind == "DATE" else f"{quoted(column)}::double"


def _fitted(con: duckdb.DuckDBPyConnection, column: str, kind: str, view: str) -> NumericBins:
    value = _number(column, kind)
    [(there,)] = con.sql(f"select count({quoted(column)}) from {view}").fetchall()
    stride = max(1, there // FIT_ROWS)
    spread = con.sql(
        f"select v from (select {value} as v, row_number() over () as n from {view}"
        f" where {quoted(column)} is not null) where n % {stride} = 0"
    ).fetchnumpy()["v"]
    try:
        return NumericBins.fit(np.asarray(spread))
    except ValueError:
        raise InvalidInput(f"'{column}' has no value in the reference") from None


def _counted(
    con: duckdb.DuckDBPyConnection, column: str, kind: str, view: str, bins: NumericBins
) -> NumericState:
    state = bins.count([])
    query = f"select coalesce({_number(column, kind)}, 'nan'::double) as v from {view}"
    for batch in con.sql(query).to_arrow_reader(1 << 17):
        state = state.merge(bins.count(batch.column(0).to_numpy()))
    return state


def _categories(
    con: duckdb.DuckDBPyConnection, column: str, reference: str, current: str
) -> tuple[CategoricalState, CategoricalState]:
    before = _tally(con, column, reference, None)
    known = [name for name in before if name is not None]
    if not known:
        raise InvalidInput(f"'{column}' has no value in the reference")
    after = _tally(con, column, current, known)
    bins = CategoricalBins.fit({name: before[name] for name in known}, limit=CATEGORIES + 1)
    return bins.count(before), bins.count(after)


def _tally(
    con: duckdb.DuckDBPyConnection, column: str, view: str, known: list[str] | None
) -> dict[str | None, int]:
    """Rows by value, the values that are not among the `known` (or the most frequent) ones together."""
    text = f"{quoted(column)}::varchar"
    if known is None:
        counted = (
            f"select v, count(*) as n from (select {text} as v from {view}) where v is not null group by v"
        )
        frequent = f"select v from ({counted}) order by n desc, v limit {CATEGORIES}"
        parameters: list[Any] = []
    else:
        frequent, parameters = "select unnest(?)", [known]
    rows = con.execute(
        f"select case when v is null then null when v in ({frequent}) then v else '{REST}' end as name, count(*)"
        f" from (select {text} as v from {view}) group by name",
        parameters,
    ).fetchall()
    return {name: int(count) for name, count in rows}
