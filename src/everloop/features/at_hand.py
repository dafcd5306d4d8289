"""Feature values kept at hand for serving: filled as of a moment, read by key."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from everloop.domain.featureviews import Materialized, OnlineRow, ViewRecord
from everloop.domain.references import Kind, Reference
from everloop.domain.times import require_zone
from everloop.features.online import Layout, OnlineStore, Packed
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.schema.features import materializations

if TYPE_CHECKING:
    from everloop.features.reader import FeatureReader


class OnlineFeatures(Room):
    """The part of the features room that is about the online store."""

    if TYPE_CHECKING:  # the other half of the room

        def views(self) -> list[ViewRecord]: ...

        def view(self, reference: str) -> ViewRecord: ...

        def prepare(
            self,
            features: Sequence[str],
            *,
            at: Mapping[str, int | str] | None = None,
            full_names: bool = False,
        ) -> FeatureReader: ...

    def materialize(
        self, views: Sequence[str] = (), *, until: datetime, at: Mapping[str, int | str] | None = None
    ) -> list[Materialized]:
        """Put the values of all entities as of `until` into the online store, one view after the other; all views when none is
        named. Each takes the place of what was there at once."""
        moment = require_zone(until, "the moment until")
        written = []
        for view in views or [each.name for each in self.views()]:
            begun = monotonic()
            record = self.view(view)
            pinned = {name: version for name, version in (at or {}).items() if name in record.view.sources}
            reader = self.prepare([record.reference.removeprefix("feature:")], at=pinned)
            layout, rows = reader.packed(record.reference, moment)
            kept = self.replace_online(record.reference, layout, moment, rows)
            written.append(msgspec.structs.replace(kept, seconds=monotonic() - begun))
        return written

    @operation(Permission.WRITE)
    def replace_online(
        self, reference: str, layout: Layout, until: datetime, rows: list[Packed]
    ) -> Materialized:
        """Replace what the online store has of a view version. `materialize` computes the rows."""
        record = self.view(reference)
        self._online.replace(record.reference, record.name, record.version, layout, until, rows)
        written = Materialized(
            reference=record.reference, until=until, entities=len(rows), sources=layout.sources
        )
        with self.change() as tx:
            facts = msgspec.structs.asdict(written)
            del facts["seconds"]
            tx.put(materializations, {**facts, "time": tx.now, "user": tx.actor})
            for source in layout.sources.values():
                tx.edge(source, record.reference, "materialized")
            tx.event(
                "features.materialized",
                record.reference,
                {"until": until, "entities": len(rows), "sources": layout.sources},
            )
        return written

    @operation(Permission.READ)
    def get(self, view: str, keys: list[dict[str, Any]], time: datetime | None = None) -> list[OnlineRow]:
        """Values from the online store in the order of the keys, each with its age; `time` is now unless it is given. Values
        older than the view's time to live are null."""
        wanted = Reference.parse(view, Kind.FEATURE)
        moment = self.context.clock() if time is None else require_zone(time, "the time")
        return self._online.get(wanted.name, wanted.version, keys, moment)

    @operation(Permission.READ)
    def materialized(self) -> list[Materialized]:
        """What the online store holds, by view version."""
        columns = [materializations.c[name] for name in ("reference", "until", "entities", "sources")]
        with self.look() as look:
            rows = look.all(sa.select(*columns).order_by(materializations.c.reference))
        return [Materialized(**row._mapping) for row in rows]

    @cached_property
    def _online(self) -> OnlineStore:
        return OnlineStore(self.context.folder)
