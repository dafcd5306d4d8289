"""The functions that declare checks: ``ev.check.in_range("distance", 1, 5000)``. In TOML the same, by the same names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal, get_args

from everloop.domain.checks.kinds import (
    Aggregate,
    AnyCheck,
    Bound,
    ColumnCount,
    Columns,
    DateFormat,
    Dialect,
    Distribution,
    Exclusive,
    Expression,
    ForeignKey,
    Freshness,
    HasColumns,
    HasType,
    InRange,
    InSet,
    Key,
    Length,
    Matches,
    Measure,
    Monotonic,
    NotNull,
    Part,
    Python,
    Query,
    RowChange,
    RowCount,
    Severity,
    Suite,
    Unique,
    Value,
)
from everloop.domain.durations import Duration, duration
from everloop.domain.names import checked_name
from everloop.domain.times import require_zone
from everloop.errors import InvalidDefinition, nearest

Limit = Bound | date | datetime
"""A number, a text, a day, or an instant with its zone."""

TableSeverity = Literal["fail", "warn"]
"""A check of the table names no rows, so none can go into quarantine."""


def checks(name: str, *, dataset: str, checks: Iterable[AnyCheck]) -> Suite:
    """Declare the checks of a dataset, for `data check`, `data add` and `data contract bind`. As a contract, `dataset` may end
    in ``*`` and mean all that begin so."""
    listed = tuple(checks)
    names = [check.name for check in listed]
    repeated = (
        next((each for each in names if names.count(each) > 1), None)
        if len(set(names)) < len(names)
        else None
    )
    if repeated is not None:
        raise InvalidDefinition(
            f"two checks of suite '{name}' are called '{repeated}'", hint="give one of them name=…"
        )
    return Suite(checked_name(name, "suite name"), checked_name(dataset, "dataset name"), listed)


# Of rows


def not_null(column: str, *, severity: Severity = "fail", mostly: float = 1.0, name: str = "") -> NotNull:
    """Values are there: neither null nor NaN."""
    return NotNull(column=column, **_shared(name or f"{column}.not_null", severity, mostly))


def in_range(
    column: str,
    low: Limit = None,
    high: Limit = None,
    *,
    exclusive: Exclusive = "none",
    severity: Severity = "fail",
    mostly: float = 1.0,
    name: str = "",
) -> InRange:
    """Values lie between the limits, which belong to the range unless `exclusive` says ``low``, ``high`` or ``both``.

    >>> in_range("temp", -40, 120, severity="quarantine").high
    120
    """
    ends = _ends(column, low, high)
    return InRange(
        column=column,
        low=ends[0],
        high=ends[1],
        exclusive=_one_of(exclusive, Exclusive, "exclusive"),
        **_shared(name or f"{column}.in_range", severity, mostly),
    )


def in_set(
    column: str,
    values: Iterable[Value],
    *,
    forbidden: bool = False,
    severity: Severity = "fail",
    mostly: float = 1.0,
    name: str = "",
) -> InSet:
    """Values are among those given; with `forbidden`, none of them is."""
    if isinstance(values, str):
        raise InvalidDefinition(f"the values of '{column}' are one text", hint='write a list: ["a", "b"]')
    return InSet(
        column=column,
        values=tuple(values),
        forbidden=forbidden,
        **_shared(name or f"{column}.{'not_in_set' if forbidden else 'in_set'}", severity, mostly),
    )


def matches(
    column: str,
    pattern: str,
    *,
    where: Part = "whole",
    dialect: Dialect = "re2",
    forbidden: bool = False,
    severity: Severity = "fail",
    mostly: float = 1.0,
    name: str = "",
) -> Matches:
    """The text matches a regular expression: the whole of it, or only its ``start``, or the pattern occurs ``anywhere``.

    The dialect is RE2, as DuckDB has it (no look-around, ``\\d`` and ``\\w`` are ASCII); ``dialect="python"`` is Python's `re`,
    slower. With `forbidden`, no text may match.
    """
    return Matches(
        column=column,
        pattern=pattern,
        where=_one_of(where, Part, "where"),
        dialect=_one_of(dialect, Dialect, "dialect"),
        forbidden=forbidden,
        **_shared(name or f"{column}.{'not_matches' if forbidden else 'matches'}", severity, mostly),
    )


def length(
    column: str,
    low: int = 0,
    high: int | None = None,
    *,
    severity: Severity = "fail",
    mostly: float = 1.0,
    name: str = "",
) -> Length:
    """The text has at least `low` and at most `high` characters."""
    return Length(column=column, low=low, high=high, **_shared(name or f"{column}.length", severity, mostly))


def date_format(
    column: str,
    format: str,
    *,
    strict: bool = True,
    severity: Severity = "fail",
    mostly: float = 1.0,
    name: str = "",
) -> DateFormat:
    """The text is a date or time in a format such as ``%Y-%m-%d``, written exactly so; without `strict`, ``2013-1-5`` will do."""
    return DateFormat(
        column=column,
        format=format,
        strict=strict,
        **_shared(name or f"{column}.date_format", severity, mostly),
    )


def unique(*columns: str, severity: Severity = "fail", mostly: float = 1.0, name: str = "") -> Unique:
    """No two rows have the same values here. Of rows that are equal the first passes; rows with a missing value are not looked
    at."""
    return Unique(
        columns=_some("unique", columns), **_shared(name or f"{'+'.join(columns)}.unique", severity, mostly)
    )


def key(*columns: str, severity: Severity = "fail", mostly: float = 1.0, name: str = "") -> Key:
    """These columns tell every row: no two rows have the same values, and none is missing."""
    return Key(columns=_some("key", columns), **_shared(name or f"{'+'.join(columns)}.key", severity, mostly))


def monotonic(
    column: str,
    *,
    decreasing: bool = False,
    strictly: bool = False,
    by: Iterable[str] = (),
    severity: Severity = "fail",
    mostly: float = 1.0,
    name: str = "",
) -> Monotonic:
    """Each value is no less than the one before it in the order of the rows, or greater with `strictly`; within each group of
    equal `by` when columns are named. A row fails for its step, so one outlier fails one or two rows and not all after it."""
    if isinstance(by, str):
        raise InvalidDefinition("by is one text", hint=f'write a list: by=["{by}"]')
    return Monotonic(
        column=column,
        decreasing=decreasing,
        strictly=strictly,
        by=tuple(by),
        **_shared(name or f"{column}.monotonic", severity, mostly),
    )


def foreign_key(
    column: str | Sequence[str],
    dataset: str,
    to: str | Sequence[str],
    *,
    severity: Severity = "fail",
    mostly: float = 1.0,
    name: str = "",
) -> ForeignKey:
    """Values occur in a column of another dataset, its newest version unless `dataset` names one (``airports@v2``). Several
    columns on either side are compared together."""
    here, there = _columns(column), _columns(to)
    if isinstance(here, str) != isinstance(there, str) or (
        not isinstance(here, str) and len(here) != len(there)
    ):
        raise InvalidDefinition(
            f"foreign_key compares {here!r} with {there!r}", hint="name as many columns on either side"
        )
    told = here if isinstance(here, str) else "+".join(here)
    return ForeignKey(
        column=here, dataset=dataset, to=there, **_shared(name or f"{told}.foreign_key", severity, mostly)
    )


def expression(sql: str, *, name: str, severity: Severity = "fail", mostly: float = 1.0) -> Expression:
    """An SQL condition over the columns of a row holds (DuckDB). Null counts as holding, as in SQL's own CHECK: what is missing
    is the affair of `not_null`. The whole table is called ``rows`` there: ``x < (select 3 * avg(x) from rows)``."""
    return Expression(sql=sql, **_shared(name, severity, mostly))


def python(
    function: str | Callable[..., Any],
    columns: Iterable[str],
    *,
    whole: bool = False,
    severity: Severity = "fail",
    mostly: float = 1.0,
    name: str = "",
) -> Python:
    """A Python function judges. It gets a `pyarrow.Table` of the columns, some rows at a time, and answers one true, false or
    null for each row (null: not looked at). With `whole` it gets all rows at once and answers whether the table passes.

    The function stands at the top of a module, so that others find it: ``"checks.py:plausible"`` or the function itself. It runs
    where the caller is, never in a server.

    >>> python("checks.py:plausible", ["speed", "distance"]).name
    'plausible'
    """
    place = function if isinstance(function, str) else _place(function)
    module, colon, attribute = place.rpartition(":")
    if not colon or not module or not attribute.isidentifier():
        raise InvalidDefinition(
            f"'{place}' is not the place of a function", hint="write MODULE:FUNCTION or FILE.py:FUNCTION"
        )
    if isinstance(columns, str):
        raise InvalidDefinition("columns is one text", hint=f'write a list: ["{columns}"]')
    shared = _shared(name or attribute, severity, mostly)
    if whole:
        _refuse_rows("python with whole", severity, mostly)
    return Python(function=place, columns=tuple(columns), whole=whole, **shared)


# Of the table


def has_type(
    column: str, type: str | Sequence[str], *, severity: TableSeverity = "fail", name: str = ""
) -> HasType:
    """The column has this type, or one of these: as Arrow prints it (``int64``, ``timestamp[us, tz=UTC]``), or any of a family:
    ``integer``, ``floating``, ``decimal``, ``number``, ``text``, ``boolean``, ``date``, ``timestamp``, ``instant`` (a timestamp
    with a zone)."""
    return HasType(column=column, type=_columns(type), **_of_table(name or f"{column}.has_type", severity))


def has_columns(
    *columns: str,
    exact: bool = False,
    ordered: bool = False,
    severity: TableSeverity = "fail",
    name: str = "has_columns",
) -> HasColumns:
    """The table has these columns; with `exact` no others, with `ordered` in this order."""
    return HasColumns(columns=columns, exact=exact, ordered=ordered, **_of_table(name, severity))


def row_count(
    low: int = 0, high: int | None = None, *, severity: TableSeverity = "fail", name: str = "row_count"
) -> RowCount:
    """The table has at least `low` and at most `high` rows. When rows are appended, the new ones are counted."""
    return RowCount(low=low, high=high, **_of_table(name, severity))


def column_count(
    low: int = 0, high: int | None = None, *, severity: TableSeverity = "fail", name: str = "column_count"
) -> ColumnCount:
    """The table has at least `low` and at most `high` columns."""
    return ColumnCount(low=low, high=high, **_of_table(name, severity))


def row_change(
    low: float | None = None,
    high: float | None = None,
    *,
    severity: TableSeverity = "fail",
    name: str = "row_change",
) -> RowChange:
    """The version has so many more or fewer rows than the one before it, as a share: ``row_change(-0.1, 0.5)`` allows from a
    tenth fewer to half as many more. A first version passes, and the result's note says so.

    >>> row_change(-0.1, 0.5).low
    -0.1
    """
    if low is None and high is None:
        raise InvalidDefinition("row_change has no limit", hint="give low, high or both, such as -0.1, 0.5")
    return RowChange(low=low, high=high, **_of_table(name, severity))


def freshness(
    column: str, within: Duration, *, severity: TableSeverity = "fail", name: str = ""
) -> Freshness:
    """The newest instant of the column is no older than this, seen from when the check runs."""
    return Freshness(
        column=column, within=duration(within), **_of_table(name or f"{column}.freshness", severity)
    )


def aggregate(
    column: str,
    measure: Measure,
    low: Limit = None,
    high: Limit = None,
    *,
    q: float | None = None,
    exclusive: Exclusive = "none",
    severity: TableSeverity = "fail",
    name: str = "",
) -> Aggregate:
    """One number of the whole column lies between the limits: its ``mean``, ``median``, ``stddev`` (of a sample), ``sum``,
    ``min``, ``max``, ``quantile`` (say which with `q`), how many ``distinct`` values, their share among the values that are there
    (``distinct_share``), or the share of missing ones (``null_share``). A column without any value has no mean and no extremes,
    and does not pass.

    >>> aggregate("delay", "quantile", high=120, q=0.95).name
    'delay.quantile 0.95'
    """
    chosen: Measure = _one_of(measure, Measure, "measure")
    if (chosen == "quantile") != (q is not None) or (q is not None and not 0 <= q <= 1):
        raise InvalidDefinition(
            f"measure {chosen} with q={q}", hint="a quantile has q between 0 and 1, other measures none"
        )
    ends = _ends(column, low, high)
    told = f"quantile {q}" if chosen == "quantile" else chosen
    return Aggregate(
        column=column,
        measure=chosen,
        low=ends[0],
        high=ends[1],
        q=q,
        exclusive=_one_of(exclusive, Exclusive, "exclusive"),
        **_of_table(name or f"{column}.{told}", severity),
    )


def null_share(
    column: str, high: float, *, low: float = 0.0, severity: TableSeverity = "fail", name: str = ""
) -> Aggregate:
    """At most this share of the values is missing, and at least `low`."""
    return aggregate(column, "null_share", low, high, severity=severity, name=name)


def distribution(
    column: str,
    reference: str = "previous",
    limit: float = 0.1,
    *,
    severity: TableSeverity = "fail",
    name: str = "",
) -> Distribution:
    """The column is distributed as in another version: ``flights@v3``, another dataset, or the ``previous`` version.

    Numbers and times: the Wasserstein distance in standard deviations of the reference. Everything else: the Jensen-Shannon
    distance (base e, 0 to 0.83) beyond what chance makes of so many rows. It fails when the distance is above `limit` and the
    difference is significant (p below 0.01). A first version has no previous one: it passes, and the note says so.
    """
    if limit < 0:
        raise InvalidDefinition(f"the limit of a distance is not negative, as {limit} is")
    return Distribution(
        column=column,
        reference=reference,
        limit=float(limit),
        **_of_table(name or f"{column}.distribution", severity),
    )


def query(
    sql: str,
    *,
    name: str,
    datasets: Mapping[str, str] | None = None,
    severity: TableSeverity = "fail",
) -> Query:
    """An SQL query over the table ``rows`` finds nothing: every row it returns is something wrong (DuckDB). `datasets` gives
    other datasets a name to be used in it: ``datasets={"airports": "airports@v2"}``."""
    return Query(sql=sql, datasets=dict(datasets or {}), **_of_table(name, severity))


KINDS: dict[str, Callable[..., AnyCheck]] = {
    each.__name__: each
    for each in (
        not_null,
        in_range,
        in_set,
        matches,
        length,
        date_format,
        unique,
        key,
        monotonic,
        foreign_key,
        expression,
        python,
        has_type,
        has_columns,
        row_count,
        column_count,
        row_change,
        freshness,
        aggregate,
        null_share,
        distribution,
        query,
    )
}
"""The functions by name: what TOML calls ``kind``."""


def _shared(name: str, severity: Severity, mostly: float) -> dict[str, Any]:
    if not name:
        raise InvalidDefinition("a check has no name", hint="give it name=…")
    if severity not in ("fail", "warn", "quarantine"):
        raise InvalidDefinition(
            f"'{severity}' is not a severity", hint="severities are fail, warn and quarantine"
        )
    if not 0.0 <= mostly <= 1.0:
        raise InvalidDefinition(f"mostly is a share between 0 and 1, not {mostly}")
    return {"name": name, "severity": severity, "mostly": float(mostly)}


def _of_table(name: str, severity: Severity) -> dict[str, Any]:
    _refuse_rows(f"'{name}'", severity, 1.0)
    return _shared(name, severity, 1.0)


def _refuse_rows(what: str, severity: Severity, mostly: float) -> None:
    if severity == "quarantine" or mostly != 1.0:
        said = "severity quarantine" if severity == "quarantine" else "mostly"
        raise InvalidDefinition(
            f"{what} judges the table as a whole and names no rows, so it cannot have {said}",
            hint="use severity fail or warn; or a check of rows, such as in_range or expression",
        )


def _ends(column: str, low: Limit, high: Limit) -> tuple[Bound, Bound]:
    ends = (_limit(low), _limit(high))
    if ends == (None, None):
        raise InvalidDefinition(f"the range of '{column}' has no limit", hint="give low, high or both")
    least, most = ends
    if isinstance(least, int | float) and isinstance(most, int | float) and least > most:
        raise InvalidDefinition(
            f"the range of '{column}' begins at {least} and ends at {most}: nothing lies between",
            hint="low comes first",
        )
    return ends


def _limit(value: Limit) -> Bound:
    if isinstance(value, float) and value != value:
        raise InvalidDefinition("a limit is NaN, and nothing is more or less than that", hint="give a number")
    if isinstance(value, datetime):
        return require_zone(value, "the limit").isoformat()
    return value.isoformat() if isinstance(value, date) else value


def _some(kind: str, columns: tuple[str, ...]) -> tuple[str, ...]:
    if not columns:
        raise InvalidDefinition(
            f"{kind} needs a column", hint=f"check.{kind}('id') or check.{kind}('origin', 'time_hour')"
        )
    return columns


def _columns(names: str | Sequence[str]) -> Columns:
    return names if isinstance(names, str) else tuple(names)


def _one_of(value: Any, allowed: Any, what: str) -> Any:
    known = get_args(allowed)
    if value not in known:
        raise InvalidDefinition(
            f"{what} is one of {', '.join(known)}, not {value!r}", hint=nearest(str(value), known)
        )
    return value


def _place(function: Callable[..., Any]) -> str:
    name = getattr(function, "__qualname__", "")
    if not name.isidentifier():
        raise InvalidDefinition(
            f"the function {name or function!r} cannot be found again by its name",
            hint="write it with def at the top of a module",
        )
    return f"{function.__module__}:{name}"
