"""Entities, and views of what datasets say about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

import msgspec

from everloop.domain.durations import Duration, duration
from everloop.domain.featureviews.naming import feature_name, type_named
from everloop.domain.featureviews.windows import Aggregate
from everloop.domain.names import checked_name
from everloop.errors import InvalidDefinition, InvalidInput


class Entity(msgspec.Struct, frozen=True):
    """What features are about: an airport, a user. `keys` are the columns that tell one from another."""

    name: str
    keys: tuple[str, ...]


class Feature(msgspec.Struct, frozen=True, tag_field="kind", tag="column"):
    """A column of a view: an SQL expression over a row of its source. `type` is what it has to be (a `signature.Type`), empty
    when any will do."""

    name: str
    expression: str
    type: str = ""


class Code(msgspec.Struct, frozen=True):
    """A Python function that was recorded: `source` is a module of its own that defines `function` and all it needs."""

    function: str
    source: str


class FeatureView(msgspec.Struct, frozen=True, kw_only=True):
    """Features of one entity from one source.

    sources: dataset names. sql: a query over them, by name; python: a function of their tables; neither for all rows of the one
    source. event_time, available: SQL expressions of instants; `available` is empty when rows are known at their event time, or
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
    python: Code | None = None

    @property
    def columns(self) -> tuple[Feature, ...]:
        return tuple(each for each in self.features if isinstance(each, Feature))

    @property
    def aggregates(self) -> tuple[Aggregate, ...]:
        return tuple(each for each in self.features if isinstance(each, Aggregate))

    @property
    def row_by_row(self) -> bool:
        """Whether each row of the source is a row of the view, so that rows can be added one by one."""
        return not self.sql and self.python is None


def entity(name: str, *, keys: Sequence[str]) -> Entity:
    """Declare what features are about."""
    if isinstance(keys, str) or not keys:
        raise InvalidDefinition(f"entity '{name}' needs its key columns", hint='keys=["origin"]')
    return Entity(checked_name(name, "entity name"), tuple(keys))


def feature(name: str, expression: str = "", *, type: str = "") -> Feature:
    """Declare a feature that is computed from a row: an SQL expression (DuckDB) over its columns; the column of that name when
    none is given. `type` is checked: double, long, boolean, string or datetime.

    >>> feature("freezing", "temp < 32", type="boolean")
    Feature(name='freezing', expression='temp < 32', type='boolean')
    """
    kind = str(type_named(type, f"feature '{name}'")) if type else ""
    return Feature(feature_name(name), expression or name, kind)


def feature_view(
    name: str,
    *,
    entity: Entity,
    source: str | Sequence[str],
    event_time: str,
    features: Iterable[str | Feature | Aggregate],
    sql: str = "",
    python: Code | None = None,
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
    if sql and python is not None:
        raise InvalidDefinition(f"feature view '{name}' has both sql and python", hint="give one of them")
    if len(sources) != 1 and not sql and python is None:
        raise InvalidDefinition(
            f"feature view '{name}' reads {len(sources)} datasets", hint="say how with sql=… or python=…"
        )
    listed = tuple(Feature(feature_name(each), each) if isinstance(each, str) else each for each in features)
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
        python=python,
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
