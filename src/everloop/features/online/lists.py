"""Named lists of features: what one model takes, asked for by one name."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.domain.featureviews import FeatureName, OnDemandRecord, ViewRecord
from everloop.domain.online import FeatureList, FeatureListRecord, OnlineAnswer
from everloop.errors import NotFound, nearest
from everloop.features.online.at_hand import OnlineFeatures
from everloop.governance.audit import Definition, Governance
from everloop.governance.identity import Permission
from everloop.governance.operations import operation

KIND = "feature_list"


class ListedFeatures(OnlineFeatures):
    """The part of the features room that keeps lists of features."""

    if TYPE_CHECKING:  # the other parts

        def on_demand_views(self) -> list[OnDemandRecord]: ...

        def recorded(self, reference: str) -> ViewRecord | OnDemandRecord: ...

    def apply_lists(self, lists: Iterable[FeatureList]) -> list[FeatureListRecord]:
        """Record lists, bound to the newest versions of their views: what a list answers does not change when a view gets
        another version, until the list is recorded anew. Raises NotFound when a view or feature is not recorded."""
        recorded = []
        for each in lists:
            bound = msgspec.structs.replace(each, features=tuple(self._bound(text) for text in each.features))
            declaration = msgspec.to_builtins(bound)
            recorded.append(
                _record(self.context.room(Governance).record_definition(KIND, each.name, declaration))
            )
        return recorded

    def feature_lists(self) -> list[FeatureListRecord]:
        """The newest version of every list, by name."""
        return [_record(each) for each in self.context.room(Governance).definitions(KIND)]

    def feature_list(self, name: str) -> FeatureListRecord:
        """A list by its name."""
        lists = {each.name: each for each in self.feature_lists()}
        if name not in lists:
            raise NotFound(
                f"no feature list is called '{name}'",
                hint=nearest(name, lists)
                or "declare one with ev.feature_list(…), then: everloop features apply",
            )
        return lists[name]

    @operation(Permission.READ)
    def look_up_list(
        self, name: str, keys: list[dict[str, Any]], time: datetime | None = None, full_names: bool = False
    ) -> OnlineAnswer:
        """The features of a list from the online store: see `look_up`."""
        return self.look_up(list(self.feature_list(name).features), keys, time, full_names)

    def _bound(self, text: str) -> str:
        wanted = FeatureName.parse(text)
        record = self.recorded(f"{wanted.view}@v{wanted.version}" if wanted.version else wanted.view)
        known = (
            list(record.view.names)
            if isinstance(record, OnDemandRecord)
            else [each.name for each in record.view.features]
        )
        if wanted.feature and wanted.feature not in known:
            raise NotFound(
                f"feature view '{wanted.view}' has no feature '{wanted.feature}'",
                hint=nearest(wanted.feature, known) or f"it has {', '.join(known)}",
            )
        return f"{record.name}@v{record.version}" + (f":{wanted.feature}" if wanted.feature else "")


def _record(definition: Definition) -> FeatureListRecord:
    declared = msgspec.convert(definition.declaration, FeatureList)
    return FeatureListRecord(
        name=declared.name,
        version=definition.version,
        features=declared.features,
        created=definition.created,
    )
