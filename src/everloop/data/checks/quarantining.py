"""Rows that checks turn away: the parts of a version without them, and these rows as parts of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from everloop.data.incoming.sources import PARQUET, Part
from everloop.data.tables.scanning import table_of, with_partitions
from everloop.domain import partitions
from everloop.errors import InvalidInput

FAILED = "failed_checks"


def split(parts: list[Part], rejected: dict[int, list[str]]) -> tuple[list[Part], list[Part]]:
    """The parts without the rejected rows, and the rejected rows of each part that has any. A part without stays as it is."""
    good, bad, first = [], [], 0
    for part in parts:
        assert part.shape is not None
        schema, rows = part.shape
        names = [rejected.get(number) for number in range(first, first + rows)]
        first += rows
        if not any(names):
            good.append(part)
            continue
        table = part.source if isinstance(part.source, pa.Table) else incoming([part]).to_table()
        table = table.select(schema.names)
        mask = pa.array([each is None for each in names])
        path = str(Path(part.path).with_suffix(PARQUET))
        kept = table.filter(mask)
        if kept.num_rows:
            good.append(Part(path, kept, (schema, kept.num_rows)))
        aside = table.filter(pc.invert(mask)).append_column(
            FAILED, pa.array([each for each in names if each], pa.list_(pa.string()))
        )
        bad.append(Part(path, aside, (aside.schema, aside.num_rows)))
    return good, bad


def incoming(parts: list[Part]) -> Any:
    """All parts as one table in their order, which pyarrow and DuckDB can scan."""
    if isinstance(parts[0].source, pa.Table):
        return parts[0].source
    return table_of([(part.path, part.source.place) for part in parts])


def content_of(parts: list[Part], columns: list[str]) -> str | None:
    """The digest of all rows of parts that are one table with these columns; None when there are no parts."""
    from everloop.data.tables.row_digests import RowDigest

    spelled = partitions.columns_of(part.path for part in parts)
    files = [part for part in parts if not isinstance(part.source, pa.Table)]
    tables = [
        with_partitions(part.source, part.path, spelled).select(columns)
        for part in parts
        if isinstance(part.source, pa.Table)
    ]
    readers = [table.to_reader() for table in tables]
    if files:
        readers.append(incoming(files).scanner(columns=columns).to_reader())
    if not readers:
        return None
    digest = RowDigest(readers[0].schema)
    try:
        for reader in readers:
            for batch in reader:
                digest.add(batch)
    except (
        pa.ArrowInvalid,
        OSError,
    ) as error:  # its beginning and end are sound, something between them is not
        said = next(iter(str(error).splitlines()), "")
        raise InvalidInput(
            f"{files[0].path if len(files) == 1 else 'one of the files'} cannot be read to its end: {said}",
            hint="write it again; or keep its bytes as they are with --as-file (as_file=True)",
        ) from None
    return digest.hex
