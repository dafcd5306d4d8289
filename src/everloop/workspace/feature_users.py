"""Who uses a feature: models by their signatures, endpoints by their models, runs by what they read."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.domain.featureviews import FeatureName, OnDemandRecord, ViewRecord
from everloop.domain.references import Kind, Reference
from everloop.errors import NotFound, nearest

if TYPE_CHECKING:
    from everloop.workspace.workspace import Workspace


class ModelUse(msgspec.Struct, frozen=True, kw_only=True):
    """A model version that takes a feature. aliases: it goes by. pinned: whether it names the version of the view."""

    model: str
    aliases: list[str]
    feature: str
    pinned: bool


class Impact(msgspec.Struct, frozen=True, kw_only=True):
    """What a change of a feature, or of a view, would reach.

    feature: what was asked. models: of which it is an input, newest first. endpoints: where one of these answers or stands by.
    runs: that read the view. views: on demand, computed from it.
    """

    feature: str
    models: list[ModelUse]
    endpoints: list[str]
    runs: list[str]
    views: list[str]

    @property
    def used(self) -> bool:
        return bool(self.models or self.endpoints or self.runs or self.views)


class UnusedFeature(msgspec.Struct, frozen=True, kw_only=True):
    """A feature that no model takes and nothing is computed from. read: whether runs read its view at least."""

    feature: str
    read: bool


def impact(workspace: "Workspace", feature: str) -> Impact:
    """Models, endpoints, runs and views that use a feature (``weather:temp``), or any feature of a view (``weather``); of one
    version of the view, or of all."""
    asked = FeatureName.parse(feature)
    record = workspace.features.recorded(str(Reference(Kind.FEATURE, asked.view, asked.version)))
    known = _features(record)
    if asked.feature and asked.feature not in known:
        raise NotFound(
            f"feature view '{asked.view}' has no feature '{asked.feature}'",
            hint=nearest(asked.feature, known) or f"it has {', '.join(known)}",
        )
    computed = [
        each.reference
        for each in workspace.features.on_demand_views()
        if any(_meets(asked, FeatureName.parse(one.name), record.version) for one in each.view.inputs)
    ]
    # A model that takes what is computed from a feature takes the feature too.
    through = [FeatureName.parse(each.removeprefix("feature:")) for each in computed]
    models = _models(workspace, asked, record.version, through)
    names = {each.model for each in models}
    return Impact(
        feature=feature.removeprefix("feature:"),
        models=models,
        endpoints=[
            endpoint.name
            for endpoint in workspace.serving.endpoints()
            if any(arm.model in names for arm in endpoint.arms)
        ],
        runs=_runs(workspace, asked, record),
        views=computed,
    )


def unused(workspace: "Workspace") -> list[UnusedFeature]:
    """Features of the newest versions of all views that no model version takes, and no view on demand is computed from."""
    taken = [FeatureName.parse(text) for each in _versions(workspace) for text in each.model.features]
    on_demand = workspace.features.on_demand_views()
    taken += [FeatureName.parse(each.name) for view in on_demand for each in view.view.inputs]
    found = []
    for record in workspace.features.recorded_views():
        free = [
            name
            for name in _features(record)
            if not any(_meets(FeatureName(record.name, None, name), each, record.version) for each in taken)
        ]
        if free:
            read = bool(_runs(workspace, FeatureName(record.name), record))
            found += [UnusedFeature(feature=f"{record.name}:{name}", read=read) for name in free]
    return found


def _meets(asked: FeatureName, used: FeatureName, newest: int) -> bool:
    """Whether what is used is of what was asked. A use without a version is of the newest one."""
    return (
        used.view == asked.view
        and (asked.version is None or (used.version or newest) == asked.version)
        and (not asked.feature or not used.feature or used.feature == asked.feature)
    )


def _features(record: ViewRecord | OnDemandRecord) -> list[str]:
    if isinstance(record, OnDemandRecord):
        return list(record.view.names)
    return [each.name for each in record.view.features]


def _versions(workspace: "Workspace") -> Iterable[Any]:
    for model in workspace.registry.models():
        yield from workspace.registry.versions(model.name)


def _models(
    workspace: "Workspace", asked: FeatureName, newest: int, through: list[FeatureName]
) -> list[ModelUse]:
    found = []
    for version in _versions(workspace):
        for text in version.model.features:
            used = FeatureName.parse(text)
            if _meets(asked, used, newest) or any(_meets(each, used, each.version or 0) for each in through):
                found.append(
                    ModelUse(
                        model=f"model:{version.name}@v{version.version}",
                        aliases=list(version.aliases),
                        feature=text,
                        pinned=used.version is not None,
                    )
                )
                break
    return found


def _runs(workspace: "Workspace", asked: FeatureName, record: ViewRecord | OnDemandRecord) -> list[str]:
    versions = [asked.version] if asked.version is not None else range(record.version, 0, -1)
    found: dict[str, None] = {}
    for version in versions:
        why = workspace.provenance.why(f"feature:{asked.view}@v{version}")
        found |= {link.target: None for link in why.children if link.target.startswith("run:")}
    return list(found)
