"""The features room: views declared once, read as of a moment, kept at hand for serving, compared between the two."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.data.data import Data
from everloop.domain.featureviews import (
    FeatureName,
    FeatureView,
    ParityReport,
    ViewRecord,
)
from everloop.domain.references import Kind, Reference
from everloop.errors import InvalidInput, NotFound, nearest
from everloop.features.at_hand import OnlineFeatures
from everloop.governance.audit import Definition, Governance

if TYPE_CHECKING:
    from everloop.data.dataset import Dataset
    from everloop.features.reader import FeatureReader, Selected

KIND = "feature"


class Features(OnlineFeatures):
    """Feature views: what was known of an entity at a moment, the same for training and for serving."""

    name = "features"

    _compared_last: "tuple[object, FeatureReader] | None" = None
    """What `parity` read last, and the reader made of it."""

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
    ) -> "FeatureReader":
        """A reader of features, with the data it needs in memory: for asking many times. See `FeatureReader`.

        features: ``view:feature``, ``view@v2:feature``, or ``view`` for all of it. at: data versions by dataset (a number or a
        reference); datasets that are not named are read at their newest. full_names: columns are called ``view__feature``,
        else ``feature``.
        """
        selected = self._selected(features, full_names)
        return self._reader(selected, self._pinned(selected, at or {}))

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

    def _reader(self, selected: "Sequence[Selected]", datasets: "Mapping[str, Dataset]") -> "FeatureReader":
        from everloop.features.reader import FeatureReader

        references = {name: dataset.reference for name, dataset in datasets.items()}
        return FeatureReader(
            selected, references, {name: dataset.scan() for name, dataset in datasets.items()}
        )

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
        selected = self._selected(features, full_names=False)
        datasets = self._pinned(selected, at or {})
        asked = (
            *((each.record.reference, each.column) for each in selected),
            *(each.reference for each in datasets.values()),
        )
        held = self._compared_last
        if (
            held is None or held[0] != asked
        ):  # the days of a rollout are compared one by one, with the same history
            held = self._compared_last = (asked, self._reader(selected, datasets))
        return held[1].parity(logged, time=time, tolerance=tolerance)

    def _selected(self, features: Sequence[str], full_names: bool) -> "list[Selected]":
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
