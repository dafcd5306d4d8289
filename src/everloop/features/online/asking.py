"""Questions to the online store: which features of which entities, resolved once, answered in microseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from everloop.domain.featureviews import FeatureName, OnlineRow
from everloop.domain.online import Freshness, OnlineAnswer, OnlineValues, Status
from everloop.domain.times import EPOCH, from_micros, micros, require_zone
from everloop.errors import InvalidInput, NotFound, nearest
from everloop.features.online.contract import (
    Answered,
    Found,
    Held,
    Layout,
    OnlineStore,
    Wanted,
    decode_values,
    encoded_key,
    encoded_keys,
)

Keys = Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]]
"""Entities by their key columns: column by column, or one mapping for each."""


class _View:
    """What is asked of one view: pairs of a feature (blank: all of them) and what it is called in the answer."""

    def __init__(self, name: str, version: int | None) -> None:
        self.name, self.version = name, version
        self.features: list[tuple[str, str]] = []
        self._layout: Layout | None = None
        self._places: list[tuple[int, str]] = []

    def places(self, layout: Layout) -> list[tuple[int, str]]:
        """Where the features stand in a stored row, and what they are called."""
        if layout is not self._layout:
            chosen = []
            for feature, label in self.features:
                if not feature:
                    chosen += [(place, label + name) for place, name in enumerate(layout.names)]
                elif feature in layout.names:
                    chosen.append((layout.names.index(feature), label))
                else:
                    raise NotFound(
                        f"feature view '{self.name}' has no feature '{feature}'",
                        hint=nearest(feature, layout.names) or f"it has {', '.join(layout.names)}",
                    )
            self._places, self._layout = chosen, layout
        return self._places


class OnlineReader:
    """Features that are asked for again and again. Made by `Features.online`; safe for threads.

    A view that is named without a version is answered from the newest version the store has.
    """

    def __init__(self, store: OnlineStore, features: Sequence[str], *, full_names: bool = False) -> None:
        if isinstance(features, str) or not features:
            raise InvalidInput("no features are asked for", hint='features=["weather:temp", …]')
        self._store = store
        views: dict[tuple[str, int | None], _View] = {}
        for text in features:
            wanted = FeatureName.parse(text)
            prefix = f"{wanted.view.replace('/', '_')}__" if full_names else ""
            named = (wanted.view, wanted.version)
            views.setdefault(named, _View(*named)).features.append((wanted.feature, prefix + wanted.feature))
        self._views = list(views.values())

    def get(self, keys: Keys, time: datetime) -> OnlineAnswer:
        """The features of these entities, all as of one state of the store, aged as of `time`.

        Raises InvalidInput when a key is missing or of another type, or the store is of a later moment than `time`; NotFound when
        a view or a feature is not stored.
        """
        moment = require_zone(time, "the time")
        given = _columns(keys)
        entities = len(next(iter(given.values()), ()))
        now = micros(moment)
        features: list[OnlineValues] = []
        freshness: dict[str, Freshness] = {}
        for view, answered in zip(self._views, self._read(given, entities), strict=True):
            _refuse_past(answered.held, answered.rows, now)
            features += _values(view, answered, now)
            freshness[answered.held.reference] = _freshness(answered, now)
        _refuse_twins(features)
        return OnlineAnswer(time=moment, entities=entities, features=features, freshness=freshness)

    def _read(self, given: Mapping[str, Sequence[Any]], entities: int) -> list[Answered]:
        if entities == len(self._views) == 1:
            [view] = self._views
            entity = {name: values[0] for name, values in given.items()}
            held, found = self._store.read_one(
                view.name, view.version, lambda layout: encoded_key(view.name, layout, entity)
            )
            return [Answered(held, [found])]
        wanted = [Wanted(v.name, v.version, partial(_encoded, v.name, given)) for v in self._views]
        return self._store.read(wanted)


def online_rows(
    store: OnlineStore, name: str, version: int | None, keys: Sequence[Mapping[str, Any]], time: datetime
) -> list[OnlineRow]:
    """All values of one view, entity by entity in the order of the keys. See `OnlineReader.get` for what it raises."""
    now = micros(time)
    if len(keys) == 1:
        [entity] = keys
        held, found = store.read_one(name, version, lambda layout: encoded_key(name, layout, entity))
        _refuse_past(held, (found,), now)
        return [_row(held, entity, found, now)]
    given = _columns(keys)
    [(held, rows)] = store.read([Wanted(name, version, partial(_encoded, name, given))])
    _refuse_past(held, rows, now)
    return [_row(held, entity, found, now) for entity, found in zip(keys, rows, strict=True)]


def _row(held: Held, entity: Mapping[str, Any], found: Found | None, now: int) -> OnlineRow:
    layout = held.layout
    if found is None:
        return OnlineRow(keys=dict(entity), values=dict.fromkeys(layout.names), status="unknown")
    values = dict(zip(layout.names, decode_values(layout, found.values), strict=True))
    expired = _expired(layout, found, now)
    if expired:
        values |= dict.fromkeys(layout.names[: layout.columns])
    event = found.event if layout.columns else _computed(held, found)
    return OnlineRow(
        keys=dict(entity),
        values=values,
        status="expired" if expired else "present",
        event_time=EPOCH + timedelta(0, 0, event),
        age=(now - event) / 1e6,
        staleness=(now - _as_of(held, found)) / 1e6,
    )


def _values(view: _View, answered: Answered, now: int) -> list[OnlineValues]:
    """The features asked of a view."""
    held, rows = answered
    layout, reference = held.layout, held.reference
    nothing = [None] * len(layout.names)
    table = list(zip(*[nothing if r is None else decode_values(layout, r.values) for r in rows], strict=True))
    fresh = [False] * len(rows)
    expired = fresh
    if layout.ttl is not None and layout.columns:
        oldest = now - layout.ttl
        expired = [row is not None and row.event < oldest for row in rows]
    all_there = None not in rows and True not in expired
    present: list[Status] = ["present"] * len(rows)
    answer = []
    for place, name in view.places(layout):
        values = list(table[place]) if table else []
        statuses = present
        if not all_there or None in values:
            gone = expired if place < layout.columns else fresh
            values = [None if old else value for value, old in zip(values, gone, strict=True)]
            statuses = [_status(*each) for each in zip(rows, values, gone, strict=True)]
        answer.append(OnlineValues(name=name, reference=reference, values=values, statuses=statuses))
    return answer


def _freshness(answered: Answered, now: int) -> Freshness:
    held, rows = answered
    until = held.until
    if held.layout.columns:
        events = [None if row is None else row.event for row in rows]
    else:
        events = [None if row is None else _computed(held, row) for row in rows]
    if all(row is None or row.event <= until >= row.created for row in rows):
        stale = (now - until) / 1e6
        staleness = [None if row is None else stale for row in rows]
    else:
        staleness = [None if row is None else (now - _as_of(held, row)) / 1e6 for row in rows]
    return Freshness(
        event_times=[None if event is None else EPOCH + timedelta(0, 0, event) for event in events],
        ages=[None if event is None else (now - event) / 1e6 for event in events],
        staleness=staleness,
    )


def _status(found: Found | None, value: Any, expired: bool) -> Status:
    if found is None:
        return "unknown"
    if expired:
        return "expired"
    return "null" if value is None else "present"


def _expired(layout: Layout, found: Found, now: int) -> bool:
    return layout.ttl is not None and layout.columns > 0 and now - found.event > layout.ttl


def _computed(held: Held, found: Found) -> int:
    """When aggregates were computed: with the whole view, or later, when a push brought them."""
    return max(found.created, held.until)


def _as_of(held: Held, found: Found) -> int:
    return max(held.until, found.event, found.created)


def _refuse_past(held: Held, rows: Sequence[Found | None], now: int) -> None:
    latest = held.until
    for row in rows:
        if row is not None and (row.event > latest or row.created > latest):
            latest = max(row.event, row.created)
    if now < latest:
        raise InvalidInput(
            f"the online store has '{held.name}' as of {from_micros(latest):%Y-%m-%d %H:%M:%S}, later than the time asked",
            hint="ask for a later time, or use history for the past",
        )


def _refuse_twins(features: Sequence[OnlineValues]) -> None:
    names = [each.name for each in features]
    if len(set(names)) < len(names):
        twin = next(name for name in names if names.count(name) > 1)
        raise InvalidInput(f"two features are called '{twin}'", hint="ask with full names: full_names=True")


def _encoded(view: str, given: Mapping[str, Sequence[Any]], layout: Layout) -> list[bytes]:
    return encoded_keys(view, layout, given) if given else []


def _columns(keys: Keys) -> Mapping[str, Sequence[Any]]:
    """Keys column by column. Raises InvalidInput where the columns are not of one length, or a key lacks a column."""
    if isinstance(keys, Mapping):
        lengths = {len(values) for values in keys.values()}
        if len(lengths) > 1 or any(isinstance(values, str) for values in keys.values()):
            raise InvalidInput(
                "the keys' columns are not lists of one length", hint='such as {"origin": ["JFK", "EWR"]}'
            )
        return keys
    if not keys:
        return {}
    if not keys[0]:
        raise InvalidInput("the first entity has no key", hint='such as {"origin": "JFK"}')
    if len(keys) == 1:
        return {name: (value,) for name, value in keys[0].items()}
    try:
        return {name: [each[name] for each in keys] for name in keys[0]}
    except KeyError as missing:
        raise InvalidInput(
            f"not every entity has the key {missing}",
            hint="each has the same ones; on the command line, one entity is a=1,b=2 and a space begins the next",
        ) from None
