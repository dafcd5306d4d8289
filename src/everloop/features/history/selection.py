"""From features as they are asked for to what has to be read and computed for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from everloop.domain.featureviews import Aggregate, Feature, FeatureName, OnDemandRecord, ViewRecord
from everloop.domain.references import Kind, Reference
from everloop.errors import InvalidInput, NotFound, nearest
from everloop.features.history.reader import Selected
from everloop.features.on_demand.composed import Computed
from everloop.features.on_demand.computing import OnDemand


class Asked(NamedTuple):
    """What was asked for.

    stored: features to read, also those that others are computed from. computed: features on demand. inputs: what a stored
    feature that is an input is called in what is read. columns: of the answer, in the order asked.
    """

    stored: list[Selected]
    computed: list[Computed]
    inputs: dict[str, str]
    columns: list[str]


def asked(
    features: Sequence[str],
    recorded: Callable[[str], ViewRecord | OnDemandRecord],
    *,
    full_names: bool = False,
) -> Asked:
    """Find each feature in its view. `recorded` looks a view up by its reference. Raises NotFound and InvalidInput."""
    if isinstance(features, str) or not features:
        raise InvalidInput("no features are asked for", hint='features=["weather:temp", …]')
    views: dict[str, ViewRecord | OnDemandRecord] = {}

    def view(name: FeatureName) -> ViewRecord | OnDemandRecord:
        reference = str(Reference(Kind.FEATURE, name.view, name.version))
        if reference not in views:
            views[reference] = recorded(reference)
        return views[reference]

    stored: list[Selected] = []
    computed: list[Computed] = []
    columns: list[str] = []
    ready: dict[str, OnDemand] = {}
    for text in features:
        wanted = FeatureName.parse(text)
        record = view(wanted)
        prefix = f"{wanted.view.replace('/', '_')}__" if full_names else ""
        if isinstance(record, OnDemandRecord):
            found = ready.setdefault(record.reference, OnDemand(record))
            names = _named(wanted, record.view.names)
            computed += [Computed(found, name, prefix + name) for name in names]
        else:
            names = _named(wanted, [each.name for each in record.view.features])
            stored += [Selected(record, _feature(record, name), prefix + name) for name in names]
        columns += [prefix + name for name in names]
    for column in columns:
        if columns.count(column) > 1:
            raise InvalidInput(f"two features are called '{column}'", hint="ask with full_names=True")
    inputs = dict.fromkeys(name for each in ready.values() for name in each.needs)
    return Asked(
        stored + _as_inputs(inputs, view), computed, {name: _input(name) for name in inputs}, columns
    )


def _as_inputs(
    names: dict[str, None], view: Callable[[FeatureName], ViewRecord | OnDemandRecord]
) -> list[Selected]:
    found = []
    for text in names:
        name = FeatureName.parse(text)
        record = view(name)
        assert isinstance(record, ViewRecord)  # what is on demand is never an input
        found.append(Selected(record, _feature(record, name.feature), _input(text)))
    return found


def _input(name: str) -> str:
    """What an input is called among what is read: a name that no feature can have, as none has a space in it."""
    return f"input {name}"


def _feature(record: ViewRecord, name: str) -> Feature | Aggregate:
    return next(each for each in record.view.features if each.name == name)


def _named(wanted: FeatureName, known: Sequence[str]) -> list[str]:
    found = [name for name in known if wanted.feature in ("", name)]
    if not found:
        raise NotFound(
            f"feature view '{wanted.view}' has no feature '{wanted.feature}'",
            hint=nearest(wanted.feature, known) or f"it has {', '.join(known)}",
        )
    return found
