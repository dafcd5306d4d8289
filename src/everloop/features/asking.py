"""Questions to the online store: which features of which entities, resolved once, answered in microseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from everloop.domain.featureviews import FeatureName, OnlineRow
from everloop.domain.online import OnlineAnswer, OnlineValues, Status
from everloop.domain.times import from_micros, micros, require_zone
from everloop.errors import InvalidInput, NotFound, nearest
from everloop.features.online import (
    NEVER,
    Answered,
    Found,
    Held,
    Layout,
    OnlineStore,
    Wanted,
    decode_values,
    encoded_keys,
)

Keys = Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]]
"""Entities by their key columns: column by column, or one mapping for each."""


class _View(NamedTuple):
    """What is asked of one view: pairs of a feature (blank: all of them) and what it is called in the answer."""

    name: str
    version: int | None
    features: list[tuple[str, str]]


class OnlineReader:
    """Features that are asked for again and again. Made by `Features.online`; safe for threads.

    A view that is named without a version is answered from the newest version the store has.
    """

    def __init__(self, store: OnlineStore, features: Sequence[str], *, full_names: bool = False) -> None:
        if isinstance(features, str) or not features:
            raise InvalidInput("no features are asked for", hint='features=["weather:temp", …]')
        self._store = store
        self._views: list[_View] = []
        for text in features:
            wanted = FeatureName.parse(text)
            prefix = f"{wanted.view.replace('/', '_')}__" if full_names else ""
            asked = next((v for v in self._views if v[:2] == (wanted.view, wanted.version)), None)
            if asked is None:
                asked = _View(wanted.view, wanted.version, [])
                self._views.append(asked)
            asked.features.append((wanted.feature, prefix + wanted.feature))

    def get(self, keys: Keys, time: datetime) -> OnlineAnswer:
        """The features of these entities, all as of one state of the store, aged as of `time`.

        Raises InvalidInput when a key is missing or of another type, or the store is of a later moment than `time`; NotFound when
        a view or a feature is not stored.
        """
        moment = require_zone(time, "the time")
        given = _columns(keys)
        wanted = [Wanted(v.name, v.version, partial(_encoded, v.name, given)) for v in self._views]
        now = micros(moment)
        features: list[OnlineValues] = []
        for view, answered in zip(self._views, self._store.read(wanted), strict=True):
            features += _values(view, answered, now)
        _refuse_twins(features)
        entities = len(next(iter(given.values()), ()))
        return OnlineAnswer(time=moment, entities=entities, features=features)


def online_rows(
    store: OnlineStore, name: str, version: int | None, keys: Sequence[Mapping[str, Any]], time: datetime
) -> list[OnlineRow]:
    """All values of one view, entity by entity in the order of the keys. See `OnlineReader.get` for what it raises."""
    given = _columns(keys)
    [answered] = store.read([Wanted(name, version, partial(_encoded, name, given))])
    held, now = answered.held, micros(time)
    layout = held.layout
    names = layout.names
    _refuse_past(held, answered.rows, now)
    rows = []
    for each, found in zip(keys, answered.rows, strict=True):
        if found is None:
            rows.append(OnlineRow(keys=dict(each), values=dict.fromkeys(names), status="unknown"))
            continue
        values = dict(zip(names, decode_values(layout, found.values), strict=True))
        expired = _expired(layout, found, now)
        if expired:
            values |= dict.fromkeys(layout.columns)
        event = found.event if layout.columns else _computed(held, found)
        rows.append(
            OnlineRow(
                keys=dict(each),
                values=values,
                status="expired" if expired else "present",
                event_time=from_micros(event),
                age=(now - event) / 1e6,
                staleness=(now - _as_of(held, found)) / 1e6,
            )
        )
    return rows


def _values(view: _View, answered: Answered, now: int) -> list[OnlineValues]:
    """The features asked of a view."""
    held, rows = answered
    layout = held.layout
    _refuse_past(held, rows, now)
    decoded = [None if found is None else decode_values(layout, found.values) for found in rows]
    expired = [found is not None and _expired(layout, found, now) for found in rows]
    nothing = [None] * len(layout.names)
    table = list(zip(*[nothing if values is None else values for values in decoded], strict=True))
    staleness = [None if found is None else (now - _as_of(held, found)) / 1e6 for found in rows]
    # The columns of a row are of one event; its aggregates of the moment they were computed.
    times = {
        False: [None if found is None else found.event for found in rows],
        True: [None if found is None else _computed(held, found) for found in rows]
        if layout.aggregates
        else [],
    }
    events = {kind: [None if t is None else from_micros(t) for t in each] for kind, each in times.items()}
    ages = {kind: [None if t is None else (now - t) / 1e6 for t in each] for kind, each in times.items()}
    plain = all(found is not None for found in rows) and not any(expired)
    answer = []
    for feature, label in _chosen(view, layout):
        place = layout.names.index(feature)
        values = list(table[place]) if table else []
        aggregate = place >= len(layout.columns)
        statuses: list[Status]
        if plain and None not in values:
            statuses = ["present"] * len(values)
        else:
            gone = [False] * len(rows) if aggregate else expired
            values = [None if old else value for value, old in zip(values, gone, strict=True)]
            statuses = [_status(*each) for each in zip(rows, values, gone, strict=True)]
        answer.append(
            OnlineValues(
                name=label,
                reference=held.reference,
                values=values,
                statuses=statuses,
                event_times=events[aggregate],
                ages=ages[aggregate],
                staleness=staleness,
            )
        )
    return answer


def _chosen(view: _View, layout: Layout) -> list[tuple[str, str]]:
    chosen = []
    for feature, label in view.features:
        if not feature:
            chosen += [(name, label + name) for name in layout.names]
        elif feature in layout.names:
            chosen.append((feature, label))
        else:
            raise NotFound(
                f"feature view '{view.name}' has no feature '{feature}'",
                hint=nearest(feature, layout.names) or f"it has {', '.join(layout.names)}",
            )
    return chosen


def _status(found: Found | None, value: Any, expired: bool) -> Status:
    if found is None:
        return "unknown"
    if expired:
        return "expired"
    return "null" if value is None else "present"


def _expired(layout: Layout, found: Found, now: int) -> bool:
    return layout.ttl is not None and bool(layout.columns) and now - found.event > layout.ttl


def _computed(held: Held, found: Found) -> int:
    """When aggregates were computed: with the whole view, or later, when a push brought them."""
    return max(found.created, held.until)


def _as_of(held: Held, found: Found) -> int:
    return max(held.until, found.event, found.created)


def _refuse_past(held: Held, rows: Sequence[Found | None], now: int) -> None:
    latest = max([held.until, *(max(row.event, row.created) for row in rows if row is not None)])
    if now < latest and latest != NEVER:
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
    return encoded_keys(view, layout, given)


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
    names = list(keys[0])
    try:
        return {name: [each[name] for each in keys] for name in names}
    except KeyError as missing:
        raise InvalidInput(f"not every entity has the key {missing}") from None
