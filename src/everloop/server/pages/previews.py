"""A few rows of a table: of the files before them only their counts are read, and of their own file what comes before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from everloop.data.dataset import Dataset
from everloop.data.tables.parquet import PARQUET
from everloop.data.tables.scanning import scan
from everloop.domain import partitions
from everloop.workspace.workspace import Workspace

ROWS = 50
AT_ONCE = 4096


def rows(workspace: Workspace, dataset: Dataset, first: int) -> list[list[Any]]:
    """Rows of a table from row `first` on, `ROWS` at most."""
    found: list[list[Any]] = []
    skip = first
    for table in _pieces(workspace, dataset):
        count = table.count_rows()
        if skip >= count:
            skip -= count
            continue
        for batch in table.to_batches(batch_size=AT_ONCE, batch_readahead=1, fragment_readahead=1):
            if skip >= batch.num_rows:
                skip -= batch.num_rows
                continue
            part = batch.slice(skip, ROWS - len(found))
            found += [list(row.values()) for row in part.to_pylist()]
            skip = 0
            if len(found) >= ROWS:
                return found
    return found


def _pieces(workspace: Workspace, dataset: Dataset) -> Iterator[Any]:
    """The table file by file. Files that only together say what they are (folders that spell columns, CSV, JSON) come as one."""
    files = dataset.files()
    alone = all(file.path.lower().endswith(PARQUET) for file in files)
    if alone and not partitions.columns_of(file.path for file in files):
        for file in files:
            yield scan(workspace.data.contents, [file])
    else:
        yield from dataset.scan().get_fragments()
