"""What differs between two versions of a view, and what bringing the new one about will cost."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import msgspec

from everloop.domain.featureviews.declaring import FeatureView
from everloop.domain.featureviews.on_demand import OnDemandView
from everloop.domain.profiles import ColumnProfile

AnyView = FeatureView | OnDemandView


class Change(msgspec.Struct, frozen=True):
    """One difference. what: ``feature`` or the name of a field of the view; name: of the feature. before, after: as declared,
    empty where there is nothing."""

    what: str
    name: str
    before: str
    after: str

    @property
    def sentence(self) -> str:
        """The difference for people.

        >>> Change("feature", "temp", "", "temp").sentence, Change("ttl", "", "3 h", "6 h").sentence
        ('feature temp added: temp', 'ttl: 3 h -> 6 h')
        """
        subject = f"{self.what} {self.name}".strip()
        if self.what == "feature" and not self.before:
            return f"{subject} added: {self.after}"
        if self.what == "feature" and not self.after:
            return f"{subject} removed: {self.before}"
        return f"{subject}: {self.before or 'none'} -> {self.after or 'none'}"


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """How long it took to compute a view version from `rows` rows, `bytes` bytes, of its datasets."""

    reference: str
    work: str
    rows: int
    bytes: int
    seconds: float


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What computing a view anew reads, and how long it will take by what such work took before.

    measured: how often that was, of this view or, where `same_view` is false, of others. seconds: None while it never was."""

    rows: int
    bytes: int
    seconds: float | None
    measured: int
    same_view: bool


class ViewPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What applying a declaration would do.

    reference: the version it would be; before: the newest one that is recorded, empty when there is none. changed: whether a new
    version comes of it. cost: of filling the online store with it; None for a view on demand, of which nothing is stored, and
    where its datasets are not there yet. absent: datasets it reads that are not there yet, so that it was not tried.
    """

    name: str
    reference: str
    before: str
    changed: bool
    changes: list[Change]
    cost: Cost | None
    absent: list[str] = []


class FeatureStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What the values of a view version are like over versions of its datasets: its features as they were known at `rows` moments
    at which something about an entity became known."""

    reference: str
    sources: dict[str, str]
    rows: int
    columns: list[ColumnProfile]


def changes(before: AnyView | None, after: AnyView) -> list[Change]:
    """The differences between two declarations, features first.

    >>> from everloop.domain.featureviews import entity, feature, feature_view
    >>> old = feature_view("v", entity=entity("e", keys=["k"]), source="d", event_time="t", features=["x"], ttl="3h")
    >>> new = feature_view("v", entity=entity("e", keys=["k"]), source="d", event_time="t", features=[feature("x", "x + 1")])
    >>> [each.sentence for each in changes(old, new)]
    ['feature x: x -> x + 1', 'ttl: 3:00:00 -> none']
    """
    mine, theirs = _features(before), _features(after)
    found = [
        Change("feature", name, mine.get(name, ""), theirs.get(name, ""))
        for name in {**mine, **theirs}
        if mine.get(name) != theirs.get(name)
    ]
    if before is None:
        return found
    for field in before.__struct_fields__:
        if field in ("name", "features", "outputs"):
            continue
        old, new = getattr(before, field, None), getattr(after, field, None)
        if old != new:
            found.append(Change(field, "", _shown(old), _shown(new)))
    return found


def estimate(rows: int, bytes: int, view: str, past: Sequence[Work]) -> Cost:
    """The cost of reading so many rows, by the usual time a row took before: of this view if it was ever computed.

    >>> done = Work(reference="feature:v@v1", work="materialize", rows=1000, bytes=1, seconds=2.0)
    >>> estimate(5000, 10, "v", [done]).seconds, estimate(5000, 10, "v", []).seconds
    (10.0, None)
    """
    usable = [each for each in past if each.rows]
    own = [each for each in usable if each.reference.removeprefix("feature:").rpartition("@")[0] == view]
    rates = [each.seconds / each.rows for each in own or usable]
    seconds = median(rates) * rows if rates else None
    return Cost(rows=rows, bytes=bytes, seconds=seconds, measured=len(rates), same_view=bool(own))


def _features(view: AnyView | None) -> dict[str, str]:
    if view is None:
        return {}
    told: dict[str, str] = {}
    for each in view.features:
        parts: dict[str, Any] = msgspec.to_builtins(each)
        if parts.pop("kind", "column") == "aggregate":
            least = f", at least {parts['min_count']}" if parts["min_count"] > 1 else ""
            by = " by event time" if parts["by"] == "event" else ""
            told[each.name] = (
                f"{parts['function']}({parts['expression']}) over {getattr(each, 'over', '')}{by}{least}"
            )
        else:
            told[each.name] = parts["expression"] + (f" ({parts['type']})" if parts["type"] else "")
    if isinstance(view, OnDemandView):
        told |= {each.name: f"{each.type}, by Python" for each in view.outputs}
    return told


def _shown(value: Any) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, str):
        return value
    if hasattr(value, "source"):  # recorded code: the whole of it would fill the page
        return f"{value.function} ({len(value.source.splitlines())} lines)"
    if isinstance(value, tuple):
        return ", ".join(f"{each.name} {each.type}" if hasattr(each, "type") else str(each) for each in value)
    if hasattr(value, "keys"):
        return f"{value.name} ({', '.join(value.keys)})"
    return str(value)
