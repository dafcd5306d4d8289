"""Requests and answers of a Feast server. A request's fields that nobody knows are passed over, as Feast does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from everloop.domain.featureviews import FeatureView
from everloop.domain.online import OnlineAnswer, Status
from everloop.domain.times import EPOCH
from everloop.errors import InvalidInput

STATUSES: dict[Status, str] = {
    "present": "PRESENT",
    "null": "NULL_VALUE",
    "unknown": "NOT_FOUND",
    "expired": "OUTSIDE_MAX_AGE",
}


class GetOnlineFeatures(msgspec.Struct, frozen=True):
    """``POST /get-online-features``: a service (a feature list here) or features, of entities column by column."""

    entities: dict[str, list[Any]]
    feature_service: str | None = None
    features: list[str] = []
    full_feature_names: bool = False


class Push(msgspec.Struct, frozen=True):
    """``POST /push``: rows column by column. Wherever they are said to go, they go online and into history."""

    push_source_name: str
    df: dict[str, list[Any]]
    to: Literal["online", "offline", "online_and_offline"] = "online"


class WriteToOnlineStore(msgspec.Struct, frozen=True):
    """``POST /write-to-online-store``."""

    feature_view_name: str
    df: dict[str, list[Any]]


class Materialize(msgspec.Struct, frozen=True):
    """``POST /materialize``; the start says nothing here, for every row that is known counts."""

    end_ts: str
    start_ts: str | None = None
    feature_views: list[str] | None = None


class Metadata(msgspec.Struct, frozen=True):
    feature_names: list[str]


class Result(msgspec.Struct, frozen=True):
    """One feature for all entities."""

    values: list[Any]
    statuses: list[str]
    event_timestamps: list[datetime]


class OnlineFeatures(msgspec.Struct, frozen=True):
    """What ``/get-online-features`` answers: one result for each name, the keys first."""

    metadata: Metadata
    results: list[Result]


def online_features(asked: GetOnlineFeatures, answer: OnlineAnswer) -> OnlineFeatures:
    """Our answer as Feast writes it. A value without a time has that of 1970."""
    names = list(asked.entities)
    results = [Result(each, ["PRESENT"] * len(each), [EPOCH] * len(each)) for each in asked.entities.values()]
    for each in answer.features:
        times = answer.freshness[each.reference].event_times
        names.append(each.name)
        results.append(
            Result(
                [plain(value) for value in each.values],
                [STATUSES[status] for status in each.statuses],
                [EPOCH if time is None else time for time in times],
            )
        )
    return OnlineFeatures(Metadata(names), results)


def plain(value: Any) -> Any:
    """A value as Feast's JSON has it.

    >>> plain(float("nan")), plain(float("-inf")), plain(0.5), plain([1.0, float("inf")])
    ('NaN', '-Infinity', 0.5, [1.0, 'Infinity'])
    """
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def entities(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Entities one by one. Raises InvalidInput when the columns are not of one length."""
    if not columns:
        raise InvalidInput("no entities are given", hint='such as {"entities": {"driver_id": [1001]}}')
    if len({len(values) for values in columns.values()}) > 1:
        raise InvalidInput("the entities' lists are not of one length")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def rows(view: FeatureView, df: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Rows to push. Feast takes times without a zone for UTC."""
    times = {each.strip('"') for each in (view.event_time, view.available)}
    listed = entities(df) if df else []
    return [
        {name: _in_utc(value) if name in times else value for name, value in row.items()} for row in listed
    ]


def _in_utc(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return instant(value).isoformat()
    except InvalidInput:
        return value  # which is refused with the column's name


def instant(text: str) -> datetime:
    """A time as Feast's clients write it; without a zone it is UTC.

    >>> instant("2026-01-01T00:00:00").isoformat(), instant("2026-01-01T00:00:00Z").isoformat()
    ('2026-01-01T00:00:00+00:00', '2026-01-01T00:00:00+00:00')
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"'{text}' is not a time such as 2026-01-01T00:00:00") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
