"""What has come to a view's data since the online store was filled: for filling it without reading everything again.

A later version that has all files of an earlier one and more says of an entity what the earlier one said, unless a row of the new
files is newer. So where every row of the earlier version was known when the store was filled, only the new files are read.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from everloop.data.data import Data
from everloop.data.dataset import Dataset
from everloop.domain.datasets import Manifest
from everloop.domain.featureviews import FeatureView, ViewRecord

if TYPE_CHECKING:
    from everloop.features.history.reader import FeatureReader


class Filling(msgspec.Struct, frozen=True):
    """A filling of a view version, as its event tells it. waiting: rows that were to become known only later."""

    until: datetime
    sources: dict[str, str]
    waiting: int = -1


class Increment(msgspec.Struct, frozen=True):
    """Files that came since: the version that has them, and they themselves as one."""

    reference: str
    rows: Dataset | None

    def reader(self, record: ViewRecord) -> FeatureReader | None:
        """A reader of the new rows alone; None where there are none."""
        from everloop.features.history.reader import FeatureReader, Selected

        if self.rows is None:
            return None
        [source] = record.view.sources
        selected = [Selected(record, each, each.name) for each in record.view.features]
        return FeatureReader(selected, {source: self.reference}, {source: self.rows.scan()})


def is_by_row(view: FeatureView) -> bool:
    """Whether each row of a view is made of one row of its dataset."""
    return not view.sql and view.python is None


def increment(data: Data, view: FeatureView, last: Filling, wanted: str) -> Increment | None:
    """What `wanted`, a version of the view's one dataset, has more than the version that the last filling read. None where the
    answer may depend on more than that: then everything has to be read."""
    if not is_by_row(view) or view.aggregates or last.waiting != 0:
        return None
    now, before = data.version(wanted), data.version(last.sources[view.sources[0]])
    if now.reference == before.reference:
        return Increment(now.reference, None)
    old, new = set(data.manifest(before).files), set(data.manifest(now).files)
    if not old <= new or now.columns != before.columns or before.removed is not None:
        return None
    added = Manifest.of(new - old)
    if added.files and old and added.files[0].path < max(file.path for file in old):
        return None  # of equal rows the one that stands last in the data counts, and these would stand before others
    return Increment(now.reference, Dataset(data, now, added) if added.files else None)
