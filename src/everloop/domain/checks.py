"""Checks of tables as declarations: frozen, storable as JSON, compiled to SQL elsewhere.

What is missing is decided once: null and NaN both mean missing. `not_null` is the check that finds them; every other check
looks only at values that are there, and says how many it looked at (`of`).

A severity says what failing means: ``warn`` is written down, ``fail`` fails the whole and stops `data add`, ``quarantine``
fails the whole in `data check` but lets `data add` put the bad rows aside and the good ones in. `mostly` is the share of the
values looked at that must pass, 1.0 unless said otherwise.

>>> suite = checks("flights", dataset="flights", checks=[not_null("origin"), in_range("distance", 1, 5000)])
>>> [each.name for each in suite.checks]
['origin.not_null', 'distance.in_range']
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from everloop.domain.durations import Duration, duration
from everloop.domain.names import checked_name
from everloop.domain.times import require_zone
from everloop.errors import InvalidDefinition

Severity = Literal["fail", "warn", "quarantine"]
Limit = int | float | str | None
"""The end of a range; an instant is written in ISO 8601 with its zone. None: no limit on this side."""
Value = bool | int | float | str


class Check(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What all checks have. `name` is how reports and quarantine call it, unique in a suite."""

    name: str
    severity: Severity = "fail"
    mostly: float = 1.0


class NotNull(Check, frozen=True, kw_only=True, tag="not_null"):
    column: str


class InRange(Check, frozen=True, kw_only=True, tag="in_range"):
    column: str
    low: Limit = None
    high: Limit = None


class InSet(Check, frozen=True, kw_only=True, tag="in_set"):
    column: str
    values: tuple[Value, ...]


class Matches(Check, frozen=True, kw_only=True, tag="matches"):
    column: str
    pattern: str


class Unique(Check, frozen=True, kw_only=True, tag="unique"):
    columns: tuple[str, ...]


class ForeignKey(Check, frozen=True, kw_only=True, tag="foreign_key"):
    column: str
    dataset: str
    to: str


class Expression(Check, frozen=True, kw_only=True, tag="expression"):
    sql: str


class HasType(Check, frozen=True, kw_only=True, tag="has_type"):
    column: str
    type: str


class RowCount(Check, frozen=True, kw_only=True, tag="row_count"):
    low: int = 0
    high: int | None = None


class Freshness(Check, frozen=True, kw_only=True, tag="freshness"):
    column: str
    within: timedelta


RowCheck = NotNull | InRange | InSet | Matches | Unique | ForeignKey | Expression
TableCheck = HasType | RowCount | Freshness
AnyCheck = RowCheck | TableCheck


class Suite(msgspec.Struct, frozen=True):
    """Checks of one dataset under a name."""

    name: str
    dataset: str
    checks: tuple[AnyCheck, ...]


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found.

    column: the column or columns it is about, empty for a check of whole rows or of the table.
    failed_rows, of: rows that fail among the rows it looked at; a check of the table looks at one thing.
    sample: up to five failing rows, each with its number (``row``, from 0, in the order of the version's files) and values.
    error: why the check could not be made; a check that was not made has not passed.
    """

    name: str
    column: str
    severity: Severity
    passed: bool
    failed_rows: int
    of: int
    sample: list[dict[str, Any]] = []
    error: str = ""


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on a table. `passed` unless a check of severity fail or quarantine did not pass."""

    reference: str
    suite: str
    passed: bool
    rows: int
    checks: list[CheckResult]
    time: datetime

    @property
    def failed(self) -> list[CheckResult]:
        """The checks that did not pass, warnings too."""
        return [check for check in self.checks if not check.passed]


def checks(name: str, *, dataset: str, checks: Iterable[AnyCheck]) -> Suite:
    """Declare the checks of a dataset, for `data check` and `data add`."""
    listed = tuple(checks)
    names = [check.name for check in listed]
    for each in names:
        if names.count(each) > 1:
            raise InvalidDefinition(
                f"two checks of suite '{name}' are called '{each}'", hint="give one of them name=…"
            )
    return Suite(checked_name(name, "suite name"), checked_name(dataset, "dataset name"), listed)


def not_null(column: str, *, severity: Severity = "fail", mostly: float = 1.0, name: str = "") -> NotNull:
    """Values are there: neither null nor NaN."""
    return NotNull(column=column, **_shared(name or f"{column}.not_null", severity, mostly))


def in_range(
    column: str,
    low: Limit | datetime = None,
    high: Limit | datetime = None,
    *,
    severity: Severity = "fail",
    mostly: float = 1.0,
    name: str = "",
) -> InRange:
    """Values lie between the limits, which belong to the range.

    >>> in_range("temp", -40, 120, severity="quarantine").high
    120
    """
    ends = (_limit(low), _limit(high))
    if ends == (None, None):
        raise InvalidDefinition(f"the range of '{column}' has no limit", hint="give low, high or both")
    return InRange(
        column=column, low=ends[0], high=ends[1], **_shared(name or f"{column}.in_range", severity, mostly)
    )


def in_set(
    column: str, values: Iterable[Value], *, severity: Severity = "fail", mostly: float = 1.0, name: str = ""
) -> InSet:
    """Values are among those given."""
    return InSet(column=column, values=tuple(values), **_shared(name or f"{column}.in_set", severity, mostly))


def matches(
    column: str, pattern: str, *, severity: Severity = "fail", mostly: float = 1.0, name: str = ""
) -> Matches:
    """The whole text matches a regular expression (RE2, as DuckDB has it)."""
    return Matches(column=column, pattern=pattern, **_shared(name or f"{column}.matches", severity, mostly))


def unique(*columns: str, severity: Severity = "fail", mostly: float = 1.0, name: str = "") -> Unique:
    """No two rows have the same values here. Of rows that are equal the first passes; rows with a missing value are not looked
    at."""
    if not columns:
        raise InvalidDefinition(
            "unique needs a column", hint="check.unique('id') or check.unique('origin', 'time_hour')"
        )
    return Unique(columns=columns, **_shared(name or f"{'+'.join(columns)}.unique", severity, mostly))


def foreign_key(
    column: str, dataset: str, to: str, *, severity: Severity = "fail", mostly: float = 1.0, name: str = ""
) -> ForeignKey:
    """Values occur in a column of another dataset, its newest version unless `dataset` names one (``airports@v2``)."""
    return ForeignKey(
        column=column, dataset=dataset, to=to, **_shared(name or f"{column}.foreign_key", severity, mostly)
    )


def expression(sql: str, *, name: str, severity: Severity = "fail", mostly: float = 1.0) -> Expression:
    """An SQL condition over the columns of a row holds (DuckDB). Null counts as holding, as in SQL's own CHECK: what is missing
    is the affair of `not_null`."""
    return Expression(sql=sql, **_shared(name, severity, mostly))


def has_type(
    column: str, type: str, *, severity: Literal["fail", "warn"] = "fail", name: str = ""
) -> HasType:
    """The column has this type, as Arrow prints it (``int64``, ``timestamp[us, tz=UTC]``)."""
    return HasType(column=column, type=type, **_shared(name or f"{column}.has_type", severity, 1.0))


def row_count(
    low: int = 0,
    high: int | None = None,
    *,
    severity: Literal["fail", "warn"] = "fail",
    name: str = "row_count",
) -> RowCount:
    """The table has at least `low` and at most `high` rows."""
    return RowCount(low=low, high=high, **_shared(name, severity, 1.0))


def freshness(
    column: str, within: Duration, *, severity: Literal["fail", "warn"] = "fail", name: str = ""
) -> Freshness:
    """The newest instant of the column is no older than this, seen from when the check runs."""
    return Freshness(
        column=column, within=duration(within), **_shared(name or f"{column}.freshness", severity, 1.0)
    )


def verdict(results: Sequence[CheckResult]) -> bool:
    """Whether a table passes: everything that is not a mere warning has passed."""
    return all(result.passed or result.severity == "warn" for result in results)


def enough(failed: int, of: int, mostly: float) -> bool:
    """Whether the share that passes suffices. Nothing looked at is nothing wrong.

    >>> enough(0, 0, 1.0), enough(1, 100, 0.99), enough(2, 100, 0.99)
    (True, True, False)
    """
    return failed == 0 or of - failed >= mostly * of


def _shared(name: str, severity: Severity, mostly: float) -> dict[str, Any]:
    if severity not in ("fail", "warn", "quarantine"):
        raise InvalidDefinition(
            f"'{severity}' is not a severity", hint="severities are fail, warn and quarantine"
        )
    if not 0.0 <= mostly <= 1.0:
        raise InvalidDefinition(f"mostly is a share between 0 and 1, not {mostly}")
    return {"name": name, "severity": severity, "mostly": float(mostly)}


def _limit(value: Limit | datetime) -> Limit:
    return require_zone(value, "the limit").isoformat() if isinstance(value, datetime) else value
