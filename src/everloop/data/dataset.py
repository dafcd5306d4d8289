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
        from everloop.data.scanning import scan

        self._require_table()
        note(self.reference)
        return scan(self._room.contents, self.manifest.files)

    def to_arrow(self, columns: Sequence[str] | None = None, filter: Any = None) -> pa.Table:
        """The table, or some of it, in memory.

        filter: an SQL condition (``"month = 1 and origin = 'JFK'"``) or a `pyarrow.dataset.Expression`.
        """
        from everloop.data.scanning import connection, quoted, sql_errors

        self._require_columns(columns or ())
        source = self.scan()
        if not isinstance(filter, str):
            return source.to_table(columns=None if columns is None else list(columns), filter=filter)
        wanted = "*" if columns is None else ", ".join(map(quoted, columns))
        with connection() as con, sql_errors(f"the filter {filter!r}"):
            con.register("source", source)
            table = con.sql(f"select {wanted} from source where {filter}").to_arrow_table()
        return table.cast(_typed_as(table.schema, source.schema))

    def relation(self, con: duckdb.DuckDBPyConnection | None = None) -> duckdb.DuckDBPyRelation:
        """The table as a DuckDB relation, on the connection given or on a new one in UTC, which closes with the relation."""
        if con is None:
            import duckdb

            con = duckdb.connect()
            con.execute("set TimeZone = 'UTC'")
        return con.from_arrow(self.scan())

    def diff(self, other: str | Dataset, key: Sequence[str] = ()) -> DatasetDiff:
        """What differs from this version to another one: ``old.diff(new)``."""
        return self._room.diff(self.reference, other if isinstance(other, str) else other.reference, key=key)

    def check(self, checks: Suite | Iterable[AnyCheck]) -> CheckReport:
        """Check the table; the verdict is recorded with the version."""
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
