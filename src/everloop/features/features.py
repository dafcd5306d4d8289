"""The features room: views declared once, read as of a moment, kept at hand for serving, compared between the two."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from everloop.data.data import Data
from everloop.domain.featureviews import ParityReport
from everloop.errors import InvalidInput, nearest
from everloop.features.definitions import FeatureDefinitions
from everloop.features.online.pushing import PushedFeatures
from everloop.features.online.served import ServedFeatures
from everloop.features.plans import FeaturePlans
from everloop.features.records import FeatureRecords

if TYPE_CHECKING:
    from everloop.data.dataset import Dataset
    from everloop.features.history.reader import FeatureReader, Selected
    from everloop.features.history.selection import Asked
    from everloop.features.history.span import Span
    from everloop.features.on_demand.composed import ComposedReader

    AnyReader = FeatureReader | ComposedReader


class Features(FeatureDefinitions, FeaturePlans, FeatureRecords, PushedFeatures, ServedFeatures):
    """Feature views: what was known of an entity at a moment, the same for training and for serving."""

    name = "features"

    # History

    def prepare(
        self,
        features: Sequence[str],
        *,
        at: Mapping[str, int | str] | None = None,
        full_names: bool = False,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> "AnyReader":
        """A reader of features, with the data it needs in memory: for asking many times. See `FeatureReader`.

        features: ``view:feature``, ``view@v2:feature``, or ``view`` for all of it. at: data versions by dataset (a number or a
        reference); datasets that are not named are read at their newest. full_names: columns are called ``view__feature``,
        else ``feature``. since, until: the first and the last instant that will be asked about, where that is known: what
        cannot count at any of them is not read.
        """
        from everloop.features.history.span import Span

        asked = self._asked(features, full_names)
        within = Span.between(since, until) if since or until else None
        return self._reader(asked, self._pinned(asked.stored, at or {}), within)

    def stored_reader(self, reference: str, *, at: Mapping[str, int | str] | None = None) -> "FeatureReader":
        """A reader of all features of one stored view; data versions as in `prepare`."""
        record = self.view(reference)
        asked = self._asked([record.reference.removeprefix("feature:")], full_names=False)
        return self._stored(asked, self._pinned(asked.stored, at or {}))

    def _pinned(self, selected: "Sequence[Selected]", at: Mapping[str, int | str]) -> "dict[str, Dataset]":
        """The version of each dataset that the features are read from."""
        room, pinned, datasets = self.context.room(Data), dict(at), {}
        sources = {name for each in selected for name in each.record.view.sources}
        unread = [name for name in pinned if name not in sources]
        if unread:
            raise InvalidInput(f"no feature here reads '{unread[0]}'", hint=nearest(unread[0], sources))
        for name in sorted(sources):
            version = pinned.get(name)
            datasets[name] = room.dataset(
                f"{name}@v{version}" if isinstance(version, int) else version or name
            )
        return datasets

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
        `pyarrow.Table`: every row once, in order. Its schema's metadata say which versions were read. See `prepare`.

        Only the rows are read that can count at an instant of the frame."""
        from everloop.data.tables.parquet import arrow_table

        asked, table = self._asked(features, full_names), arrow_table(frame)
        reader = self._reader(asked, self._pinned(asked.stored, at or {}), self._span(asked, table, time))
        return reader.history(table, time=time)

    def parity(
        self,
        logged: Any,
        features: Sequence[str],
        *,
        time: str,
        at: Mapping[str, int | str] | None = None,
        tolerance: float | None = None,
    ) -> ParityReport:
        """Compare logged features (a table with keys, instants and features) with those recomputed from history."""
        from everloop.data.tables.parquet import arrow_table
        from everloop.features.parity.moments import EARLIER, LATER

        asked, table = self._asked(features, full_names=False), arrow_table(logged)
        span = self._span(asked, table, time)
        near = span and span.widened(back=EARLIER, ahead=LATER)
        reader = self._reader(asked, self._pinned(asked.stored, at or {}), near)
        return reader.parity(table, time=time, tolerance=tolerance)

    def _span(self, asked: "Asked", table: Any, time: str) -> "Span | None":
        """The instants asked about, where stored features are."""
        from everloop.features.history.reader import asked_about

        return asked_about(table, time) if asked.stored else None

    def _reader(
        self, asked: "Asked", datasets: "Mapping[str, Dataset]", within: "Span | None" = None
    ) -> "AnyReader":
        from everloop.features.on_demand.composed import ComposedReader

        stored = self._stored(asked, datasets, within) if asked.stored else None
        if stored is not None and not asked.computed:
            return stored
        return ComposedReader(stored, asked.computed, asked.inputs, asked.columns)

    def _stored(
        self, asked: "Asked", datasets: "Mapping[str, Dataset]", within: "Span | None" = None
    ) -> "FeatureReader":
        from everloop.features.history.reader import FeatureReader

        references = {name: dataset.reference for name, dataset in datasets.items()}
        tables = {name: each.scan() for name, each in datasets.items()}
        return FeatureReader(asked.stored, references, tables, within)

    def _asked(self, features: Sequence[str], full_names: bool) -> "Asked":
        from everloop.features.history.selection import asked

        return asked(features, self.recorded, full_names=full_names)
