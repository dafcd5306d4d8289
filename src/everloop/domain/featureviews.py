"""Feature views as declarations: what is known of an entity at a moment, computed the same for training and for serving.

A view reads rows from datasets. Each row has keys (of which entity), an **event time** (when it was true) and an
**availability time** (when it was known). At a moment T a row counts only when both are at or before T; so no row of a training
set sees its future. Two kinds of features stand on that:

- a *column*: the value in the row with the latest event time among those that count; of equal ones the one known last, then the
  one that stands last in the data. Null when that row is older than the view's time to live (T - event time > ttl).
- an *aggregate* over a window: of the values in rows that became known in (T - over, T], whatever the time to live. A row
  becomes known at the later of its two times. Missing values (null, NaN) do not count.

>>> airport = entity("airport", keys=["origin"])
>>> weather = feature_view("weather", entity=airport, source="weather", event_time="time_hour", available="52min", ttl="3h",
...     features=["temp", feature("freezing", "temp < 32")])
>>> [each.name for each in weather.features], weather.ttl
(['temp', 'freezing'], datetime.timedelta(seconds=10800))
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from everloop.domain.durations import Duration, duration
from everloop.domain.names import checked_name, shown
from everloop.domain.references import Kind, Reference
from everloop.errors import InvalidDefinition, InvalidInput, InvalidReference

Function = Literal["count", "sum", "mean", "min", "max", "last"]
FUNCTIONS: tuple[Function, ...] = ("count", "sum", "mean", "min", "max", "last")

_WORD = re.compile(r"[^\W\d]\w*\Z")


class Entity(msgspec.Struct, frozen=True):
    """What features are about: an airport, a user. `keys` are the columns that tell one from another."""

    name: str
    keys: tuple[str, ...]


class Feature(msgspec.Struct, frozen=True, tag_field="kind", tag="column"):
    """A column of a view: an SQL expression over a row of its source."""

    name: str
    expression: str


class Aggregate(msgspec.Struct, frozen=True, tag_field="kind", tag="aggregate", kw_only=True):
    """A number over a window: null when fewer than `min_count` values are in it."""

    name: str
    function: Function
    expression: str
    over: timedelta
    min_count: int = 1


class FeatureView(msgspec.Struct, frozen=True, kw_only=True):
    """Features of one entity from one source.

    sources: dataset names. sql: a query over them, by name; empty for all rows of the one source.
    event_time, available: SQL expressions of instants; `available` is empty when rows are known at their event time, or
    `available_after` that time.
    """

    name: str
    entity: Entity
    sources: tuple[str, ...]
    event_time: str
    features: tuple[Feature | Aggregate, ...]
    sql: str = ""
    where: str = ""
    available: str = ""
    available_after: timedelta = timedelta()
    ttl: timedelta | None = None

    @property
    def columns(self) -> tuple[Feature, ...]:
        return tuple(each for each in self.features if isinstance(each, Feature))

    @property
    def aggregates(self) -> tuple[Aggregate, ...]:
        return tuple(each for each in self.features if isinstance(each, Aggregate))


class FeatureName(msgspec.Struct, frozen=True, order=True):
    """A feature as it is asked for: ``weather:temp``, of a version ``weather@v2:temp``, or all of a view ``weather``.

    >>> FeatureName.parse("weather@v2:temp")
    FeatureName(view='weather', version=2, feature='temp')
    """

    view: str
    version: int | None = None
    feature: str = ""

    @classmethod
    def parse(cls, text: str) -> FeatureName:
        """Raises InvalidReference."""
        head, _, feature = text.removeprefix("feature:").partition(":")
        try:
            found = Reference.parse(head, Kind.FEATURE)
        except InvalidReference as error:
            raise InvalidReference(error.message, hint="write view:feature, such as weather:temp") from None
        return cls(found.name, found.version, feature)


class ViewRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded view. `reference` is ``feature:VIEW@vN``; `digest` is of the declaration."""

    reference: str
    name: str
    version: int
    digest: str
    view: FeatureView
    created: datetime


class Materialized(msgspec.Struct, frozen=True, kw_only=True):
    """What the online store holds of a view: the values as of `until`, for `entities` entities, from these data versions."""

    reference: str
    until: datetime
    entities: int
    sources: dict[str, str]
    seconds: float = 0.0


class OnlineRow(msgspec.Struct, frozen=True, kw_only=True):
    """The values of one entity, in the order of the keys asked for.

    status: ``present``; ``expired`` (older than the time to live: values are null); ``unknown`` (no such entity).
    event_time: of the row the values are from, or when the aggregates were computed. age: seconds from it to the asked time.
    staleness: seconds from the moment the values are as of (the last materialisation, or the push that brought them).
    """

    keys: dict[str, Any]
    values: dict[str, Any]
    status: Literal["present", "expired", "unknown"]
    event_time: datetime | None = None
    age: float | None = None
    staleness: float | None = None


class ColumnParity(msgspec.Struct, frozen=True, kw_only=True):
    """One feature, logged against recomputed.

    rows_different: rows whose values differ; `missing` of them have a value on one side only.
    max_abs: the largest difference of two numbers. first_time: of the first row that differs.
    sample: up to five such rows.
    """

    column: str
    rows_different: int
    missing: int
    max_abs: float | None
    first_time: datetime | None
    sample: list[dict[str, Any]] = []


class ParityReport(msgspec.Struct, frozen=True, kw_only=True):
    """Logged features against those recomputed from history. `different` counts rows with any difference; a null and a NaN are
    one thing, missing, and equal to each other."""

    compared: int
    different: int
    columns: list[ColumnParity]
    sources: dict[str, str]
    features: list[str]

    @property
    def passed(self) -> bool:
        return self.different == 0


def entity(name: str, *, keys: Sequence[str]) -> Entity:
    """Declare what features are about."""
    if isinstance(keys, str) or not keys:
        raise InvalidDefinition(f"entity '{name}' needs its key columns", hint='keys=["origin"]')
    return Entity(checked_name(name, "entity name"), tuple(keys))


def feature(name: str, expression: str) -> Feature:
    """Declare a feature that is computed from a row: an SQL expression (DuckDB) over its columns."""
    return Feature(_feature_name(name), expression)


def aggregate(
    function: Function, expression: str = "1", *, over: Duration, name: str = "", min_count: int = 1
) -> Aggregate:
    """Declare a number over a window: count, sum, mean, min, max or last of an SQL expression, taken as a double.

    >>> aggregate("mean", "arr_delay > 15", over="3h", min_count=3, name="late_3h").over
    datetime.timedelta(seconds=10800)
    """
    if function not in FUNCTIONS:
        raise InvalidDefinition(f"'{function}' is not an aggregate", hint=f"there are {', '.join(FUNCTIONS)}")
    window = duration(over)
    if not window:
        raise InvalidDefinition("a window has a length", hint='over="3h"')
    if min_count < 1:
        raise InvalidDefinition(f"min_count is at least 1, not {min_count}")
    if not name and not _WORD.match(expression):
        raise InvalidDefinition(f"the {function} of {shown(expression)} needs a name", hint='name="late_3h"')
    return Aggregate(
        name=_feature_name(name or f"{expression}_{function}"),
        function=function,
        expression=expression,
        over=window,
        min_count=min_count,
    )


def feature_view(
    name: str,
    *,
    entity: Entity,
    source: str | Sequence[str],
    event_time: str,
    features: Iterable[str | Feature | Aggregate],
    sql: str = "",
    where: str = "",
    available: Duration = "",
    ttl: Duration | None = None,
) -> FeatureView:
    """Declare a view.

    source: a dataset, or several that `sql` speaks of by their names. event_time: an SQL expression of an instant (a
    timestamp with time zone). available: when a row is known: a length of time after its event time (``"52min"``), or an
    SQL expression of an instant; left out, at its event time. where: rows that count at all. ttl: the greatest age of a row.
    """
    checked_name(name, "feature view name", folders=True)
    sources = (source,) if isinstance(source, str) else tuple(source)
    if len(sources) != 1 and not sql:
        raise InvalidDefinition(
            f"feature view '{name}' reads {len(sources)} datasets", hint="say how with sql=…"
        )
    listed = tuple(Feature(_feature_name(each), each) if isinstance(each, str) else each for each in features)
    names = [each.name for each in listed]
    if not listed:
        raise InvalidDefinition(f"feature view '{name}' has no features")
    for each in names:
        if names.count(each) > 1 or each in entity.keys:
            raise InvalidDefinition(
                f"feature view '{name}' has two columns called '{each}'", hint="name one otherwise"
            )
    lives = None if ttl is None else duration(ttl)
    if lives == timedelta():
        raise InvalidDefinition(
            f"feature view '{name}': a time to live of nothing", hint="leave ttl out for no limit"
        )
    after, expression = _availability(available)
    return FeatureView(
        name=name,
        entity=entity,
        sources=tuple(checked_name(each, "dataset name") for each in sources),
        event_time=event_time,
        features=listed,
        sql=sql,
        where=where,
        available=expression,
        available_after=after,
        ttl=lives,
    )


def _availability(available: Duration) -> tuple[timedelta, str]:
    if not available:
        return timedelta(), ""
    try:
        return duration(available), ""
    except InvalidInput:
        if isinstance(available, timedelta):
            raise
        return timedelta(), available


def _feature_name(name: str) -> str:
    if not _WORD.match(name):
        raise InvalidDefinition(
            f"{shown(name)} is not the name of a feature",
            hint='a name is one word; for an expression: feature("name", "…")',
        )
    return name
