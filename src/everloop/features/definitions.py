"""Declared views on their way into the ledger: versions, and what an on-demand view's inputs stand for."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from everloop.domain.featureviews import (
    FeatureName,
    FeatureView,
    OnDemandRecord,
    OnDemandView,
    ViewRecord,
    declaration,
)
from everloop.domain.references import Kind, Reference
from everloop.errors import Conflict, InvalidDefinition, InvalidInput, NotFound, nearest
from everloop.governance.audit import Definition, Governance
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room

KIND = "feature"

AnyView = FeatureView | OnDemandView
AnyRecord = ViewRecord | OnDemandRecord


class FeatureDefinitions(Room):
    """The part of the features room that keeps declarations. Old versions stay beside new ones for good."""

    def apply(self, views: Iterable[AnyView]) -> list[Any]:
        """Record declarations. One that is recorded already keeps its version; a changed one gets the next.

        Views on demand come after those that are stored: each of their inputs is pinned to the version of its view that is newest
        by then. They are proven to say of a row what that row alone says; raises InvalidDefinition when not.
        """
        governance = self.context.room(Governance)
        listed = list(views)
        self._require_one_kind(listed)
        for view in listed:
            if isinstance(view, OnDemandView):
                self._prove(view)
        done: dict[int, AnyRecord] = {}
        for number, view in sorted(enumerate(listed), key=lambda each: isinstance(each[1], OnDemandView)):
            if isinstance(view, OnDemandView):
                view = self.pinned(view)
            definition = governance.record_definition(KIND, view.name, _declaration(view))
            record = done[number] = _record(definition)
            if isinstance(record, OnDemandRecord) and record.view.inputs:
                self.link_inputs(record.reference)
        return [done[number] for number in range(len(listed))]

    def views(self) -> list[ViewRecord]:
        """The newest version of every stored view, by name."""
        return [each for each in self.recorded_views() if isinstance(each, ViewRecord)]

    def on_demand_views(self) -> list[OnDemandRecord]:
        """The newest version of every view on demand, by name."""
        return [each for each in self.recorded_views() if isinstance(each, OnDemandRecord)]

    def recorded_views(self) -> list[ViewRecord | OnDemandRecord]:
        """The newest version of every view of either kind, by name."""
        return [_record(each) for each in self.context.room(Governance).definitions(KIND)]

    def view(self, reference: str) -> ViewRecord:
        """A stored view: its newest version when the reference names none."""
        record = self.recorded(reference)
        if isinstance(record, OnDemandRecord):
            raise InvalidInput(
                f"'{record.name}' is computed on demand: nothing of it is stored",
                hint="ask for the views it is made of",
            )
        return record

    def on_demand(self, reference: str) -> OnDemandRecord:
        """A view on demand, as `view`."""
        record = self.recorded(reference)
        if isinstance(record, ViewRecord):
            raise InvalidInput(f"'{record.name}' is a stored view, not one on demand")
        return record

    def recorded(self, reference: str) -> ViewRecord | OnDemandRecord:
        """A view of either kind: its newest version when the reference names none."""
        wanted = Reference.parse(reference, Kind.FEATURE)
        return _record(self.context.room(Governance).definition(KIND, wanted.name, wanted.version))

    def comparable(self, feature: str, logged: Sequence[str]) -> list[str]:
        """Of a feature, or of all features of a view, those that a log with the columns `logged` can be held against: that were
        logged, with the keys, and the request fields, that they are computed from."""
        name = FeatureName.parse(feature)
        record = self.recorded(str(Reference(Kind.FEATURE, name.view, name.version)))
        needed = self._needed(record)
        known = (
            record.view.names
            if isinstance(record, OnDemandRecord)
            else [each.name for each in record.view.features]
        )
        if not needed <= set(logged):
            return []
        head = name.view if name.version is None else f"{name.view}@v{name.version}"
        return [f"{head}:{each}" for each in known if each in logged and name.feature in ("", each)]

    def _needed(self, record: AnyRecord) -> set[str]:
        """Columns that a view's features cannot be computed without: the keys of its entity, or of all that it is made from."""
        if isinstance(record, ViewRecord):
            return set(record.view.entity.keys)
        needed = {each.column for each in record.view.request}
        for each in record.view.inputs:
            name = FeatureName.parse(each.name)
            needed |= self._needed(self.recorded(str(Reference(Kind.FEATURE, name.view, name.version))))
        return needed

    def pinned(self, view: OnDemandView) -> OnDemandView:
        """The view with each input of a version that is recorded, the newest where it names none."""
        inputs = []
        for each in view.inputs:
            name = FeatureName.parse(each.name)
            what = f"on-demand view '{view.name}'"
            try:
                record = self.recorded(str(Reference(Kind.FEATURE, name.view, name.version)))
            except NotFound as error:
                raise InvalidDefinition(
                    f"{what}: {error.message}", hint=error.hint or "declare its view too"
                ) from None
            if isinstance(record, OnDemandRecord):
                raise InvalidDefinition(f"{what} has '{each.name}' as its input, which is on demand itself")
            known = [feature.name for feature in record.view.features]
            if name.feature not in known:
                raise InvalidDefinition(
                    f"{what}: feature view '{name.view}' has no feature '{name.feature}'",
                    hint=nearest(name.feature, known) or f"it has {', '.join(known)}",
                )
            pinned = f"{name.view}@v{record.version}:{name.feature}"
            inputs.append(msgspec.structs.replace(each, name=pinned))
        return msgspec.structs.replace(view, inputs=tuple(inputs))

    @operation(Permission.WRITE)
    def link_inputs(self, reference: str) -> list[str]:
        """Note in the lineage which stored views a view on demand is computed from. Returns their versions."""
        record = self.on_demand(reference)
        names = [FeatureName.parse(each.name) for each in record.view.inputs]
        views = list(dict.fromkeys(str(Reference(Kind.FEATURE, each.view, each.version)) for each in names))
        known = {
            source for source, _, _ in self.context.ledger.edges_of(record.reference, upward=True, depth=1)
        }
        if not known.issuperset(views):
            with self.change() as tx:
                for view in views:
                    tx.edge(view, record.reference, "input")
                tx.event("feature.linked", record.reference, {"inputs": views})
        return views

    def _require_one_kind(self, views: list[AnyView]) -> None:
        """A name is that of a stored view or of one on demand, for good."""
        kinds: dict[str, bool] = {
            each.name: isinstance(each, OnDemandRecord) for each in self.recorded_views()
        }
        seen: dict[str, AnyView] = {}
        for view in views:
            if seen.setdefault(view.name, view) != view:
                raise InvalidDefinition(
                    f"two feature views are called '{view.name}'", hint="name one otherwise"
                )
            if kinds.get(view.name, isinstance(view, OnDemandView)) != isinstance(view, OnDemandView):
                raise Conflict(
                    f"'{view.name}' is recorded as {'an on-demand' if kinds[view.name] else 'a stored'} view already",
                    hint="give the new one another name",
                )

    def _prove(self, view: OnDemandView) -> None:
        from everloop.features.on_demand.computing import OnDemand, prove

        prove(
            OnDemand(
                OnDemandRecord(
                    reference="",
                    name=view.name,
                    version=0,
                    digest="",
                    view=view,
                    created=self.context.clock(),
                )
            )
        )


def _declaration(view: AnyView) -> dict[str, Any]:
    told: dict[str, Any] = declaration(view) if isinstance(view, FeatureView) else msgspec.to_builtins(view)
    return told


def _record(definition: Definition) -> AnyRecord:
    fields: dict[str, Any] = {
        "reference": str(Reference(Kind.FEATURE, definition.name, definition.version)),
        "name": definition.name,
        "version": definition.version,
        "digest": definition.digest,
        "created": definition.created,
    }
    if "request" in definition.declaration:
        return OnDemandRecord(**fields, view=msgspec.convert(definition.declaration, OnDemandView))
    return ViewRecord(**fields, view=msgspec.convert(definition.declaration, FeatureView))
