"""Feature values kept at hand for serving: filled as of a moment, read by key."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from everloop.data.data import Data
from everloop.domain.featureviews import FeatureName, Materialized, OnDemandRecord, OnlineRow, ViewRecord
from everloop.domain.online import Filled, OnlineAnswer, OnlineView
from everloop.domain.references import Kind, Reference
from everloop.domain.times import from_micros, micros, require_zone
from everloop.errors import InvalidInput, NotFound
from everloop.features.increments import Filling, Increment, increment
from everloop.features.online.asking import OnlineReader, online_rows
from everloop.features.online.contract import NEVER, Held, Layout, OnlineStore, Packed
from everloop.governance.audit import Governance
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.schema.features import materializations

if TYPE_CHECKING:
    from everloop.domain.featureviews.changes import Work
    from everloop.features.history.reader import FeatureReader

READERS = 200
"""Questions whose names stay resolved."""


class Fill(msgspec.Struct, frozen=True):
    """What a filling says beside its rows. layout: None when it brings no rows. waiting: rows of the data that become known after
    `until`. complete: whether the rows are all there are, or those that came since the last filling."""

    sources: dict[str, str]
    until: datetime
    layout: Layout | None
    waiting: int
    complete: bool


class OnlineFeatures(Room):
    """The part of the features room that is about the online store."""

    if TYPE_CHECKING:  # the other half of the room

        def views(self) -> list[ViewRecord]: ...

        def view(self, reference: str) -> ViewRecord: ...

        def on_demand_views(self) -> list[OnDemandRecord]: ...

        def stored_reader(
            self, reference: str, *, at: Mapping[str, int | str] | None = None
        ) -> FeatureReader: ...

        def note_work(self, work: str, reference: str, rows: int, bytes: int, seconds: float) -> Work: ...

    # Filling

    def materialize(
        self, views: Sequence[str] = (), *, until: datetime, at: Mapping[str, int | str] | None = None
    ) -> list[Filled]:
        """Make the online store answer with the values of all entities as of `until`, one view after the other; all views when
        none is named. A view is exchanged all at once; entities whose values are as they were are not written, and values that
        were pushed after `until` stay."""
        moment = require_zone(until, "the moment until")
        written = []
        for view in views or [each.name for each in self.views()]:
            begun = monotonic()
            record = self.view(view)
            pinned = {name: version for name, version in (at or {}).items() if name in record.view.sources}
            came = self._came_since(record, moment, pinned)
            reader = self.stored_reader(record.reference, at=pinned) if came is None else came.reader(record)
            layout: Layout | None = None
            rows: list[Packed] = []
            waiting = 0
            if reader is not None:  # which there is unless nothing came
                layout, rows = reader.packed(record.reference, moment)
                waiting = reader.waiting(record.reference, moment)
            if came is not None:
                sources = {record.view.sources[0]: came.reference}
            else:
                assert reader is not None
                sources = {name: reader.sources[name] for name in record.view.sources}
            filling = Fill(sources, moment, layout, waiting, complete=came is None)
            kept = self._replace(record.reference, filling, rows)
            seconds = monotonic() - begun
            if came is None:
                self._note_whole(record.reference, sources, seconds)
            written.append(msgspec.structs.replace(kept, seconds=seconds))
        return written

    def _came_since(
        self, record: ViewRecord, moment: datetime, at: Mapping[str, int | str]
    ) -> Increment | None:
        """What came to the view's data since the store was filled with it; None when all of it has to be read."""
        events = self.context.room(Governance).log(
            subject=record.reference, actions=["features.materialized"], newest_first=True, limit=1
        )
        held = next((each for each in self.online_views() if each.reference == record.reference), None)
        if not events or held is None:
            return None
        last = msgspec.convert(events[0].payload, Filling)
        if last.until != held.until or last.until > moment or len(record.view.sources) != 1:
            return None
        [source] = record.view.sources
        wanted = at.get(source, source)
        version = f"{source}@v{wanted}" if isinstance(wanted, int) else wanted
        return increment(self.context.room(Data), record.view, last, version)

    def _note_whole(self, reference: str, sources: dict[str, str], seconds: float) -> None:
        """What reading everything took, for whoever wants to know what doing it again would."""
        versions = [self.context.room(Data).version(each) for each in sources.values()]
        rows, size = sum(each.rows or 0 for each in versions), sum(each.bytes for each in versions)
        self.note_work("materialize", reference, rows=rows, bytes=size, seconds=seconds)

    def _replace(self, reference: str, fill: Fill, rows: list[Packed]) -> Filled:
        if not self.context.remote:
            return self.fill_online(reference, fill, rows)
        # All entities of a view are too much for one message: they go by way of the object store.
        return self.fill_online(reference, fill, stored=self.objects.put(msgspec.msgpack.encode(rows)).digest)

    @operation(Permission.WRITE)
    def fill_online(
        self,
        reference: str,
        fill: Fill,
        rows: list[Packed] = [],  # noqa: B006  (msgspec copies it; nothing here changes it)
        stored: str = "",
    ) -> Filled:
        """Make the online store answer for a view version as of a moment. `materialize` computes the rows; `stored` names the
        object that has them when they are not in the message."""
        record = self.view(reference)
        if stored:
            rows = msgspec.msgpack.decode(self.objects.read(stored), type=list[Packed])
        layout = fill.layout or self._layout_of(record.reference)
        held = Held(record.reference, record.name, record.version, layout, micros(fill.until))
        changed = self._online.fill(held, rows, complete=fill.complete)
        done = Filled(
            reference=record.reference,
            until=fill.until,
            entities=changed.entities,
            sources=fill.sources,
            written=changed.written,
            removed=changed.removed,
        )
        facts = {"until": done.until, "entities": done.entities, "sources": done.sources}
        counts = {"written": done.written, "removed": done.removed, "waiting": fill.waiting}
        with self.change() as tx:
            tx.put(
                materializations, {"reference": record.reference, **facts, "time": tx.now, "user": tx.actor}
            )
            for source in fill.sources.values():
                tx.edge(source, record.reference, "materialized")
            tx.event("features.materialized", record.reference, {**facts, **counts})
        return done

    def _layout_of(self, reference: str) -> Layout:
        """How the rows of a view version are stored, for a filling that brings none."""
        for each in self._online.held():
            if each.reference == reference:
                return each.layout
        raise NotFound(f"the online store has no {reference}", hint="materialize it again")

    @operation(Permission.WRITE)
    def forget_online(self, view: str) -> bool:
        """Take a view version out of the online store: one that no model is served with any more. False when it is not there."""
        wanted = Reference.parse(view, Kind.FEATURE)
        record = self.view(str(wanted))
        dropped = self._online.drop(record.reference)
        with self.change() as tx:
            tx.execute(sa.delete(materializations).where(materializations.c.reference == record.reference))
            if dropped:
                tx.event("features.forgotten", record.reference, {})
        return dropped

    # Reading

    @operation(Permission.READ)
    def get(self, view: str, keys: list[dict[str, Any]], time: datetime | None = None) -> list[OnlineRow]:
        """Values of one view from the online store in the order of the keys, each with its age; `time` is now unless it is given.
        Values older than the view's time to live are null."""
        name, version = _named(view)
        moment = self.context.clock() if time is None else require_zone(time, "the time")
        return online_rows(self._online, name, version, keys, moment)

    @operation(Permission.READ)
    def look_up(
        self,
        features: list[str],
        keys: list[dict[str, Any]],
        time: datetime | None = None,
        full_names: bool = False,
    ) -> OnlineAnswer:
        """Features of several views at once from the online store, feature by feature, all as of one state of the store.

        features: ``view:feature``, ``view@v2:feature``, or ``view`` for all of it. full_names: they are called
        ``view__feature`` in the answer, else ``feature``.
        """
        reader = self._reader_of(tuple(features), full_names)
        try:
            return reader.get(keys, self.context.clock() if time is None else time)
        except NotFound:
            self._refuse_on_demand(features)
            raise

    def online(self, features: Sequence[str], *, full_names: bool = False) -> OnlineReader:
        """A reader of the online store beside this process, with the names resolved once: the quickest way to ask again and
        again. Raises NotFound where the online store is behind a server: ask by `look_up`."""
        if self.context.remote:
            raise NotFound("the online store is at the server", hint="use look_up")
        return OnlineReader(self._online, features, full_names=full_names)

    @operation(Permission.READ)
    def materialized(self) -> list[Materialized]:
        """The last materialisation of each view version."""
        columns = [materializations.c[name] for name in ("reference", "until", "entities", "sources")]
        with self.look() as look:
            rows = look.all(sa.select(*columns).order_by(materializations.c.reference))
        return [Materialized(**row._mapping) for row in rows]

    @operation(Permission.READ)
    def online_views(self) -> list[OnlineView]:
        """The view versions that the online store answers for."""
        return [
            OnlineView(
                reference=each.reference,
                features=list(each.layout.names),
                until=None if each.until == NEVER else from_micros(each.until),
            )
            for each in self._online.held()
        ]

    def _refuse_on_demand(self, features: Sequence[str]) -> None:
        """Raise InvalidInput where one of these is never in the store, because it is computed when it is asked for."""
        on_demand = {each.name: each for each in self.on_demand_views()}
        for text in features:
            record = on_demand.get(FeatureName.parse(text).view)
            if record is not None:
                inputs = ", ".join(each.name for each in record.view.inputs) or "nothing that is stored"
                raise InvalidInput(
                    f"'{record.name}' is computed when it is asked for, of {inputs}; the store has no such view",
                    hint="features.ask(…) and everloop features get compute it, POST /get-online-features if it is SQL",
                )

    def _reader_of(self, features: tuple[str, ...], full_names: bool) -> OnlineReader:
        asked = (features, full_names)
        reader = self._readers.get(asked)
        if reader is None:
            if len(self._readers) >= READERS:
                self._readers.clear()
            reader = self._readers[asked] = OnlineReader(self._online, features, full_names=full_names)
        return reader

    @cached_property
    def _readers(self) -> dict[tuple[tuple[str, ...], bool], OnlineReader]:
        return {}

    @cached_property
    def _online(self) -> OnlineStore:
        url = self.context.settings.online
        if url:
            from everloop.features.online.redis_store import RedisOnlineStore

            return RedisOnlineStore(url, self.context.settings.name)
        from everloop.features.online.sqlite_store import SqliteOnlineStore

        return SqliteOnlineStore(self.context.folder)


@lru_cache(READERS)
def _named(view: str) -> tuple[str, int | None]:
    wanted = Reference.parse(view, Kind.FEATURE)
    return wanted.name, wanted.version
