"""Features by name, views as they are recorded, and what the online store answers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import msgspec

from everloop.domain.featureviews.declaring import FeatureView
from everloop.domain.references import Kind, Reference
from everloop.errors import InvalidReference


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


def as_read(features: Iterable[str], seen: Iterable[str]) -> tuple[str, ...]:
    """Features with the version of their view that was read (`seen`: references), where they name none and one was read.

    >>> read = ["data:flights@v2", "feature:weather@v3", "feature:recent@v1", "feature:recent@v2"]
    >>> as_read(["weather:temp", "recent", "other@v1"], read)
    ('weather@v3:temp', 'recent', 'other@v1')
    """
    versions: dict[str, set[int]] = {}
    for reference in seen:
        if reference.startswith(f"{Kind.FEATURE}:"):
            found = Reference.parse(reference, Kind.FEATURE)
            versions.setdefault(found.name, set()).add(found.version or 0)
    told = []
    for text in features:
        name = FeatureName.parse(text)
        read = versions.get(name.view, set()) - {0}
        if name.version is None and len(read) == 1:
            text = f"{name.view}@v{read.pop()}" + (f":{name.feature}" if name.feature else "")
        told.append(text)
    return tuple(told)


_LATER: dict[str, Any] = {"python": None}
_LATER_IN_FEATURES: dict[str, Any] = {"type": "", "by": "known"}
"""Fields that declarations did not have at first, with what they mean when they are not there."""


def declaration(view: FeatureView) -> dict[str, Any]:
    """A view as it is recorded. What the first declarations did not have is left out where it says nothing, so that a view keeps
    its version when Everloop learns to say more.

    >>> from everloop.domain.featureviews import entity, feature_view
    >>> view = feature_view("v", entity=entity("e", keys=["k"]), source="d", event_time="t", features=["x"])
    >>> declaration(view)["features"], "python" in declaration(view)
    ([{'kind': 'column', 'name': 'x', 'expression': 'x'}], False)
    """
    told: dict[str, Any] = msgspec.to_builtins(view)
    told["features"] = [_without(each, _LATER_IN_FEATURES) for each in told["features"]]
    return _without(told, _LATER)


def _without(told: dict[str, Any], silent: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name not in silent or value != silent[name]}


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
