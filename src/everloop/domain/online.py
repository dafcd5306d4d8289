"""Feature values at hand for serving, as values: what a question is answered with, and what filling and pushing did."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from everloop.domain.featureviews import FeatureName, Materialized
from everloop.domain.names import checked_name
from everloop.errors import InvalidDefinition

Status = Literal["present", "null", "unknown", "expired"]
"""Of one value: there; there and null; of an entity nobody heard of; older than the view's time to live, so null."""


class OnlineValues(msgspec.Struct, frozen=True, kw_only=True):
    """One feature for the entities asked for, in their order. name: what it is called in the answer. reference: the view version
    that answered."""

    name: str
    reference: str
    values: list[Any]
    statuses: list[Status]


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """How old the values of a view are, entity by entity; None for unknown ones.

    event_times: of the rows that columns are from, or when aggregates were computed where the view has nothing else. ages:
    seconds from there to the asked time. staleness: seconds from the moment the values are as of: the last materialisation, or
    the push that brought them.
    """

    event_times: list[datetime | None]
    ages: list[float | None]
    staleness: list[float | None]


class OnlineAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Features of several entities, feature by feature, all as of one state of the store. freshness: by view version."""

    time: datetime
    entities: int
    features: list[OnlineValues]
    freshness: dict[str, Freshness]

    def columns(self) -> dict[str, list[Any]]:
        """The values by name, such as a model takes them."""
        return {each.name: each.values for each in self.features}


class Filled(Materialized, frozen=True, kw_only=True):
    """What a materialisation did: `written` rows were new or other than before, `removed` are gone, the rest stayed as it was."""

    written: int = 0
    removed: int = 0


class OnlineView(msgspec.Struct, frozen=True, kw_only=True):
    """A view version in the online store. until: of its last materialisation; None when it was only pushed to."""

    reference: str
    features: list[str]
    until: datetime | None


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    """What a push did.

    data: the dataset version that has the rows now, for history. unchanged: it had them before: a push that came again.
    rows: how many came. applied: rows that the online store answers with now. older: rows that are older than what it has, or
    the same. waiting: rows that become known later than now, by the view's own rule: the next materialisation brings them.
    left: other view versions over the same data that have to be materialised to show it, for they have a query of their own.
    """

    reference: str
    data: str
    unchanged: bool
    rows: int
    applied: int
    older: int
    waiting: int
    left: list[str] = []


class FeatureList(msgspec.Struct, frozen=True):
    """A named list of features, such as what one model takes: ``weather:temp``, ``weather@v2:temp``, or ``weather`` for all."""

    name: str
    features: tuple[str, ...]


class FeatureListRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded list. `features` name the view versions that were newest when it was recorded, so that what a model is fed does
    not change under it."""

    name: str
    version: int
    features: tuple[str, ...]
    created: datetime


def feature_list(name: str, features: list[str] | tuple[str, ...]) -> FeatureList:
    """Declare a named list of features.

    >>> feature_list("delay", ["weather:temp", "recent"]).features
    ('weather:temp', 'recent')
    """
    if isinstance(features, str) or not features:
        raise InvalidDefinition(
            f"feature list '{name}' has no features", hint='features=["weather:temp", "recent"]'
        )
    for each in features:
        FeatureName.parse(each)
    return FeatureList(checked_name(name, "feature list name", folders=True), tuple(features))
