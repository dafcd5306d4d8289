"""Rows that differ between two tables, by key or by content.

Whole rows are hashed first, and of most tables nothing else is looked at: only rows whose hashes differ are compared cell by
cell. By content two hashes of 64 bits stand for a row; by key one does, and is only ever compared with that of the other row of
its key.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.types as pt

from everloop.data.tables.column_names import require_fit
from everloop.data.tables.native_parquet import widened
from everloop.data.tables.scanning import connection, literal, quoted, sql_errors
from everloop.domain.dataset_diffs import CellChange, ChangedRow, RowSample
from everloop.errors import InvalidInput

MEMORY = "2GB"
"""What a comparison takes at most; what does not fit goes to files."""

_FAILED = "the rows cannot be compared"


class RowDiff(NamedTuple):
    added: int
    removed: int
    changed: int
    cells: dict[str, int]
    sample: RowSample


class Tables:
    """Two tables on one connection, in the columns that both have, and what both have that need not be compared.

    first, second: anything DuckDB reads as Arrow, with a schema; None where a side has nothing but what both have. both: rows
    that are on both sides, of which only keys are ever looked at. A column whose type differs is compared, and shown, as what
    both can be: two kinds of numbers as numbers, anything else as text.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, first: Any, second: Any, both: Any = None) -> None:
        self._con = con
        tables = {"first": widened(first), "second": widened(second), "shared": widened(both)}
        schemas = {name: rows.schema for name, rows in tables.items() if rows is not None}
        every = list(schemas.values())
        self.columns = [name for name in every[0].names if all(name in schema.names for schema in every)]
        # Columns are called c0, c1, … here, so that no name of a user's collides with one of ours.
        self._places = {name: f"c{place}" for place, name in enumerate(self.columns)}
        self._nullable: set[str] = set()
        for name, rows in tables.items():
            require_fit(rows)
            schema = schemas.get(name, every[0])
            con.register(f"{name}_rows", rows if rows is not None else schema.empty_table())
            listed = ", ".join(
                f"{_comparable(quoted(column), [each.field(column).type for each in every])} as {place}"
                for column, place in self._places.items()
            )
            con.execute(f"create temp view {name} as select {listed} from {name}_rows")

    def by_content(self, sample: int) -> RowDiff:
        """Rows of each that the other has not, repeated rows counted."""
        listed = ", ".join(self._places.values())
        hashes = f"hash({listed}) as h, hash(1, {listed}) as g"
        with sql_errors(_FAILED):
            self._con.execute(
                f"""create temp table differing as select h, g, sum(side)::bigint as n from (
                    select {hashes}, 1 as side from second union all select {hashes}, -1 from first
                ) group by h, g having sum(side) <> 0"""
            )
            added, removed = self._one(
                "select coalesce(sum(greatest(n, 0)), 0), coalesce(sum(greatest(-n, 0)), 0) from differing"
            )
            rows = {}
            for side, sign in (("second", ">"), ("first", "<")):
                query = f"""select distinct {listed} from (select *, {hashes} from {side}) natural join
                    (select h, g from differing where n {sign} 0 order by h, g limit {int(sample)}) order by all"""
                rows[side] = self._rows(query) if sample else []
        return RowDiff(int(added), int(removed), 0, {}, RowSample(rows["second"], rows["first"], []))

    def by_key(self, key: Sequence[str], sample: int) -> RowDiff:
        """Keys that are only in the second, only in the first, or in both with another cell. Raises InvalidInput for a key that
        repeats and under which rows differ: what changed could not be told."""
        absent = [name for name in key if name not in self.columns]
        if absent:
            raise InvalidInput(
                f"both versions need the key column '{absent[0]}'",
                hint=f"shared columns are {', '.join(self.columns[:30])}",
            )
        keys = ", ".join(self._places[name] for name in key)
        rest = [name for name in self.columns if name not in key]
        row = f"hash({', '.join(self._places[name] for name in rest) or '1'})"
        with sql_errors(_FAILED):
            # A row of the second has another hash than the same row of the first: two of one side do not look like a pair.
            for side, hashed in (("first", row), ("second", f"xor({row}, 1::ubigint)")):
                columns = f"{keys}, {hashed} as h"
                self._con.execute(f"create temp table {side}_hashes as select {columns} from {side}")
            both = "select * from first_hashes union all select * from second_hashes"
            self._con.execute(
                f"""create temp table suspects as select {keys} from ({both})
                group by {keys} having count(*) <> 2 or bit_xor(h) <> 1"""
            )
            # A plain equality is several times quicker, and the same where no key that matters has a null.
            nulls = self._one(
                f"select {', '.join(f'count(*) > count({self._places[name]})' for name in key)} from suspects"
            )
            self._nullable = {name for name, some in zip(key, nulls, strict=True) if some}
            # `often` rows have a key, `more` of them in the first than in the second.
            self._con.execute(
                f"""create temp table differing as
                select {keys}, count(*) as often, sum(side)::bigint as more from (
                    {self._of("first_hashes", "suspects", key, "1 as side")} union all
                    {self._of("second_hashes", "suspects", key, "-1 as side")}
                ) group by {keys}"""
            )
            self._refuse_repeated(key)
            for side in ("first", "second"):
                self._con.execute(f"create temp table {side}_found as {self._of(side, 'differing', key)}")
            added, removed = self._one(
                "select count(*) filter (more < 0), count(*) filter (more > 0) from differing where often = 1"
            )
            changed, cells = self._cells(key, rest)
            shown = RowSample(
                added=self._alone("second", key, sample),
                removed=self._alone("first", key, sample),
                changed=self._changed(key, rest, sample) if changed else [],
            )
        return RowDiff(int(added), int(removed), changed, cells, shown)

    def _refuse_repeated(self, key: Sequence[str]) -> None:
        keys = ", ".join(self._places[name] for name in key)
        repeated = "often > 2 or often = 2 and more <> 0"
        found = None
        if self._first(f"from differing where {repeated} limit 1"):
            self._con.execute(f"create temp table repeating as select {keys} from differing where {repeated}")
            found = self._first(
                f"""select {keys} from (
                    {self._of("first_hashes", "repeating", key, "h as row, 1 as side")} union all
                    {self._of("second_hashes", "repeating", key, "xor(h, 1::ubigint) as row, -1 as side")}
                ) group by {keys}, row having sum(side) <> 0 limit 1"""
            )
        if found is None:
            # Rows that repeat alike on both sides differ in nothing.
            self._con.execute(f"delete from differing where {repeated}")
            # A key of a row that differs may have another row among those that both sides have.
            found = self._first(f"select {keys} from ({self._of('shared', 'differing', key)}) limit 1")
        if found is not None:
            where = ", ".join(f"{name} = {value}" for name, value in zip(key, found, strict=True))
            raise InvalidInput(
                f"the key {', '.join(key)} repeats where rows differ: {where}",
                hint="name more columns of the key",
            )

    def _of(self, rows: str, chosen: str, key: Sequence[str], more: str = "") -> str:
        """Rows of a table whose key is among those of another one, with what `more` asks for."""
        same = self._same(key, "r", "k")
        return f"select r.*{f', {more}' if more else ''} from {rows} r semi join {chosen} k on {same}"

    def _cells(self, key: Sequence[str], rest: Sequence[str]) -> tuple[int, dict[str, int]]:
        """How many rows changed, and how many in each column."""
        if not rest:
            return 0, {}
        differs = [_distinct(self._places[name]) for name in rest]
        counts = ", ".join(f"count(*) filter ({each})" for each in differs)
        changed, *cells = self._one(
            f"select count(*) filter ({' or '.join(differs)}), {counts} from {self._pairs(key)}"
        )
        return int(changed), {name: int(n) for name, n in zip(rest, cells, strict=True) if n}

    def _pairs(self, key: Sequence[str]) -> str:
        """Rows of both sides under keys where they differ, as `a` and `b`."""
        return f"first_found a join second_found b on {self._same(key, 'a', 'b')}"

    def _alone(self, side: str, key: Sequence[str], sample: int) -> list[dict[str, Any]]:
        """Rows under keys that the other side has not."""
        keys = ", ".join(self._places[name] for name in key)
        other = {"first": "second", "second": "first"}[side]
        found = f"select r.* from {side}_found r anti join {other}_found k on {self._same(key, 'r', 'k')}"
        return self._rows(f"{found} order by {keys} limit {int(sample)}") if sample else []

    def _changed(self, key: Sequence[str], rest: Sequence[str], sample: int) -> list[ChangedRow]:
        if not sample:
            return []
        differs = [_distinct(self._places[name]) for name in rest]
        listed = [f"a.{self._places[name]}" for name in key]
        for name, each in zip(rest, differs, strict=True):
            listed += [each, f"a.{self._places[name]}", f"b.{self._places[name]}"]
        order = ", ".join(f"a.{self._places[name]}" for name in key)
        query = f"select {', '.join(listed)} from {self._pairs(key)} where {' or '.join(differs)} order by {order}"
        rows = []
        for row in self._fetched(f"{query} limit {int(sample)}"):
            cells = [
                CellChange(name, told(row[at + 1]), told(row[at + 2]))
                for name, at in zip(rest, range(len(key), len(row), 3), strict=True)
                if row[at]
            ]
            rows.append(ChangedRow(dict(zip(key, map(told, row), strict=False)), cells))
        return rows

    def _same(self, key: Sequence[str], one: str, other: str) -> str:
        equal = {name: "is not distinct from" if name in self._nullable else "=" for name in key}
        return " and ".join(
            f"{one}.{self._places[name]} {sign} {other}.{self._places[name]}" for name, sign in equal.items()
        )

    def _rows(self, query: str) -> list[dict[str, Any]]:
        """Whole rows, by the names of their columns."""
        return [dict(zip(self.columns, map(told, row), strict=True)) for row in self._fetched(query)]

    def _first(self, query: str) -> list[Any] | None:
        return next(iter(self._fetched(query)), None)

    def _fetched(self, query: str) -> list[list[Any]]:
        """Rows of a query, by way of Arrow: DuckDB's own way needs a package more for instants with a time zone."""
        table = self._con.sql(query).to_arrow_table()
        return [list(row) for row in zip(*(column.to_pylist() for column in table.columns), strict=True)]

    def _one(self, query: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] = self._con.sql(query).fetchall()[0]
        return row


@contextmanager
def comparing(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that takes no more memory than `MEMORY`, and puts what does not fit below `folder` for the time being."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix="compare-") as spill, connection() as con:
        con.execute(f"set memory_limit = {literal(MEMORY)}")
        con.execute(f"set temp_directory = {literal(spill)}")
        yield con


def told(value: Any) -> Any:
    """A cell as JSON can say it.

    >>> told(float("nan")), told(1.5), told(b"\\x00")
    ('NaN', 1.5, '00')
    """
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Decimal) and value == value.to_integral_value() and value.as_tuple().exponent == 0:
        return int(value)  # whole numbers of two types were compared as wide ones
    return value.hex() if isinstance(value, bytes) else value


def _distinct(place: str) -> str:
    return f"a.{place} is distinct from b.{place}"


def _comparable(column: str, types: Sequence[pa.DataType]) -> str:
    """A column as an expression that is of one type on both sides."""
    if all(each.equals(types[0]) for each in types):
        return column
    if all(pt.is_integer(each) for each in types):
        return f"{column}::hugeint"
    if all(pt.is_integer(each) or pt.is_floating(each) or pt.is_decimal(each) for each in types):
        return f"{column}::double"
    return f"{column}::varchar"
