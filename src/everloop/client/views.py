"""Feature declarations that can be asked, through the ambient workspace: what `ev.feature_view(...)` and `ev.entity(...)`
give."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar, overload

import msgspec

from everloop.client.ambient import workspace
from everloop.domain import featureviews
from everloop.domain.durations import Duration
from everloop.domain.featureviews import (
    Aggregate,
    Entity,
    Feature,
    FeatureView,
    OnDemandView,
    OnlineRow,
    ViewRecord,
)
from everloop.errors import InvalidInput, NotFound

P = ParamSpec("P")
T = TypeVar("T", bound=msgspec.Struct)
D = TypeVar("D", bound=msgspec.Struct)

Keys = Mapping[str, Any] | Sequence[Any]
"""Entities: one by its key columns, or several; those with one key column by its values alone."""


class AskableView(FeatureView, frozen=True, kw_only=True):
    """A feature view as declared. It answers for this declaration, whatever was recorded under its name since."""

    def history(
        self,
        frame: Any,
        *,
        time: str = "",
        at: Mapping[str, int | str] | None = None,
        full_names: bool = False,
    ) -> Any:
        """The frame (anything that speaks Arrow, with the entity's keys) with this view's features as they were known at the
        instants in column `time`, as a `pyarrow.Table`; see `Features.history`. Where the frame has one column of instants,
        `time` may be left out. A declaration that is not recorded yet is recorded."""
        features = workspace().features
        record = self._recorded() or features.apply([self])[0]
        return features.history(
            frame, [_name(record)], time=time or _time_of(frame), at=at, full_names=full_names
        )

    def get(self, keys: Keys) -> list[OnlineRow]:
        """Values from the online store, a row for each of `keys` in their order. Raises NotFound while this declaration was
        not put there: ``everloop features materialize``."""
        asked, record = _mappings(self.entity, keys), self._recorded()
        if record is None:
            raise NotFound(
                f"feature view '{self.name}' is not recorded as it is declared here",
                hint="record it, then fill the online store: everloop features apply, everloop features materialize",
            )
        found: list[OnlineRow] = workspace().features.get(view=_name(record), keys=asked)
        return found

    def _recorded(self) -> ViewRecord | None:
        """The newest version recorded under this name, if it says the same as this declaration."""
        try:
            newest: ViewRecord = workspace().features.view(self.name)
        except NotFound:
            return None
        return newest if msgspec.to_builtins(newest.view) == msgspec.to_builtins(self) else None


class AskableEntity(Entity, frozen=True):
    """An entity as declared: asks all recorded views about it at once."""

    def history(
        self,
        frame: Any,
        *,
        time: str = "",
        at: Mapping[str, int | str] | None = None,
        full_names: bool = False,
    ) -> Any:
        """The frame with the features of every recorded view about this entity; see `AskableView.history`."""
        views = [_name(each) for each in self._views()]
        return workspace().features.history(
            frame, views, time=time or _time_of(frame), at=at, full_names=full_names
        )

    def get(self, keys: Keys) -> dict[str, list[OnlineRow]]:
        """Values from the online store by view, of every view about this entity that is there; see `AskableView.get`."""
        features = workspace().features
        stored = {each.reference for each in features.materialized()}
        asked = _mappings(self, keys)
        return {
            each.name: features.get(view=_name(each), keys=asked)
            for each in self._views()
            if each.reference in stored
        }

    def _views(self) -> list[ViewRecord]:
        known = workspace().features.views()
        found = [each for each in known if msgspec.to_builtins(each.view.entity) == msgspec.to_builtins(self)]
        if not found:
            raise NotFound(
                f"no recorded feature view is about '{self.name}'", hint="record one: everloop features apply"
            )
        return found


def _askable(declare: Callable[P, D], kind: type[T]) -> Callable[P, T]:
    @functools.wraps(declare)
    def declared(*args: P.args, **kwargs: P.kwargs) -> T:
        return kind(**msgspec.structs.asdict(declare(*args, **kwargs)))

    return declared


entity = _askable(featureviews.entity, AskableEntity)


def feature_view(
    name: str,
    *,
    entity: Entity,
    source: str | Sequence[str],
    event_time: str,
    features: Iterable[str | Feature | Aggregate | Sequence[Aggregate]],
    sql: str = "",
    python: Callable[..., Any] | None = None,
    where: str = "",
    available: Duration = "",
    ttl: Duration | None = None,
) -> AskableView:
    """Declare a view.

    source: a dataset, or several that `sql` speaks of by their names. python: instead of `sql`, a function of the sources as
    `pyarrow.Table`s, in their order, that gives the table of rows; it is recorded with what it needs. event_time: an SQL
    expression of an instant (a timestamp with time zone). available: when a row is known: a length of time after its event time
    (``"52min"``), or an SQL expression of an instant; left out, at its event time. where: rows that count at all. ttl: the
    greatest age of a row. features: names of columns, `ev.feature`, `ev.aggregate` and lists of them (`ev.aggregates`).
    """
    from everloop.features.on_demand.functions import recorded

    declared = featureviews.feature_view(
        name,
        entity=entity,
        source=source,
        event_time=event_time,
        features=_flat(features),
        sql=sql,
        python=None if python is None else recorded(python, f"feature view '{name}'"),
        where=where,
        available=available,
        ttl=ttl,
    )
    return AskableView(**msgspec.structs.asdict(declared))


@overload
def on_demand_view(
    name: str,
    *,
    request: Mapping[str, str],
    inputs: Mapping[str, str] | None = None,
    features: Iterable[Feature],
) -> OnDemandView: ...


@overload
def on_demand_view(
    name: str,
    *,
    request: Mapping[str, str],
    inputs: Mapping[str, str] | None = None,
    outputs: Mapping[str, str],
) -> Callable[[Callable[..., Any]], OnDemandView]: ...


def on_demand_view(
    name: str,
    *,
    request: Mapping[str, str],
    inputs: Mapping[str, str] | None = None,
    features: Iterable[Feature] = (),
    outputs: Mapping[str, str] | None = None,
) -> OnDemandView | Callable[[Callable[..., Any]], OnDemandView]:
    """Declare features that are computed when they are asked for, of one row or of a million the same.

    request: what the caller brings along, with its types. inputs: features of stored views, with their types. Either `features`
    are SQL expressions over these, or, with `outputs`, this decorates a function that takes columns as numpy arrays under
    these names and gives the outputs by name:

        @ev.on_demand_view("trip", request={"distance": "double"}, inputs={"weather:wind": "double"}, outputs={"up": "double"})
        def trip(distance, wind):
            return {"up": distance * wind}
    """
    if outputs is None:
        return featureviews.on_demand_view(name, request=request, inputs=inputs, features=features)
    from everloop.features.on_demand.functions import recorded

    def declare(function: Callable[..., Any]) -> OnDemandView:
        code = recorded(function, f"on-demand view '{name}'")
        return featureviews.on_demand_view(
            name, request=request, inputs=inputs, features=features, outputs=outputs, python=code
        )

    return declare


def _flat(
    features: Iterable[str | Feature | Aggregate | Sequence[Aggregate]],
) -> list[str | Feature | Aggregate]:
    flat: list[str | Feature | Aggregate] = []
    for each in features:
        if isinstance(each, str | Feature | Aggregate):
            flat.append(each)
        else:
            flat += each
    return flat


def _name(record: ViewRecord) -> str:
    return record.reference.removeprefix("feature:")


def _mappings(entity: Entity, keys: Keys) -> list[dict[str, Any]]:
    """Keys as the online store takes them.

    >>> _mappings(Entity("airport", ("origin",)), ["JFK", {"origin": "LGA"}])
    [{'origin': 'JFK'}, {'origin': 'LGA'}]
    """
    if isinstance(keys, str | bytes):
        raise InvalidInput("keys are a list, or a mapping of the key columns", hint=f"give [{keys!r}]")
    listed = [keys] if isinstance(keys, Mapping) else list(keys)
    if len(entity.keys) > 1 and not all(isinstance(each, Mapping) for each in listed):
        raise InvalidInput(
            f"'{entity.name}' is named by {', '.join(entity.keys)} together",
            hint="give each key as {column: value, …}",
        )
    return [dict(each) if isinstance(each, Mapping) else {entity.keys[0]: each} for each in listed]


def _time_of(frame: Any) -> str:
    """The one column of instants that a frame has."""
    import pyarrow as pa

    if not hasattr(frame, "__arrow_c_schema__") and not hasattr(frame, "__arrow_c_stream__"):
        raise InvalidInput(
            f"a {type(frame).__name__} is no frame",
            hint="give an Arrow table, or a frame of pandas or polars",
        )
    schema = frame.schema if isinstance(frame, pa.Table) else pa.table(frame).schema
    names = [field.name for field in schema if pa.types.is_timestamp(field.type)]
    if len(names) != 1:
        has = f"columns of instants: {', '.join(names)}" if names else "no column of instants"
        raise InvalidInput(f"the frame has {has}", hint='say as of when: time="column"')
    return names[0]
