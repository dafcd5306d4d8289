"""What a check is, as data: one frozen Struct a kind, storable as JSON. `declaring` makes them, the data room compiles them."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import msgspec

Severity = Literal["fail", "warn", "quarantine"]
Bound = int | float | str | None
"""The end of a range; an instant is written in ISO 8601 with its zone. None: no limit on this side."""
Value = bool | int | float | str
Exclusive = Literal["none", "low", "high", "both"]
Part = Literal["whole", "start", "anywhere"]
Dialect = Literal["re2", "python"]
Measure = Literal[
    "mean", "median", "stddev", "sum", "min", "max", "quantile", "distinct", "distinct_share", "null_share"
]
Columns = str | tuple[str, ...]
"""One column, or several together."""


class Check(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What all checks have. `name` is how reports and quarantine call it, unique in a suite."""

    name: str
    severity: Severity = "fail"
    mostly: float = 1.0


# Of rows: each row passes or fails, so `mostly` and quarantine have a meaning.


class NotNull(Check, frozen=True, kw_only=True, tag="not_null"):
    column: str


class InRange(Check, frozen=True, kw_only=True, tag="in_range"):
    """exclusive: which limits do not belong to the range themselves."""

    column: str
    low: Bound = None
    high: Bound = None
    exclusive: Exclusive = "none"


class InSet(Check, frozen=True, kw_only=True, tag="in_set"):
    """forbidden: the values must not occur."""

    column: str
    values: tuple[Value, ...]
    forbidden: bool = False


class Matches(Check, frozen=True, kw_only=True, tag="matches"):
    """where: what of the text the pattern must match. dialect: RE2 runs in DuckDB, Python's own where the caller is."""

    column: str
    pattern: str
    where: Part = "whole"
    dialect: Dialect = "re2"
    forbidden: bool = False


class Length(Check, frozen=True, kw_only=True, tag="length"):
    column: str
    low: int = 0
    high: int | None = None


class DateFormat(Check, frozen=True, kw_only=True, tag="date_format"):
    column: str
    format: str
    strict: bool = True


class Unique(Check, frozen=True, kw_only=True, tag="unique"):
    columns: tuple[str, ...]


class Key(Check, frozen=True, kw_only=True, tag="key"):
    columns: tuple[str, ...]


class Monotonic(Check, frozen=True, kw_only=True, tag="monotonic"):
    column: str
    decreasing: bool = False
    strictly: bool = False
    by: tuple[str, ...] = ()


class ForeignKey(Check, frozen=True, kw_only=True, tag="foreign_key"):
    """column, to: one column each, or as many on either side."""

    column: Columns
    dataset: str
    to: Columns


class Expression(Check, frozen=True, kw_only=True, tag="expression"):
    sql: str


class Python(Check, frozen=True, kw_only=True, tag="python"):
    """function: ``MODULE:FUNCTION`` or ``FILE.py:FUNCTION``. digest: SHA-256 of its text when it was bound; empty: any.
    whole: it judges the table and not each row."""

    function: str
    columns: tuple[str, ...]
    whole: bool = False
    digest: str = ""


# Of the table: one answer for all rows together.


class HasType(Check, frozen=True, kw_only=True, tag="has_type"):
    column: str
    type: Columns


class HasColumns(Check, frozen=True, kw_only=True, tag="has_columns"):
    columns: tuple[str, ...]
    exact: bool = False
    ordered: bool = False


class RowCount(Check, frozen=True, kw_only=True, tag="row_count"):
    low: int = 0
    high: int | None = None


class ColumnCount(Check, frozen=True, kw_only=True, tag="column_count"):
    low: int = 0
    high: int | None = None


class RowChange(Check, frozen=True, kw_only=True, tag="row_change"):
    low: float | None = None
    high: float | None = None


class Freshness(Check, frozen=True, kw_only=True, tag="freshness"):
    column: str
    within: timedelta


class Aggregate(Check, frozen=True, kw_only=True, tag="aggregate"):
    column: str
    measure: Measure
    low: Bound = None
    high: Bound = None
    exclusive: Exclusive = "none"
    q: float | None = None


class Distribution(Check, frozen=True, kw_only=True, tag="distribution"):
    column: str
    reference: str = "previous"
    limit: float = 0.1


class Query(Check, frozen=True, kw_only=True, tag="query"):
    sql: str
    datasets: dict[str, str] = {}


class Untranslated(Check, frozen=True, kw_only=True, tag="untranslated"):
    """A rule of another tool that says more than these kinds can. It is never passed, since nobody has looked."""

    source: str
    reason: str


RowCheck = (
    NotNull
    | InRange
    | InSet
    | Matches
    | Length
    | DateFormat
    | Unique
    | Key
    | Monotonic
    | ForeignKey
    | Expression
    | Python
)
TableCheck = (
    HasType
    | HasColumns
    | RowCount
    | ColumnCount
    | RowChange
    | Freshness
    | Aggregate
    | Distribution
    | Query
    | Untranslated
)
AnyCheck = RowCheck | TableCheck


class Suite(msgspec.Struct, frozen=True):
    """Checks of one dataset under a name."""

    name: str
    dataset: str
    checks: tuple[AnyCheck, ...]


def columns_of(check: AnyCheck) -> tuple[str, ...]:
    """The columns a check names; none for one of whole rows or of the table.

    >>> columns_of(Unique(name="u", columns=("a", "b")))
    ('a', 'b')
    """
    match check:
        case Unique() | Key() | Python():
            return check.columns
        case ForeignKey():
            return names_in(check.column)
        case Monotonic():
            return (check.column, *check.by)
        case (
            Expression() | RowCount() | ColumnCount() | RowChange() | HasColumns() | Query() | Untranslated()
        ):
            return ()
        case _:
            return (check.column,)


def names_in(columns: Columns) -> tuple[str, ...]:
    """One name or several, as several.

    >>> names_in("a"), names_in(("a", "b"))
    (('a',), ('a', 'b'))
    """
    return (columns,) if isinstance(columns, str) else columns
