"""Checks as SQL: what a row must be looked at for, when it fails, and which numbers judge a whole column.

All of it speaks of the views that `Examination` makes: ``rows`` (NaN is null there already) and ``numbered`` (the same rows with
their numbers). A condition may be null, which is neither looked at nor failed, so three-valued logic needs no care anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from duckdb import SQLExpression

from everloop.data.tables.scanning import literal, quoted
from everloop.domain import checks as declared
from everloop.domain.checks import AnyCheck, Bound, names_in
from everloop.errors import InvalidInput

NUMBER = "row number in this scan"


class Flag(NamedTuple):
    """A check that sees one row at a time."""

    check: AnyCheck
    columns: tuple[str, ...]
    looked: str
    failed: str

    @property
    def of(self) -> str:
        """The aggregate that counts the rows looked at."""
        if self.looked == "true":
            return "count(*)"
        if self.columns and self.looked == f"{quoted(self.columns[0])} is not null":
            return f"count({quoted(self.columns[0])})"
        return f"count(*) filter ({self.looked})"

    @property
    def bad(self) -> str:
        """The aggregate that counts the rows that fail."""
        if self.columns and self.failed == f"{quoted(self.columns[0])} is null":
            return f"count(*) - count({quoted(self.columns[0])})"
        return f"count(*) filter ({self.failed})"

    def failing(self) -> str:
        """The query for the numbers of the rows that fail."""
        return f"select {quoted(NUMBER)} as n from numbered where {self.failed}"


class Copies(NamedTuple):
    """A check that no values come twice. `missing`: rows with a missing value fail, instead of not being looked at."""

    check: AnyCheck
    columns: tuple[str, ...]
    missing: bool
    earlier: bool

    @property
    def _whole(self) -> str:
        return " and ".join(f"{quoted(each)} is not null" for each in self.columns)

    @property
    def _listed(self) -> str:
        return ", ".join(map(quoted, self.columns))

    @property
    def _new(self) -> str:
        """The values together, null where one is missing or where they are there already."""
        there = f" and not coalesce({in_earlier(self.columns)}, false)" if self.earlier else ""
        return f"case when {self._whole}{there} then {together(self.columns)} end"

    @property
    def of(self) -> str:
        return "count(*)" if self.missing else f"count(*) filter ({self._whole})"

    @property
    def bad(self) -> str:
        if len(self.columns) == 1 and not self.earlier:
            return f"{self.of} - count(distinct {quoted(self.columns[0])})"
        return f"{self.of} - count(distinct {self._new})"

    def failing(self) -> str:
        """Only what comes twice is sorted, so that a large table with few copies needs little memory."""
        number, listed = quoted(NUMBER), self._listed
        twice = f"select {listed} from rows where {self._whole} group by all having count(*) > 1"
        later = f"row_number() over (partition by {listed} order by {number})"
        copies = f"select {number} as n, {later} as copy from numbered semi join ({twice}) using ({listed})"
        parts = [f"select n from ({copies}) where copy > 1"]
        if self.earlier:
            parts.append(
                f"select {number} as n from numbered where {self._whole} and {in_earlier(self.columns)}"
            )
        if self.missing:
            parts.append(f"select {number} as n from numbered where not ({self._whole})")
        return " union ".join(parts)


class Steps(NamedTuple):
    """A check of each value against the one before it. Rows are looked at in their order, missing values left out."""

    check: declared.Monotonic
    columns: tuple[str, ...]
    earlier: bool

    @property
    def _steps(self) -> str:
        column, number = quoted(self.check.column), quoted(NUMBER)
        by = ", ".join(map(quoted, self.check.by))
        listed = ", ".join(dict.fromkeys(map(quoted, self.columns)))
        source = f"select {number} as n, {listed} from numbered"
        if self.earlier:
            before = f"select row_number() over () - 1 - (select count(*) from earlier) as n, {listed} from earlier"
            source = f"{before} union all {source}"
        # Rows come in their order here, so without groups no sorting is needed and nothing is held in memory.
        over = f"partition by {by} order by n" if by else ("order by n" if self.earlier else "")
        return f"(select n, {column} as x, lag({column}) over ({over}) as before from ({source}) where {column} is not null)"

    @property
    def _wrong(self) -> str:
        sign = {(False, False): "<", (False, True): "<=", (True, False): ">", (True, True): ">="}
        return f"x {sign[self.check.decreasing, self.check.strictly]} before"

    def counting(self) -> str:
        """The query for the rows looked at, and how many of them fail."""
        return f"select count(*), count(*) filter ({self._wrong}) from {self._steps} where n >= 0"

    def failing(self) -> str:
        return f"select n from {self._steps} where n >= 0 and {self._wrong}"


class Number(NamedTuple):
    """A check of one number of the whole column: the aggregate, and the condition under which a value called so holds."""

    check: declared.Aggregate | declared.Freshness
    columns: tuple[str, ...]
    value: str
    holds: Callable[[str], str]


Rule = Flag | Copies | Steps | Number


class Compiler:
    """Makes SQL of declarations for one table. types: DuckDB's, by column. dataset: makes a view of another dataset and returns
    its name. earlier: there are rows already, in the view ``earlier``."""

    def __init__(self, types: Mapping[str, str], dataset: Callable[[str], str], *, earlier: bool) -> None:
        self._types = types
        self._dataset = dataset
        self._earlier = earlier

    def rule(self, check: AnyCheck, columns: tuple[str, ...]) -> Rule | None:
        """The check as SQL; None when it is made otherwise."""
        column = quoted(columns[0]) if columns else ""
        there = f"{column} is not null"
        match check:
            case declared.NotNull():
                return Flag(check, columns, "true", f"{column} is null")
            case declared.InRange():
                outside = self._outside(
                    column, check.low, check.high, check.exclusive, self._types[check.column]
                )
                return Flag(check, columns, there, outside)
            case declared.InSet():
                listed = ", ".join(literal(value) for value in check.values) or "null"
                among = f"{column} in ({listed})" if check.values else "false"
                return Flag(check, columns, there, f"{there} and {'' if check.forbidden else 'not '}{among}")
            case declared.Matches(dialect="re2"):
                return Flag(check, columns, there, _unlike(check, column))
            case declared.Length():
                text = f"length({column}::varchar)"
                ends = [f"{text} < {check.low}"] + (
                    [f"{text} > {check.high}"] if check.high is not None else []
                )
                return Flag(check, columns, there, " or ".join(ends))
            case declared.DateFormat():
                return Flag(check, columns, there, _unparsed(check, column))
            case declared.ForeignKey():
                return self._foreign(check, columns)
            case declared.Expression():
                SQLExpression(check.sql)  # raises for what is none, or one only within the parentheses below
                # On lines of its own, so that a comment at its end takes nothing else with it.
                return Flag(check, columns, f"(\n{check.sql}\n) is not null", f"not (\n{check.sql}\n)")
            case declared.Unique() | declared.Key():
                return Copies(check, columns, isinstance(check, declared.Key), self._earlier)
            case declared.Monotonic():
                return Steps(check, columns, self._earlier)
            case declared.Freshness():
                if "WITH TIME ZONE" not in self._types[check.column]:
                    raise InvalidInput(
                        f"'{check.column}' is {self._types[check.column]}, not an instant with a time zone"
                    )
                return Number(check, columns, f"epoch_us(max({column}))", lambda value: "true")
            case declared.Aggregate():
                value = _aggregate(check, column)
                kind = self._types[check.column] if check.measure in ("min", "max") else "double"
                limits = (check.low, check.high, check.exclusive, kind)
                return Number(check, columns, value, lambda value: f"not ({self._outside(value, *limits)})")
            case _:
                return None

    def _outside(self, value: str, low: Bound, high: Bound, exclusive: str, kind: str) -> str:
        """That a value lies beyond the limits; null where it is null."""
        signs = {"none": ("<", ">"), "low": ("<=", ">"), "high": ("<", ">="), "both": ("<=", ">=")}[exclusive]
        ends = [
            f"{value} {sign} {f'{literal(limit)}::{kind}' if isinstance(limit, str) else literal(limit)}"
            for sign, limit in zip(signs, (low, high), strict=True)
            if limit is not None
        ]
        return " or ".join(ends)

    def _foreign(self, check: declared.ForeignKey, columns: tuple[str, ...]) -> Flag:
        theirs = names_in(check.to)
        whole = " and ".join(f"{quoted(each)} is not null" for each in columns)
        filled = " and ".join(f"{quoted(each)} is not null" for each in theirs)
        known = f"select {together(theirs)} from {self._dataset(check.dataset)} where {filled}"
        return Flag(check, columns, whole, f"{whole} and {together(columns)} not in ({known})")


def together(columns: Sequence[str]) -> str:
    """Values of several columns as one. A tuple of one is written plainly: DuckDB tells it from its own row(x)."""
    listed = ", ".join(map(quoted, columns))
    return listed if len(columns) == 1 else f"row({listed})"


def in_earlier(columns: Sequence[str]) -> str:
    """That the values are among the rows that are there already."""
    filled = " and ".join(f"{quoted(each)} is not null" for each in columns)
    return f"{together(columns)} in (select {together(columns)} from earlier where {filled})"


def _unlike(check: declared.Matches, column: str) -> str:
    # An empty pattern begins every text; DuckDB takes "^(?:)" for an empty text.
    whole = f"^(?:{check.pattern})" if check.where == "start" and check.pattern else check.pattern
    function = "regexp_full_match" if check.where == "whole" else "regexp_matches"
    found = f"{function}({column}::varchar, {literal(whole)})"
    return found if check.forbidden else f"not {found}"


def _unparsed(check: declared.DateFormat, column: str) -> str:
    parsed = f"try_strptime({column}, {literal(check.format)})"
    if not check.strict:
        return f"{column} is not null and ({parsed} is null or {column} <> trim({column}))"
    return f"{column} is not null and strftime({parsed}, {literal(check.format)}) is distinct from {column}"


def _aggregate(check: declared.Aggregate, column: str) -> str:
    match check.measure:
        case "mean":
            return f"avg({column})"
        case "median":
            return f"quantile_cont({column}, 0.5)"
        case "stddev":
            return f"stddev_samp({column})"
        case "quantile":
            return f"quantile_cont({column}, {check.q!r})"
        case "distinct":
            return f"count(distinct {column})"
        case "distinct_share":
            return f"count(distinct {column}) / nullif(count({column}), 0)"
        case "null_share":
            return f"coalesce(1 - count({column}) / nullif(count(*), 0), 0)"
        case other:
            return f"{other}({column})"


def described(value: Any) -> Any:
    """A value that JSON can hold, as it is where that is possible."""
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else _told(value)


def _told(value: Any) -> Any:
    from datetime import datetime

    return value if isinstance(value, datetime) else str(value)
