"""Finished parts of the prediction log go from journals into the object store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from everloop.domain.deployments import SegmentRecord
from everloop.errors import Conflict
from everloop.serving.predictions import Segment, counts_by_model, joined, parquet_bytes, spans
from everloop.store.journal import recover

if TYPE_CHECKING:
    from everloop.store.objects import Objects


def collect_segments(
    folder: Path,
    endpoint: str,
    objects: Objects,
    keep: Callable[[SegmentRecord], None],
    is_kept: Callable[[str], bool],
) -> list[SegmentRecord]:
    """Store every journal nobody writes any more, let `keep` record it, then remove it. A torn tail is cut first.

    The journal's identifier is what makes this idempotent: killed anywhere in between, the next call finishes the work.
    """
    brought = []
    for path in sorted(folder.glob("*.journal")):
        try:
            recover(path)
        except Conflict:  # its server is writing it
            continue
        if not is_kept(path.stem):
            table = without_repeats(joined([part.rows for part in Segment(path).parts()]))
            if table.num_rows:
                stored = objects.put(parquet_bytes(table))
                counts = counts_by_model(table)
                record = SegmentRecord(
                    path.stem, endpoint, stored.digest, stored.size, table.num_rows, *spans(table), counts
                )
                keep(record)
                brought.append(record)
        path.unlink(missing_ok=True)
    return brought


def without_repeats(table: pa.Table) -> pa.Table:
    """Each prediction of each arm once, the first: a caller that brings its own identifiers may have asked twice."""
    numbered = table.append_column("_row", pa.array(range(table.num_rows), pa.int64()))
    first = numbered.group_by(["prediction_id", "arm"]).aggregate([("_row", "min")])
    if first.num_rows == table.num_rows:
        return table
    return table.take(first["_row_min"].sort())


def rows_with(table: pa.Table, beginning: str) -> list[dict[str, Any]]:
    """The rows whose identifier begins so."""
    found: list[dict[str, Any]] = table.filter(pc.starts_with(table["prediction_id"], beginning)).to_pylist()
    return found
