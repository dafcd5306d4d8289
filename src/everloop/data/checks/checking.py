"""Checks of one table: one scan that counts everything, and scans of the few columns concerned where something failed.

Null and NaN are one thing here, missing: a view turns NaN into null before anything looks at it, so no check has to know.

What else reads the table: `monotonic` one column in its order, Python functions their columns in batches, `distribution` its
column and the reference's. A check whose column, reference or function is missing, or that fails while it runs, was not made: its
result has an error and has not passed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from everloop.data.checks import custom
from everloop.data.checks.cleaning import AGGREGATES, DISTINCTS, first_row, missing_is_null, only, settle
from everloop.data.checks.compiling import NUMBER, Compiler, Copies, Flag, Number, Rule, Steps, described
from everloop.data.differences.distributions import SIGNIFICANT, distance
from everloop.data.tables.column_types import is_of_type
from everloop.data.tables.native_parquet import confine
from everloop.data.tables.scanning import first_line, quoted
from everloop.domain import checks as declared
from everloop.domain.checks import AnyCheck, CheckReport, CheckResult, columns_of, enough, names_in, verdict
from everloop.domain.datasets import VersionRecord
from everloop.domain.times import from_micros, micros
from everloop.errors import EverloopError, InvalidDefinition

SAMPLE = 5

Fetch = Callable[[str], Any]
"""Given a reference to a dataset: something DuckDB can register."""
Previous = Callable[[], VersionRecord | None]
"""The version before the one that is checked, if there is one."""


class _Seen(NamedTuple):
    """What looking found. For rows: how many were looked at, how many fail, and the numbers of the first of these. For a check
    of the table: whether it holds, and what was seen."""

    of: int
    failed: int
    first: tuple[int, ...] = ()
    seen: tuple[dict[str, Any], ...] = ()
    note: str = ""


class Examination:
    """Checks of one table on one connection, which is used up by it: files and settings are out of its reach from then on.

    rows: what is checked; anything DuckDB can register. earlier: rows that are there already, which count for uniqueness, order
    and volume. fetch: how another dataset is read. now: what freshness is measured from. project: where functions are looked for.
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
        previous: Previous = lambda: None,
        project: Path = Path(),
    ) -> None:
        self._con = con
        self._now = now
        self._fetch = fetch
        self._previous = previous
        self._project = project
        self._checks = _told_apart(checks)
        settle(con)
        # A contract's SQL runs wherever somebody adds: it must not read that person's files.
        confine(con, (rows, earlier))
        self._types = missing_is_null(con, "rows", rows)
        found = (
            rows.schema if hasattr(rows, "schema") else con.sql("from rows limit 0").to_arrow_table().schema
        )
        self._arrow: dict[str, pa.DataType] = {field.name: field.type for field in found}
        con.execute(
            f"create temp view numbered as select row_number() over () - 1 as {quoted(NUMBER)}, * from rows"
        )
        self._earlier = earlier is not None
        if self._earlier:
            missing_is_null(con, "earlier", earlier)
        self._datasets: dict[str, tuple[str, dict[str, str]]] = {}
        self._errors: dict[str, str] = {}
        self._seen: dict[str, _Seen] = {}
        self._rows = 0
        compiler = Compiler(self._types, lambda name: self._dataset(name)[0], earlier=self._earlier)
        self._rules: dict[str, Rule] = {}
        for check in self._checks:
            self._compile(compiler, check)

    def results(self) -> tuple[int, list[CheckResult]]:
        """How many rows there are, and what each check found, in the order they were declared."""
        if not self._seen:
            self._examine()
        samples = self._samples()
        return self._rows, [self._result(check, samples) for check in self._checks]

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
        """Numbers of the rows that fail any of these checks, from 0 and in order, each with the names of those it fails."""
        wanted = [name for name in names if name not in self._errors]
        found: dict[int, list[str]] = {}
        for name in wanted:
            for number in self._failing(name):
                found.setdefault(number, []).append(name)
        return dict(sorted(found.items()))

    # Making ready

    def _dataset(self, reference: str) -> tuple[str, dict[str, str]]:
        """The view of another dataset, and its columns and types."""
        if reference not in self._datasets:
            name = f"dataset {len(self._datasets)}"
            self._datasets[reference] = quoted(name), missing_is_null(self._con, name, self._fetch(reference))
        return self._datasets[reference]

    def _compile(self, compiler: Compiler, check: AnyCheck) -> None:
        columns = columns_of(check)
        absent = next((column for column in columns if column not in self._types), None)
        if absent is not None:
            self._errors[check.name] = f"there is no column '{absent}'"
            return
        try:
            rule = compiler.rule(check, columns)
        except duckdb.Error as error:
            self._errors[check.name] = first_line(error)
        except EverloopError as error:
            self._errors[check.name] = error.message
        else:
            if rule is not None:
                self._rules[check.name] = rule

    # Looking

    def _examine(self) -> None:
        counted = [rule for rule in self._rules.values() if not isinstance(rule, Steps)]
        for chunk in _chunks(counted):
            self._rows = self._count_all(chunk)
        if not self._rows:
            self._try_out(rule for rule in counted if isinstance(rule, Flag))
        for check in self._checks:
            if check.name not in self._seen and check.name not in self._errors:
                try:
                    self._seen[check.name] = self._look(check)
                except duckdb.Error as error:
                    self._errors[check.name] = first_line(error)
                except EverloopError as error:
                    self._errors[check.name] = error.message

    def _try_out(self, rules: Iterable[Flag]) -> None:
        """Find the checks that no row could be held against, such as a set of texts for a column of numbers, where there are no
        rows: DuckDB casts when there is one, so one is made, of missing values."""
        one = "(select rows.* from (select 1) left join rows on true)"
        for rule in rules:
            try:
                self._con.sql(f"select {rule.bad} from (select * from {one})").fetchall()
            except duckdb.Error as error:
                self._errors[rule.check.name] = first_line(error)
                self._seen.pop(rule.check.name, None)

    def _count_all(self, rules: Sequence[Rule]) -> int:
        """Count for all rules in one scan. When that fails, one of them is at fault: it is found by halves."""
        try:
            return self._counted(rules)
        except duckdb.Error as error:
            if len(rules) == 1:
                self._errors[rules[0].check.name] = first_line(error)
                rules = ()
            if not rules:
                return self._counted(())
        half = len(rules) // 2
        self._count_all(rules[:half])
        return self._count_all(rules[half:])

    def _counted(self, rules: Sequence[Rule]) -> int:
        numbers: dict[str, str] = {"count(*)": "a0"}

        def alias(sql: str) -> str:
            return numbers.setdefault(sql, f"a{len(numbers)}")

        wanted = ["a0"]
        for rule in rules:
            if isinstance(rule, Flag | Copies):
                wanted += [alias(rule.of), alias(rule.bad)]
            elif isinstance(rule, Number):
                value = alias(rule.value)
                wanted += [value, rule.holds(value)]
        aggregates = ", ".join(f"{sql} as {name}" for sql, name in numbers.items())
        query = f"select {', '.join(wanted)} from (select {aggregates} from rows)"
        named = dict.fromkeys(column for rule in rules for column in rule.columns)
        if named and len(named) < len(self._types) and all(rule.columns for rule in rules):
            query = only("rows", self._types, named) + query
        row = first_row(self._con.sql(query))
        for rule, one, other in zip(rules, row[1::2], row[2::2], strict=True):
            if isinstance(rule, Number):
                self._seen[rule.check.name] = self._judged(rule, one, other)
            else:
                self._seen[rule.check.name] = _Seen(int(one), int(other))
        return int(row[0])

    def _judged(self, rule: Number, value: Any, holds: bool | None) -> _Seen:
        if isinstance(rule.check, declared.Freshness):
            oldest = micros(self._now) - rule.check.within // _MICROSECOND
            newest = None if value is None else from_micros(value).isoformat()
            return _of_table(value is not None and value >= oldest, {"newest": newest})
        return _of_table(bool(holds), {rule.check.measure: described(value)})

    def _look(self, check: AnyCheck) -> _Seen:
        """What a check finds that the one scan cannot tell."""
        rule = self._rules.get(check.name)
        if isinstance(rule, Steps):
            of, failed = self._con.sql(rule.counting()).fetchall()[0]
            return _Seen(of, failed)
        match check:
            case declared.Python(whole=True):
                judge = custom.judge_of(check, self._project)
                return _of_table(custom.judge_whole(judge, self._columns(check).to_arrow_table()), {})
            case declared.Python() | declared.Matches():
                return self._judged_in_batches(check)
            case declared.RowCount():
                return _of_table(_within(self._rows, check.low, check.high), {"rows": self._rows})
            case declared.ColumnCount():
                return _of_table(
                    _within(len(self._types), check.low, check.high), {"columns": len(self._types)}
                )
            case declared.HasType():
                kind = self._arrow[check.column]
                holds = any(is_of_type(kind, name) for name in names_in(check.type))
                return _of_table(holds, {"type": str(kind)})
            case declared.HasColumns():
                return self._compared_columns(check)
            case declared.RowChange():
                return self._compared_rows(check)
            case declared.Distribution():
                return self._compared_distribution(check)
            case declared.Query():
                return self._queried(check)
            case declared.Untranslated():
                raise EverloopError(f"it cannot be translated: {check.reason}")
        raise AssertionError(f"nothing makes {check.name}, a {type(check).__name__}")

    def _columns(self, check: declared.Python | declared.Matches) -> duckdb.DuckDBPyRelation:
        return self._con.sql(f"select {', '.join(map(quoted, columns_of(check)))} from rows")

    def _batches(self, check: declared.Python | declared.Matches) -> Iterable[custom.Judged]:
        if not columns_of(check):
            raise EverloopError("the function is given no column")
        judge = custom.judge_of(check, self._project)
        return custom.judged(self._columns(check).to_arrow_reader(custom.BATCH), judge)

    def _judged_in_batches(self, check: declared.Python | declared.Matches) -> _Seen:
        of = failed = 0
        first: list[int] = []
        for batch in self._batches(check):
            of += int(batch.looked.sum())
            failed += int(batch.failed.sum())
            if len(first) < SAMPLE and batch.failed.any():
                first += [batch.first + int(at) for at in batch.failed.nonzero()[0][: SAMPLE - len(first)]]
        return _Seen(of, failed, tuple(first))

    def _compared_columns(self, check: declared.HasColumns) -> _Seen:
        have = list(self._types)
        missing = [name for name in check.columns if name not in self._types]
        other = [name for name in have if name not in check.columns] if check.exact else []
        order = [name for name in have if name in check.columns]
        misplaced = check.ordered and not missing and order != list(dict.fromkeys(check.columns))
        seen: dict[str, Any] = {"missing": missing[:20], "not expected": other[:20]}
        if misplaced:
            seen["order"] = order[:20]
        return _of_table(
            not (missing or other or misplaced), {name: each for name, each in seen.items() if each}
        )

    def _compared_rows(self, check: declared.RowChange) -> _Seen:
        previous = self._previous()
        if previous is None:
            return _Seen(1, 0, note="the first version: there is none before it to compare with")
        if previous.rows is None:
            raise EverloopError(f"{previous.reference} is no table, so its rows cannot be compared")
        rows = self._rows
        if self._earlier:
            rows += int(self._con.sql("select count(*) from earlier").fetchall()[0][0])
        seen = {"rows": rows, "before": previous.rows, "reference": previous.reference}
        if not previous.rows:
            return _of_table(rows == 0 or check.high is None, seen)
        change = rows / previous.rows - 1
        return _of_table(_within(change, check.low, check.high), seen | {"change": round(change, 6)})

    def _compared_distribution(self, check: declared.Distribution) -> _Seen:
        reference = check.reference
        if reference == PREVIOUS:
            previous = self._previous()
            if previous is None:
                return _Seen(1, 0, note="the first version: there is none before it to compare with")
            reference = previous.reference
        view, kinds = self._dataset(reference)
        if check.column not in kinds:
            raise EverloopError(f"{reference} has no column '{check.column}'")
        both = (kinds[check.column], self._types[check.column])
        found = distance(self._con, check.column, both, view, "rows")
        seen = {
            "reference": reference,
            "distance": round(found.effect, 6),
            "measure": found.measure,
            "p": float(f"{found.p:.3g}"),
        }
        return _of_table(found.effect <= check.limit or found.p >= SIGNIFICANT, seen)

    def _queried(self, check: declared.Query) -> _Seen:
        for name, reference in check.datasets.items():
            view, _ = self._dataset(reference)
            self._con.execute(f"create or replace temp view {quoted(name)} as from {view}")
        statements = self._con.extract_statements(check.sql)
        if [each.type for each in statements] != [duckdb.StatementType.SELECT]:
            raise EverloopError("it is not one query: write a single select")
        found = self._con.sql(check.sql).limit(SAMPLE).to_arrow_table()
        shown = tuple({name: described(value) for name, value in row.items()} for row in found.to_pylist())
        return _Seen(1, 1 if shown else 0, seen=shown)

    # Showing

    def _failing(self, name: str) -> list[int]:
        """The numbers of all rows that fail a check, in order."""
        rule = self._rules.get(name)
        if isinstance(rule, Flag | Copies | Steps):
            return [int(row[0]) for row in self._con.sql(f"{rule.failing()} order by n").fetchall()]
        check = next((each for each in self._checks if each.name == name), None)
        if isinstance(check, declared.Python | declared.Matches) and not getattr(check, "whole", False):
            return [
                batch.first + int(at) for batch in self._batches(check) for at in batch.failed.nonzero()[0]
            ]
        return []

    def _samples(self) -> dict[str, list[dict[str, Any]]]:
        """The first failing rows of each check that has any: their numbers in one scan for all conditions on single rows, and
        then their values in another."""
        failing = [name for name, seen in self._seen.items() if seen.failed and name not in self._errors]
        flags = [rule for name in failing if isinstance(rule := self._rules.get(name), Flag)]
        numbers = {name: self._seen[name].first for name in failing if self._seen[name].first}
        numbers |= self._first_flagged(flags)
        for name in failing:
            rule = self._rules.get(name)
            if isinstance(rule, Copies | Steps):
                rows = self._con.sql(f"select n from ({rule.failing()}) order by n limit {SAMPLE}").fetchall()
                numbers[name] = tuple(int(row[0]) for row in rows)
        shown = {name: self._shown(name) for name in numbers}
        values = self._values({n for each in numbers.values() for n in each}, shown.values())
        return {
            name: [{"row": n} | {column: values[n][column] for column in shown[name]} for n in numbers[name]]
            for name in numbers
        }

    def _first_flagged(self, flags: Sequence[Flag]) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for at in range(0, len(flags), AGGREGATES):
            some = flags[at : at + AGGREGATES]
            firsts = ", ".join(f"min({quoted(NUMBER)}, {SAMPLE}) filter ({rule.failed})" for rule in some)
            row = first_row(self._con.sql(f"select {firsts} from numbered"))
            found |= {rule.check.name: tuple(each or ()) for rule, each in zip(some, row, strict=True)}
        return found

    def _values(self, numbers: set[int], shown: Iterable[Sequence[str]]) -> dict[int, dict[str, Any]]:
        if not numbers:
            return {}
        columns = dict.fromkeys(column for each in shown for column in each)
        wanted = ", ".join(map(quoted, (NUMBER, *columns)))
        listed = ", ".join(map(str, sorted(numbers)))
        table = self._con.sql(f"select {wanted} from numbered where {quoted(NUMBER)} in ({listed})")
        return {
            row[NUMBER]: {column: described(row[column]) for column in columns}
            for row in table.to_arrow_table().to_pylist()
        }

    def _shown(self, name: str) -> tuple[str, ...]:
        check = next(each for each in self._checks if each.name == name)
        columns = columns_of(check)
        if columns:
            return columns
        text = getattr(check, "sql", "").lower()
        return tuple(column for column in self._types if column.lower() in text)[:12]

    def _result(self, check: AnyCheck, samples: dict[str, list[dict[str, Any]]]) -> CheckResult:
        error = self._errors.get(check.name, "")
        seen = _Seen(0, 0) if error else self._seen[check.name]
        return CheckResult(
            name=check.name,
            column=", ".join(columns_of(check)),
            severity=check.severity,
            passed=not error and enough(seen.failed, seen.of, check.mostly),
            failed_rows=seen.failed,
            of=seen.of,
            sample=samples.get(check.name, list(seen.seen) if seen.failed else []),
            error=error,
            note=seen.note,
        )


PREVIOUS = "previous"
_MICROSECOND = timedelta(microseconds=1)


def _told_apart(checks: Iterable[AnyCheck]) -> list[AnyCheck]:
    """Checks as a list. Raises InvalidDefinition for two of one name: what is found is kept by name, so that one of them would
    have the other's verdict."""
    by_name: dict[str, AnyCheck] = {}
    listed = list(checks)
    for check in listed:
        if by_name.setdefault(check.name, check) != check:
            raise InvalidDefinition(
                f"two different checks are called '{check.name}'", hint="give one of them name=…"
            )
    return listed


def _chunks(rules: Iterable[Rule]) -> Iterator[list[Rule]]:
    """Rules to be counted in one scan: all of them, unless there are very many."""
    chunk: list[Rule] = []
    hungry = 0
    for rule in rules:
        hungry += isinstance(rule, Copies) or (isinstance(rule, Number) and "distinct" in rule.value)
        if 2 * len(chunk) >= AGGREGATES or hungry > DISTINCTS:
            yield chunk
            chunk, hungry = [], 0
        chunk.append(rule)
    yield chunk


def _of_table(holds: bool, seen: dict[str, Any]) -> _Seen:
    return _Seen(1, 0 if holds else 1, seen=(seen,) if seen else ())


def _within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)
