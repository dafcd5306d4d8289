"""Checks compiled to DuckDB: one scan that counts, and scans of the few columns concerned where something failed.

Null and NaN are one thing here, missing: the scan turns NaN into null before anything looks at it, so no check has to know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import duckdb

from everloop.data.scanning import first_line, literal, quoted
from everloop.domain import checks as declared
from everloop.domain.checks import AnyCheck, Bound, CheckReport, CheckResult, enough, verdict
from everloop.domain.times import from_micros, micros
from everloop.errors import EverloopError

SAMPLE = 5
NUMBER = "row number in this scan"

Fetch = Callable[[str], Any]
"""Given a reference to a dataset: something DuckDB can register."""


class _Compiled(NamedTuple):
    """A check of rows as SQL over the cleaned table. `looked` and `failed` are conditions that are never null.

    key: for uniqueness the tuple that must not repeat, and `failed` then speaks of a window over numbered rows.
    """

    check: AnyCheck
    columns: tuple[str, ...]
    looked: str
    failed: str
    key: str = ""


class Examination:
    """Checks of one table on one connection.

    rows: what is checked; anything DuckDB can register. earlier: rows that are there already, which count for uniqueness.
    fetch: how a foreign key's dataset is read. now: what freshness is measured from.
    """

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        rows: Any,
        checks: Iterable[AnyCheck],
        *,
        fetch: Fetch,
        now: datetime,
        earlier: Any = None,
    ) -> None:
        self._con = con
        self._now = now
        self._fetch = fetch
        self._checks = list(checks)
        con.register("incoming", rows)
        described = con.sql("describe incoming").fetchall()
        self._types: dict[str, str] = {str(row[0]): str(row[1]) for row in described}
        self._arrow_types = {
            field.name: str(field.type) for field in con.sql("from incoming limit 0").to_arrow_table().schema
        }
        if hasattr(rows, "schema"):
            self._arrow_types |= {field.name: str(field.type) for field in rows.schema}
        con.execute(f"create temp view cleaned as select * {self._cleaning()} from incoming")
        con.execute(
            f"create temp view numbered as select row_number() over () - 1 as {quoted(NUMBER)}, * from cleaned"
        )
        self._earlier = earlier is not None
        if self._earlier:
            con.register("earlier", earlier)
        self._datasets: dict[str, str] = {}
        self._errors: dict[str, str] = {}
        self._compiled: dict[str, _Compiled] = {}
        for check in self._checks:
            self._compile(check)

    def results(self) -> tuple[int, list[CheckResult]]:
        """How many rows there are, and what each check found, in the order they were declared."""
        counted = self._count()
        failing = [
            each
            for name, each in self._compiled.items()
            if name not in self._errors and counted.failed.get(name, 0)
        ]
        samples = self._samples(failing)
        return counted.rows, [self._result(check, counted, samples) for check in self._checks]

    def report(self, reference: str, suite: str) -> CheckReport:
        """The verdict on the table."""
        rows, results = self.results()
        return CheckReport(
            reference=reference,
            suite=suite,
            passed=verdict(results),
            rows=rows,
            checks=results,
            time=self._now,
        )

    def failing_rows(self, names: Iterable[str]) -> dict[int, list[str]]:
        """Numbers of the rows that fail any of these checks, from 0, each with the names of those it fails."""
        wanted = [
            self._compiled[name] for name in names if name in self._compiled and name not in self._errors
        ]
        if not wanted:
            return {}
        flags = ", ".join(f"({each.failed}) as f{number}" for number, each in enumerate(wanted))
        either = " or ".join(f"f{number}" for number in range(len(wanted)))
        query = (
            f"select * from (select {quoted(NUMBER)} as n, {flags} from numbered) where {either} order by n"
        )
        found = self._con.sql(query).fetchall()
        return {
            int(row[0]): [each.check.name for each, failed in zip(wanted, row[1:], strict=True) if failed]
            for row in found
        }

    # Compiling

    def _cleaning(self) -> str:
        floats = [name for name, kind in self._types.items() if kind in ("FLOAT", "DOUBLE")]
        if not floats:
            return ""
        return (
            "replace ("
            + ", ".join(f"case when not isnan({c}) then {c} end as {c}" for c in map(quoted, floats))
            + ")"
        )

    def _compile(self, check: AnyCheck) -> None:
        columns = columns_of(check)
        absent = [column for column in columns if column not in self._types]
        if absent:
            self._errors[check.name] = f"there is no column '{absent[0]}'"
            return
        try:
            compiled = self._row_check(check, columns)
            if compiled is not None:
                self._con.sql(
                    f"select ({compiled.looked}), ({compiled.failed}) from numbered limit 0"
                ).fetchall()
                self._compiled[check.name] = compiled
            elif isinstance(check, declared.Freshness) and "WITH TIME ZONE" not in self._types[check.column]:
                self._errors[check.name] = (
                    f"'{check.column}' is {self._types[check.column]}, not an instant with a time zone"
                )
        except duckdb.Error as error:
            self._errors[check.name] = first_line(error)
        except EverloopError as error:
            self._errors[check.name] = error.message

    def _row_check(self, check: AnyCheck, columns: tuple[str, ...]) -> _Compiled | None:
        column = quoted(columns[0]) if columns else ""
        there = f"{column} is not null"
        match check:
            case declared.NotNull():
                return _Compiled(check, columns, "true", f"{column} is null")
            case declared.InRange():
                kind = self._types[check.column]
                ends = [
                    f"{column} {sign} {self._end(limit, kind)}"
                    for sign, limit in (("<", check.low), (">", check.high))
                    if limit is not None
                ]
                return _Compiled(check, columns, there, f"coalesce({' or '.join(ends)}, false)")
            case declared.InSet():
                listed = ", ".join(literal(value) for value in check.values) or "null"
                return _Compiled(
                    check, columns, there, f"{there} and coalesce({column} not in ({listed}), true)"
                )
            case declared.Matches():
                pattern = literal(check.pattern)
                return _Compiled(
                    check,
                    columns,
                    there,
                    f"coalesce(not regexp_full_match({column}::varchar, {pattern}), false)",
                )
            case declared.ForeignKey():
                known = f"select {quoted(check.to)} from {self._dataset(check.dataset)} where {quoted(check.to)} is not null"
                return _Compiled(check, columns, there, f"{there} and {column} not in ({known})")
            case declared.Expression():
                return _Compiled(
                    check, columns, f"({check.sql}) is not null", f"coalesce(not ({check.sql}), false)"
                )
            case declared.Unique():
                listed = ", ".join(map(quoted, columns))
                whole = " and ".join(f"{each} is not null" for each in map(quoted, columns))
                key = f"case when {whole} then {_tuple(columns)} end"
                copies = f"row_number() over (partition by {listed} order by {quoted(NUMBER)}) > 1"
                known = f" or {_in_earlier(columns)}" if self._earlier else ""
                return _Compiled(check, columns, whole, f"{whole} and ({copies}{known})", key)
            case _:
                return None

    def _end(self, limit: Bound, kind: str) -> str:
        return f"{literal(limit)}::{kind}" if isinstance(limit, str) else literal(limit)

    def _dataset(self, reference: str) -> str:
        if reference not in self._datasets:
            name = f"dataset_{len(self._datasets)}"
            self._con.register(name, self._fetch(reference))
            self._datasets[reference] = name
        return self._datasets[reference]

    # Counting

    def _count(self) -> _Counted:
        compiled = [each for name, each in self._compiled.items() if name not in self._errors]
        fresh = [
            check
            for check in self._checks
            if isinstance(check, declared.Freshness) and check.name not in self._errors
        ]
        try:
            return self._counted(compiled, fresh)
        except duckdb.Error:
            # Something fails while running, such as a cast of one value: find which check it is, the slow way.
            for each in compiled:
                try:
                    self._counted([each], [])
                except duckdb.Error as error:
                    self._errors[each.check.name] = first_line(error)
            return self._counted([each for each in compiled if each.check.name not in self._errors], fresh)

    def _counted(self, compiled: Sequence[_Compiled], fresh: Sequence[declared.Freshness]) -> _Counted:
        inner, outer = ["true as one"], ["count(*)"]
        for number, each in enumerate(compiled):
            if each.key:
                inner.append(f"{each.key} as k{number}")
                outer.append(f"count(k{number})")
                new = f"k{number}"
                if self._earlier:
                    inner.append(f"{_in_earlier(each.columns)} as e{number}")
                    new = f"case when not coalesce(e{number}, false) then k{number} end"
                outer.append(f"count(k{number}) - count(distinct {new})")
            else:
                inner += [f"({each.looked}) as l{number}", f"({each.failed}) as f{number}"]
                outer += [f"count(*) filter (l{number})", f"count(*) filter (f{number})"]
        for number, check in enumerate(fresh):
            inner.append(f"{quoted(check.column)} as t{number}")
            outer.append(f"epoch_us(max(t{number}))")
        row = self._con.sql(
            f"select {', '.join(outer)} from (select {', '.join(inner)} from cleaned)"
        ).fetchall()[0]
        names = [each.check.name for each in compiled]
        pairs = row[1 : 1 + 2 * len(names)]
        newest = dict(zip([check.name for check in fresh], row[1 + 2 * len(names) :], strict=True))
        return _Counted(
            int(row[0]),
            dict(zip(names, map(int, pairs[::2]), strict=True)),
            dict(zip(names, map(int, pairs[1::2]), strict=True)),
            newest,
        )

    def _samples(self, failing: Sequence[_Compiled]) -> dict[str, list[dict[str, Any]]]:
        if not failing:
            return {}
        flags = ", ".join(f"({each.failed}) as f{number}" for number, each in enumerate(failing))
        firsts = ", ".join(f"min(n, {SAMPLE}) filter (f{number})" for number in range(len(failing)))
        picked = self._con.sql(
            f"select {firsts} from (select {quoted(NUMBER)} as n, {flags} from numbered)"
        ).fetchall()[0]
        shown = dict.fromkeys(column for each in failing for column in self._shown(each))
        numbers = sorted({number for numbers in picked for number in numbers or ()})
        wanted = ", ".join(quoted(column) for column in (NUMBER, *shown))
        rows = self._con.sql(
            f"select {wanted} from numbered where {quoted(NUMBER)} in ({', '.join(map(str, numbers)) or 'null'})"
        ).to_arrow_table()
        by_number = {row[NUMBER]: row for row in rows.to_pylist()}
        return {
            each.check.name: [
                {"row": number} | {column: _plain(by_number[number][column]) for column in self._shown(each)}
                for number in sorted(numbers or ())
            ]
            for each, numbers in zip(failing, picked, strict=True)
        }

    def _shown(self, compiled: _Compiled) -> tuple[str, ...]:
        if compiled.columns:
            return compiled.columns
        mentioned = tuple(
            name for name in self._types if name.lower() in getattr(compiled.check, "sql", "").lower()
        )
        return mentioned[:12]

    def _result(
        self, check: AnyCheck, counted: _Counted, samples: dict[str, list[dict[str, Any]]]
    ) -> CheckResult:
        column = ", ".join(columns_of(check))
        error = self._errors.get(check.name, "")
        if error:
            return CheckResult(
                name=check.name,
                column=column,
                severity=check.severity,
                passed=False,
                failed_rows=0,
                of=0,
                error=error,
            )
        if check.name in self._compiled:
            failed, of = counted.failed[check.name], counted.looked[check.name]
            return CheckResult(
                name=check.name,
                column=column,
                severity=check.severity,
                passed=enough(failed, of, check.mostly),
                failed_rows=failed,
                of=of,
                sample=samples.get(check.name, []),
            )
        passed, seen = self._table_check(check, counted)
        return CheckResult(
            name=check.name,
            column=column,
            severity=check.severity,
            passed=passed,
            failed_rows=0 if passed else 1,
            of=1,
            sample=[] if passed else [seen],
        )

    def _table_check(self, check: AnyCheck, counted: _Counted) -> tuple[bool, dict[str, Any]]:
        match check:
            case declared.RowCount():
                enough_rows = check.low <= counted.rows and (check.high is None or counted.rows <= check.high)
                return enough_rows, {"rows": counted.rows}
            case declared.HasType():
                return self._arrow_types[check.column] == check.type, {
                    "type": self._arrow_types[check.column]
                }
            case declared.Freshness():
                newest = counted.newest[check.name]
                oldest = micros(self._now) - check.within // _MICROSECOND
                return newest is not None and newest >= oldest, {"newest": _instant(newest)}
        raise AssertionError(f"{check.name} is neither a check of rows nor of the table")


class _Counted(NamedTuple):
    rows: int
    looked: dict[str, int]
    failed: dict[str, int]
    newest: dict[str, int | None]


def columns_of(check: AnyCheck) -> tuple[str, ...]:
    """The columns a check names; none for one of whole rows or of the table."""
    match check:
        case declared.Unique():
            return check.columns
        case declared.Expression() | declared.RowCount():
            return ()
        case _:
            return (check.column,)


_MICROSECOND = timedelta(microseconds=1)


def _instant(moment: int | None) -> str | None:
    return None if moment is None else from_micros(moment).isoformat()


def _plain(value: Any) -> Any:
    """A value that JSON can hold, as it is where that is possible."""
    return value if value is None or isinstance(value, bool | int | float | str | datetime) else str(value)


def _tuple(columns: Sequence[str]) -> str:
    """The values that must be unique as one value. A tuple of one is written plainly: DuckDB tells it from its own row(x)."""
    listed = ", ".join(map(quoted, columns))
    return listed if len(columns) == 1 else f"row({listed})"


def _in_earlier(columns: Sequence[str]) -> str:
    return f"{_tuple(columns)} in (select {_tuple(columns)} from earlier)"
