"""Checks proposed from a table: what is true of it now, with a margin where the next version may well differ.

All proposals pass on the table they came from. They are a beginning that people correct, so little is proposed from few rows: a
column is no key because ten values happen to differ.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from everloop.data.checks.cleaning import AGGREGATES, DISTINCTS, first_row, missing_is_null, only, settle
from everloop.data.tables.scanning import literal, quoted
from everloop.domain.checks import AnyCheck, Suite
from everloop.domain.checks import declaring as check

FEWEST_ROWS = 10
"""With fewer, nothing is said of keys, order, sets or the form of texts."""
LARGEST_SET = 30
ROWS_A_VALUE = 4
"""A set is proposed where its values come so often on average."""
MARGIN = 0.1
"""How far a range reaches beyond the values, as a share of their spread."""
PAIRS = 30
"""Pairs of columns that are tried for a key, those with the most values first."""
SHAPES = 3

_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}
_FLOATS = {"FLOAT", "DOUBLE"}

FORMATS = (
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y/%m/%d",
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%Y%m%d",
    "%H:%M:%S",
    "%H:%M",
)
PATTERNS = {
    "email": r"[^@\s]+@[^@\s]+\.[^@\s]+",
    "uuid": r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
    "web address": r"https?://\S+",
}


_Asked = tuple[str, Sequence[str]]
"""An aggregate, and the columns it needs."""


class _Column(NamedTuple):
    """What one scan tells of a column. distinct: about how many values; exact where it decides."""

    name: str
    kind: str
    there: int
    low: Any
    high: Any
    distinct: int
    shortest: int
    longest: int


def infer(
    con: duckdb.DuckDBPyConnection, rows: pa.dataset.Dataset | pa.Table, name: str, dataset: str
) -> Suite:
    """The checks that describe a table, anything DuckDB can register that has a schema."""
    settle(con)
    kinds = missing_is_null(con, "rows", rows)
    types = {field.name: str(field.type) for field in rows.schema}
    return check.checks(name, dataset=dataset, checks=_Proposals(con, kinds, types).listed())


class _Proposals:
    def __init__(
        self, con: duckdb.DuckDBPyConnection, kinds: Mapping[str, str], types: Mapping[str, str]
    ) -> None:
        self._con = con
        self._types = types
        self._kinds = kinds
        self._rows, self._columns = self._look(kinds)
        self._enough = self._rows >= FEWEST_ROWS

    def listed(self) -> list[AnyCheck]:
        found: list[AnyCheck] = [check.has_columns(*self._types)]
        if self._rows:
            found.append(check.row_count(1))
        keys = self._keys() if self._enough else []
        order = self._order() if self._enough else {}
        for column in self._columns:
            found.append(check.has_type(column.name, self._types[column.name]))
            found += self._missing(column)
            if column.there:
                found += self._values(column, is_key=[column.name] in keys)
            if column.name in order:
                found.append(check.monotonic(column.name, strictly=order[column.name]))
        return [*found, *(check.key(*names) for names in keys)]

    def _look(self, kinds: Mapping[str, str]) -> tuple[int, list[_Column]]:
        """A scan for all columns, and one for the exact number of values of those where that decides something."""
        wanted: list[_Asked] = []
        for name, kind in kinds.items():
            here = quoted(name)
            ordered, text = _is_ordered(kind), kind == "VARCHAR"
            asked = [
                f"count({here})",
                f"min({here})" if ordered else "null",
                f"max({here})" if ordered else "null",
                f"approx_count_distinct({here})" if _may_be_key(kind) else "0",
                f"min(length({here}))" if text else "0",
                f"max(length({here}))" if text else "0",
            ]
            wanted += [(sql, (name,)) for sql in asked]
        [total] = self._answers([("count(*)", tuple(kinds)[:1])], 1)
        columns = [
            _Column(name, kind, there, low, high, distinct, shortest or 0, longest or 0)
            for (name, kind), (there, low, high, distinct, shortest, longest) in zip(
                kinds.items(), _sixes(self._answers(wanted, AGGREGATES)), strict=True
            )
        ]
        if total < FEWEST_ROWS:
            return total, columns
        # The estimate is off by a few in a hundred.
        close = [
            column
            for column in columns
            if (column.distinct and column.distinct >= 0.8 * column.there)
            or (column.kind == "VARCHAR" and 0 < column.distinct <= 2 * LARGEST_SET)
        ]
        counted = self._answers(
            [(f"count(distinct {quoted(column.name)})", (column.name,)) for column in close], DISTINCTS
        )
        exact = {column.name: number for column, number in zip(close, counted, strict=True)}
        return total, [
            column._replace(distinct=exact.get(column.name, column.distinct)) for column in columns
        ]

    def _answers(self, wanted: Sequence[_Asked], at_once: int) -> list[Any]:
        """The values of aggregates over all rows, so many in one scan."""
        found: list[Any] = []
        for first in range(0, len(wanted), at_once):
            some = wanted[first : first + at_once]
            named = dict.fromkeys(column for _, columns in some for column in columns)
            listed = ", ".join(sql for sql, _ in some)
            found += first_row(self._con.sql(f"{only('rows', self._kinds, named)} select {listed} from rows"))
        return found

    def _missing(self, column: _Column) -> Iterator[AnyCheck]:
        if not self._rows:
            return
        share = 1 - column.there / self._rows
        if column.there == self._rows:
            yield check.not_null(column.name)
        elif (limit := math.ceil((share * 1.25 + 0.01) * 100) / 100) < 1:
            yield check.null_share(column.name, limit)

    def _values(self, column: _Column, *, is_key: bool) -> Iterator[AnyCheck]:
        if column.kind in _INTEGERS | _FLOATS:
            yield from _range(column, open_ended=is_key)
        elif column.kind == "VARCHAR":
            if self._is_set(column):
                yield check.in_set(column.name, self._distinct_values(column))
            elif self._enough and (form := self._form(column)) is not None:
                yield form
            else:
                low = min(1, column.shortest)
                yield check.length(column.name, low, max(1, 2 * column.longest))

    def _is_set(self, column: _Column) -> bool:
        few = 0 < column.distinct <= LARGEST_SET and column.there >= ROWS_A_VALUE * column.distinct
        return self._enough and few and column.longest <= 100

    def _distinct_values(self, column: _Column) -> list[str]:
        here = quoted(column.name)
        found = self._con.sql(
            f"select distinct {here} from rows where {here} is not null order by all"
        ).fetchall()
        return [row[0] for row in found]

    def _form(self, column: _Column) -> AnyCheck | None:
        """A format of dates, a known pattern, or the shape that all texts share."""
        here = quoted(column.name)
        tests = [
            f"strftime(try_strptime({here}, {literal(each)}), {literal(each)}) = {here}" for each in FORMATS
        ]
        tests += [f"regexp_full_match({here}, {literal(each)})" for each in PATTERNS.values()]
        flags = ", ".join(f"coalesce(bool_and(coalesce({test}, false)), false)" for test in tests)
        holds = self._con.sql(f"select {flags} from rows where {here} is not null").fetchall()[0]
        for each, yes in zip(FORMATS, holds, strict=False):
            if yes:
                return check.date_format(column.name, each)
        for (name, each), yes in zip(PATTERNS.items(), holds[len(FORMATS) :], strict=True):
            if yes:
                return check.matches(column.name, each, name=f"{column.name} is {_article(name)}")
        return self._shape(column)

    def _shape(self, column: _Column) -> AnyCheck | None:
        """Codes such as ``AB-1234``: digits, capitals and small letters where they stand in all texts."""
        if column.longest > 40:
            return None
        here = quoted(column.name)
        shape = here
        for letters, stands_for in (("[0-9]", "0"), ("[A-Z]", "A"), ("[a-z]", "a")):
            shape = f"regexp_replace({shape}, '{letters}', '{stands_for}', 'g')"
        found = self._con.sql(
            f"select distinct {shape} as shape from rows where {here} is not null order by all limit {SHAPES + 20}"
        ).fetchall()
        shapes = [str(row[0]) for row in found]
        if len(shapes) > SHAPES:
            alike = {_pattern(each, exact=False) for each in shapes}
            if len(found) == SHAPES + 20 or len(alike) > 1:
                return None
        if not any(each in shape for each in "0Aa" for shape in shapes):
            return None
        patterns = sorted({_pattern(each, exact=len(shapes) <= SHAPES) for each in shapes})
        joined = patterns[0] if len(patterns) == 1 else "|".join(f"(?:{each})" for each in patterns)
        return check.matches(column.name, joined)

    def _keys(self) -> list[list[str]]:
        """Columns that tell every row; else the first pair that does."""
        may = [column for column in self._columns if _may_be_key(column.kind) and column.there == self._rows]
        alone = [[column.name] for column in may if column.distinct == self._rows]
        if alone:
            return alone
        ranked = sorted(may, key=lambda column: -column.distinct)
        pairs = [
            (one, other)
            for one, other in combinations(ranked, 2)
            if one.distinct * other.distinct >= self._rows
        ][:PAIRS]
        counted = [
            (f"count(distinct row({quoted(one.name)}, {quoted(other.name)}))", (one.name, other.name))
            for one, other in pairs
        ]
        numbers = self._answers(counted, DISTINCTS)
        order = list(self._types)
        for (one, other), number in zip(pairs, numbers, strict=True):
            if number == self._rows:
                return [sorted((one.name, other.name), key=order.index)]
        return []

    def _order(self) -> dict[str, bool]:
        """Columns without a step down, and whether they have no equal steps either."""
        may = [
            column
            for column in self._columns
            if _is_ordered(column.kind)
            and column.there == self._rows
            and column.low != column.high
            and column.kind != "BOOLEAN"
        ]
        found: dict[str, bool] = {}
        for first in range(0, len(may), AGGREGATES // 2):
            found |= self._steps(may[first : first + AGGREGATES // 2])
        return found

    def _steps(self, may: Sequence[_Column]) -> dict[str, bool]:
        before = ", ".join(
            f"{quoted(column.name)} as v{at}, lag({quoted(column.name)}) over () as b{at}"
            for at, column in enumerate(may)
        )
        steps = ", ".join(
            f"count(*) filter (v{at} < b{at}), count(*) filter (v{at} = b{at})" for at in range(len(may))
        )
        narrow = only("rows", self._kinds, [column.name for column in may])
        row = first_row(self._con.sql(f"{narrow} select {steps} from (select {before} from rows)"))
        return {
            column.name: not equal
            for column, down, equal in zip(may, row[::2], row[1::2], strict=True)
            if not down
        }


def _range(column: _Column, *, open_ended: bool) -> Iterator[AnyCheck]:
    """A range beyond the values on both sides, but not beyond zero: what never was negative should not be. The next keys are
    higher, so a key's range is open."""
    low, high = column.low, column.high
    if not (math.isfinite(low) and math.isfinite(high)):
        return
    if column.kind in _INTEGERS:
        margin: float = math.ceil((high - low) * MARGIN)
        ends: tuple[float, float] = (low - margin, high + margin)
    else:
        margin = (high - low) * MARGIN or abs(high) * MARGIN
        if not math.isfinite(margin):
            return
        ends = (_outward(low - margin, margin, math.floor), _outward(high + margin, margin, math.ceil))
    if low >= 0 > ends[0]:
        ends = (type(ends[0])(0), ends[1])
    if high <= 0 < ends[1]:
        ends = (ends[0], type(ends[1])(0))
    yield check.in_range(column.name, ends[0], None if open_ended else ends[1])


def _outward(end: float, margin: float, rounded: Any) -> float:
    """A limit with no more digits than its margin gives it."""
    if not margin:
        return end
    digits = -math.floor(math.log10(margin))
    if not -300 < digits < 300:
        return end
    unit = 10.0**digits
    found = rounded(end * unit) / unit if math.isfinite(end * unit) else end
    return float(found)


def _pattern(shape: str, *, exact: bool) -> str:
    """A shape as a regular expression: ``AA-000`` as ``[A-Z]{2}-[0-9]{3}``, or with runs of any length.

    >>> _pattern("AA-000", exact=True), _pattern("AA-000", exact=False)
    ('[A-Z]{2}\\\\-[0-9]{3}', '[A-Z]+\\\\-[0-9]+')
    """
    classes = {"0": "[0-9]", "A": "[A-Z]", "a": "[a-z]"}
    parts = []
    for run in re.finditer(r"(.)\1*", shape, re.DOTALL):
        one, times = run[1], len(run[0])
        what = classes.get(one, re.escape(one))
        often = "" if times == 1 and (exact or one not in classes) else f"{{{times}}}" if exact else "+"
        parts.append(what + often)
    return "".join(parts)


def _is_ordered(kind: str) -> bool:
    return kind in _INTEGERS | _FLOATS | {"DATE"} or kind.startswith(("TIMESTAMP", "DECIMAL"))


def _may_be_key(kind: str) -> bool:
    return kind in _INTEGERS | {"VARCHAR", "DATE", "UUID"} or kind.startswith("TIMESTAMP")


def _article(name: str) -> str:
    return f"an {name}" if name[0] in "ei" else f"a {name}"


def _sixes(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (values[at : at + 6] for at in range(0, len(values), 6))
