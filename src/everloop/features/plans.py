"""What applying declarations would do, before it is done: changes, and the cost of a backfill."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.data.data import Data
from everloop.domain.featureviews import (
    FeatureView,
    OnDemandRecord,
    OnDemandView,
    ViewRecord,
    declaration,
)
from everloop.domain.featureviews.changes import Cost, ViewPlan, Work, changes, estimate
from everloop.errors import InvalidInput, NotFound
from everloop.features.definitions import AnyView
from everloop.governance.rooms import Room

if TYPE_CHECKING:
    from everloop.data.dataset import Dataset


class FeaturePlans(Room):
    """The part of the features room that looks ahead."""

    if TYPE_CHECKING:  # the other parts

        def past_work(self, limit: int = 200) -> list[Work]: ...

        def pinned(self, view: OnDemandView) -> OnDemandView: ...

        def recorded_views(self) -> list[ViewRecord | OnDemandRecord]: ...

    def plan(self, views: Iterable[AnyView]) -> list[ViewPlan]:
        """What `apply` would make of these declarations, and what filling the online store with those that change would cost.

        Each view that changes is tried on the first rows of its datasets, where these are there: raises InvalidInput naming view
        and feature."""
        # As they will be read from the ledger, whatever class they were declared with.
        listed = [
            msgspec.convert(declaration(each), FeatureView) if isinstance(each, FeatureView) else each
            for each in views
        ]
        known = {each.name: each for each in self.recorded_views()}
        changing = {
            each.name
            for each in listed
            if isinstance(each, FeatureView) and (each.name not in known or known[each.name].view != each)
        }
        past = self.past_work()
        return [self._planned(each, known.get(each.name), changing, past) for each in listed]

    def backfill_cost(self, view: FeatureView) -> Cost | None:
        """What computing a view anew reads and takes, by what such work took before; None where its datasets are not there."""
        datasets = self._datasets(view)
        return None if datasets is None else _cost(view, datasets, self.past_work())

    def _planned(
        self, view: AnyView, record: ViewRecord | OnDemandRecord | None, changing: set[str], past: list[Work]
    ) -> ViewPlan:
        cost, absent = None, []
        if isinstance(view, OnDemandView):
            # An input without a version is of the version that its view will have by then.
            stale = any(each.name.rpartition(":")[0].partition("@")[0] in changing for each in view.inputs)
            pinned = view if stale else self.pinned(view)
            changed = record is None or stale or record.view != pinned
            view = pinned
        else:
            changed = record is None or view.name in changing
            datasets = self._datasets(view) if changed else None
            if datasets is not None:
                _try(view, datasets)
                cost = _cost(view, datasets, past)
            elif changed:
                absent = self._absent(view)
        before = record.version if record is not None else 0
        return ViewPlan(
            name=view.name,
            reference=f"feature:{view.name}@v{before + changed}",
            before=record.reference if record is not None else "",
            changed=changed,
            changes=changes(record.view if record is not None else None, view) if changed else [],
            cost=cost,
            absent=absent,
        )

    def _datasets(self, view: FeatureView) -> "dict[str, Dataset] | None":
        room = self.context.room(Data)
        try:
            return {name: room.dataset(name) for name in view.sources}
        except NotFound:
            return None

    def _absent(self, view: FeatureView) -> list[str]:
        room = self.context.room(Data)
        absent = []
        for name in view.sources:
            try:
                room.dataset(name)
            except NotFound:
                absent.append(name)
        return absent


def _cost(view: FeatureView, datasets: "dict[str, Dataset]", past: list[Work]) -> Cost:
    rows = sum(each.rows or 0 for each in datasets.values())
    size = sum(each.record.bytes for each in datasets.values())
    return estimate(rows, size, view.name, past)


def _try(view: FeatureView, datasets: "dict[str, Dataset]") -> None:
    """Compute a view over no rows at all, or, where Python or SQL of the user makes its rows, over the first few."""
    from everloop.data.tables.scanning import connection
    from everloop.features.history.rows import compute_rows

    tables: dict[str, Any] = {}
    for name, dataset in datasets.items():
        if dataset.rows is None:
            raise InvalidInput(
                f"feature view '{view.name}': the files of {dataset.reference} are not one table"
            )
        tables[name] = dataset.scan().head(0 if view.row_by_row else 1000)
    with connection() as con:
        compute_rows(con, view, tables)
