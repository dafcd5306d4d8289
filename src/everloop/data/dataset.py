"""The handle on one version of a dataset: its files and rows, read from the object store without a checkout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from everloop.domain.checks import AnyCheck, CheckReport, Suite
from everloop.domain.consumption import note
from everloop.domain.dataset_diffs import DatasetDiff
from everloop.domain.datasets import Column, FileEntry, Manifest, VersionRecord
from everloop.errors import InvalidInput, NotFound, nearest

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    import pyarrow.dataset as pds

    from everloop.data.data import Data


class Dataset:
    """A version that can be read. Reading it is noted, so that a run or step that reads it is linked to it.

    Every byte is checked against its digest on the way. Get one with ``ev.data("flights@v3")``.
    """

    def __init__(self, room: Data, record: VersionRecord, manifest: Manifest) -> None:
        self._room = room
        self.record = record
        self.manifest = manifest

    def __repr__(self) -> str:
        rows = "" if self.rows is None else f", {self.rows} rows"
        return f"<Dataset {self.reference}: {self.record.files} files, {self.record.bytes} bytes{rows}>"

    @property
    def reference(self) -> str:
        return self.record.reference

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def version(self) -> int:
        return self.record.version

    @property
    def digest(self) -> str:
        return self.record.digest

    @property
    def rows(self) -> int | None:
        """Rows of the table, or None when the files are not one table."""
        return self.record.rows

    @property
    def schema(self) -> list[Column]:
        """Columns of the table; empty when the files are not one table."""
        return self.record.columns

    @property
    def created(self) -> datetime:
        return self.record.created

    def files(self) -> list[FileEntry]:
        """Its files, sorted by path."""
        return list(self.manifest.files)

    def open(self, path: str = "") -> BinaryIO:
        """A file as a seekable stream; the path may be left out when there is only one file."""
        note(self.reference)
        return self._room.contents.open(self._file(path))

    def scan(self) -> pds.Dataset:
        """The table as a `pyarrow.dataset.Dataset`: only the columns and rows that are asked for are fetched."""
        from everloop.data.tables.scanning import scan

        self._require_table()
        note(self.reference)
        return scan(self._room.contents, self.manifest.files)

    def to_arrow(self, columns: Sequence[str] | None = None, filter: Any = None) -> pa.Table:
        """The table, or some of it, in memory. Of Parquet that is not on this machine yet, only the bytes of the columns that are
        asked for, or that the filter names, are fetched.

        filter: an SQL condition (``"month = 1 and origin = 'JFK'"``) or a `pyarrow.dataset.Expression`.
        """
        from everloop.data.tables.native_parquet import offered
        from everloop.data.tables.scanning import connection, quoted, sql_errors

        columns = [columns] if isinstance(columns, str) else columns
        wanted = None if columns is None else list(columns)
        self._require_columns(wanted or ())
        source = self._pieces(wanted, filter) or self.scan()
        if not isinstance(filter, str):
            return source.to_table(columns=wanted, filter=filter)
        chosen = "*" if wanted is None else ", ".join(map(quoted, wanted))
        with connection() as con, sql_errors(f"the filter {filter!r}"), offered(con, {"source": source}):
            table = con.sql(f"select {chosen} from source where {filter}").to_arrow_table()
        return table.cast(_typed_as(table.schema, source.schema))

    def relation(
        self, con: duckdb.DuckDBPyConnection | None = None, columns: Sequence[str] | None = None
    ) -> duckdb.DuckDBPyRelation:
        """The table as a DuckDB relation, on the connection given or on a new one in UTC, which closes with the relation.

        columns: only these; of Parquet that is not on this machine yet, only their bytes are fetched, into memory.
        """
        from everloop.data.tables import native_parquet
        from everloop.data.tables.scanning import quoted

        columns = [columns] if isinstance(columns, str) else columns
        if con is None:
            import duckdb

            con = duckdb.connect()
            con.execute("set TimeZone = 'UTC'")
        self._require_columns(columns or ())
        if columns is None:
            return native_parquet.relation(con, self.scan())
        names = ", ".join(map(quoted, columns))
        pieces = self._pieces(list(columns), "")
        return native_parquet.relation(con, self.scan() if pieces is None else pieces).project(names)

    def _pieces(self, columns: list[str] | None, filter: Any) -> Any:
        """The columns that are needed, in memory or as what Arrow can read piece by piece, where that is less than the files."""
        from everloop.data.tables.scanning import scan_pieces

        if columns is None:
            return None
        # A condition can only name a column by spelling it; one that spells more than it means costs bytes, no more.
        said = str(filter).casefold() if filter is not None else ""
        named = {
            column.name for column in self.schema if column.name.casefold() in said or '"' in column.name
        }
        needed = [
            column.name
            for column in self.schema
            if column.name in columns or column.name in named or "columns(" in said
        ]
        if len(needed) == len(self.schema):
            return None
        source = scan_pieces(self._room.contents, self.manifest.files)
        if source is None:
            return None
        note(self.reference)
        return source.to_table(columns=needed) if isinstance(filter, str) else source

    def diff(self, other: str | Dataset, key: Sequence[str] = ()) -> DatasetDiff:
        """What differs from this version to another one: ``old.diff(new)``."""
        return self._room.diff(self.reference, other if isinstance(other, str) else other.reference, key=key)

    def check(self, checks: Suite | Iterable[AnyCheck] | None = None) -> CheckReport:
        """Check the table, by the dataset's contract when no checks are given; the verdict is recorded with the version."""
        return self._room.check(self.reference, checks)

    def _file(self, path: str) -> FileEntry:
        if not path and len(self.manifest.files) == 1:
            return self.manifest.files[0]
        if not path:
            raise InvalidInput(
                f"{self.reference} has {len(self.manifest.files)} files", hint="say which: open('…')"
            )
        for file in self.manifest.files:
            if file.path == path:
                return file
        known = [file.path for file in self.manifest.files]
        raise NotFound(f"{self.reference} has no file '{path}'", hint=nearest(path, known))

    def _require_table(self) -> None:
        if self.rows is None:
            raise InvalidInput(
                f"the files of {self.reference} are not one table", hint="read them one by one with open('…')"
            )

    def _require_columns(self, columns: Iterable[str]) -> None:
        self._require_table()
        known = [column.name for column in self.schema]
        for column in columns:
            if column not in known:
                raise InvalidInput(
                    f"{self.reference} has no column '{column}'",
                    hint=nearest(column, known) or f"it has {', '.join(known[:30])}",
                )


def _typed_as(got: pa.Schema, wanted: pa.Schema) -> pa.Schema:
    """The schema `got` with the types the file has: a way through DuckDB turns seconds to microseconds, say."""
    import pyarrow as pa

    return pa.schema([wanted.field(field.name) for field in got])
