"""The features room: views declared once, read as of a moment, kept at hand for serving, compared between the two."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from everloop.data.data import Data
from everloop.domain.featureviews import (
    FeatureName,
    FeatureView,
    Materialized,
    OnlineRow,
    ParityReport,
    ViewRecord,
)
from everloop.domain.references import Kind, Reference
from everloop.domain.times import require_zone
from everloop.errors import Conflict, InvalidInput, NotFound, nearest
from everloop.governance.audit import Definition, Governance
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.schema.features import materializations

KIND = "feature"


class Features(Room):
    """Feature views: what was known of an entity at a moment, the same for training and for serving."""

    name = "features"

    # Declarations

    def apply(self, views: Iterable[FeatureView]) -> list[ViewRecord]:
        """Record declarations. One that is recorded already keeps its version; a changed one gets the next."""
        governance = self.context.room(Governance)
        return [
            _record(governance.record_definition(KIND, view.name, msgspec.to_builtins(view)))
            for view in views
        ]

    def views(self) -> list[ViewRecord]:
        """The newest version of every view, by name."""
        return [_record(each) for each in self.context.room(Governance).definitions(KIND)]

    def view(self, reference: str) -> ViewRecord:
        """A view: its newest version when the reference names none."""
        wanted = Reference.parse(reference, Kind.FEATURE)
        return _record(self.context.room(Governance).definition(KIND, wanted.name, wanted.version))

    # History

    def prepare(
        self, features: Sequence[str], *, at: Mapping[str, int | str] | None = None, full_names: bool = False
    ) -> Any:
        """A reader of features, with the data it needs in memory: for asking many times. See `FeatureReader`.

        features: ``view:feature``, ``view@v2:feature``, or ``view`` for all of it. at: data versions by dataset (a number or a
        reference); datasets that are not named are read at their newest. full_names: columns are called ``view__feature``,
        else ``feature``.
        """
        from everloop.features.reader import FeatureReader

        selected = self._selected(features, full_names)
        room, pinned, tables = self.context.room(Data), dict(at or {}), {}
        sources = {name for each in selected for name in each.record.view.sources}
        unread = [name for name in pinned if name not in sources]
        if unread:
            raise InvalidInput(f"no feature here reads '{unread[0]}'", hint=nearest(unread[0], sources))
        for name in sorted(sources):
            version = pinned.get(name)
            tables[name] = room.dataset(f"{name}@v{version}" if isinstance(version, int) else version or name)
        references = {name: dataset.reference for name, dataset in tables.items()}
        return FeatureReader(selected, references, {name: dataset.scan() for name, dataset in tables.items()})

    def history(
        self,
        frame: Any,
        features: Sequence[str],
        *,
        time: str,
        at: Mapping[str, int | str] | None = None,
        full_names: bool = False,
    ) -> Any:
        """The frame (anything that speaks Arrow) with features as they were known at the instants in column `time`, as a
        `pyarrow.Table`: every row once, in order. Its schema's metadata say which versions were read. See `prepare`."""
        return self.prepare(features, at=at, full_names=full_names).history(frame, time=time)

    def _selected(self, features: Sequence[str], full_names: bool) -> list[Any]:
        from everloop.features.reader import Selected

        if isinstance(features, str) or not features:
            raise InvalidInput("no features are asked for", hint='features=["weather:temp", …]')
        records: dict[str, ViewRecord] = {}
        selected: list[Selected] = []
        for text in features:
            wanted = FeatureName.parse(text)
            reference = str(Reference(Kind.FEATURE, wanted.view, wanted.version))
            record = (
                records.setdefault(reference, self.view(reference))
                if reference not in records
                else records[reference]
            )
            listed = [each for each in record.view.features if wanted.feature in ("", each.name)]
            if not listed:
                known = [each.name for each in record.view.features]
                raise NotFound(
                    f"feature view '{wanted.view}' has no feature '{wanted.feature}'",
                    hint=nearest(wanted.feature, known) or f"it has {', '.join(known)}",
                )
            prefix = f"{wanted.view.replace('/', '_')}__" if full_names else ""
            selected += [Selected(record, each, prefix + each.name) for each in listed]
        columns = [each.column for each in selected]
        for column in columns:
            if columns.count(column) > 1:
                raise InvalidInput(f"two features are called '{column}'", hint="ask with full_names=True")
        return selected


def _record(definition: Definition) -> ViewRecord:
    return ViewRecord(
        reference=str(Reference(Kind.FEATURE, definition.name, definition.version)),
        name=definition.name,
        version=definition.version,
        digest=definition.digest,
        view=msgspec.convert(definition.declaration, FeatureView),
        created=definition.created,
    )
