"""Making a version: list, check, store, record; whole or not at all."""

from __future__ import annotations

from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from everloop.data import tables
from everloop.data.checking import Examination
from everloop.data.checkouts import Checkouts
from everloop.data.csv_files import PARSING
from everloop.data.folders import Found, list_files, require_source, require_unchanged
from everloop.data.scanning import connection, scan
from everloop.domain.checks import CheckReport
from everloop.domain.contracts import Terms
from everloop.domain.datasets import (
    Added,
    Column,
    FileEntry,
    Manifest,
    NewVersion,
    VersionRecord,
    checked_path,
    diff_columns,
    quarantine_of,
)
from everloop.errors import Conflict, InvalidInput, Refused

if TYPE_CHECKING:
    from everloop.data.data import Data
    from everloop.store.objects import Writer

FAILED = "failed_checks"
ATTEMPTS = 5


class _Part(NamedTuple):
    """One file to be: its bytes come from a table or, as they are, from a file. `shape` is its schema and rows, if a table."""

    path: str
    source: Found | pa.Table
    shape: tuple[pa.Schema, int] | None


class _Shape(NamedTuple):
    """What the files of a version are as one table; rows None when they are none."""

    columns: list[Column]
    rows: int | None


class Addition:
    """One `data add`. Others may add to the same dataset at the same time: then it is done again on top of theirs."""

    def __init__(
        self,
        room: Data,
        source: Any,
        name: str,
        *,
        message: str,
        append: bool,
        terms: Terms,
        file: str,
        as_file: bool,
        producer: str | None,
    ) -> None:
        self._room = room
        self._source = source
        self._name = name
        self._message = message
        self._append = append
        self._terms = terms
        self._file = file
        self._as_file = as_file
        self._producer = producer
        self._new_bytes = 0

    def run(self) -> Added:
        # Before the first look at the ledger, which would make a workspace: a file that cannot be read leaves nothing behind.
        self._given = self._file_parts() if isinstance(self._source, str | Path) else []
        for attempt in range(ATTEMPTS):
            parent = self._room.newest(self._name)
            versions, report, rejected = self._store(parent)
            try:
                recorded = self._room.record(versions)
            except Conflict:
                if attempt + 1 == ATTEMPTS:
                    raise
                continue
            return self._answer(parent, recorded, report, rejected)
        raise AssertionError("the last attempt returns or raises")

    def _store(self, parent: VersionRecord | None) -> tuple[list[NewVersion], CheckReport | None, int]:
        """Check and store everything; nothing is in the store when this raises. Returns the versions to record, the good one
        first, the report, and how many rows were rejected."""
        base = self._room.manifest(parent) if parent is not None and self._append else Manifest(())
        parts = self._parts(base)
        shape = self._shape(parts)
        report, rejected = self._examine(parts, shape, base)
        good, bad = _split(parts, rejected)
        with self._room.objects.writer() as writer:
            stored, new_bytes = self._write(writer, good)
            manifest = self._combined(base, stored)
            new_paths = {file.path for file in manifest.files} - {file.path for file in base.files}
            listing = writer.add(manifest.encode())
            versions = [
                NewVersion(
                    name=self._name,
                    digest=listing.digest,
                    new_bytes=new_bytes + listing.new_bytes,
                    **self._table_facts(parent, shape, [part for part in good if part.path in new_paths]),
                    parent=parent.version if parent else 0,
                    appended=self._append and parent is not None,
                    producer=self._producer,
                    message=self._message,
                    report=report,
                )
            ]
            if bad:
                versions.append(self._quarantine(writer, bad))
            require_unchanged([part.source for part in parts if isinstance(part.source, Found)])
        self._new_bytes += versions[0].new_bytes
        return versions, report, len(rejected)

    # What comes in

    def _parts(self, base: Manifest) -> list[_Part]:
        if tables.is_arrow(self._source):
            if self._as_file:
                raise InvalidInput("a table in memory is no file", hint="leave as_file out")
            table = tables.arrow_table(self._source)
            # A reader or relation can be read only once: what another attempt needs is the table.
            self._source = table
            path = checked_path(self._file) if self._file else self._part_name(table, base)
            if not path.endswith(tables.PARQUET):
                raise InvalidInput(f"a table is kept as Parquet, so '{path}' should end in .parquet")
            return [_Part(path, table, (table.schema, table.num_rows))]
        if not isinstance(self._source, str | Path):
            raise InvalidInput(
                f"a {type(self._source).__name__} cannot be added",
                hint="give a path, or a table of pyarrow, DuckDB, pandas or polars",
            )
        return self._given

    def _file_parts(self) -> list[_Part]:
        """The file or the files of the folder that is to be added, each looked into, unless it is to be kept unread."""
        require_source(Path(self._source))
        files = list_files(Path(self._source))
        if self._file:
            if len(files) > 1:
                raise InvalidInput("a folder keeps the names of its files", hint="leave file=… out")
            files = [files[0]._replace(path=checked_path(self._file))]
        parts = []
        for file in files:
            _require_readable(file)
            shape = None if self._as_file else tables.inspect(file.path, file.source)
            parts.append(_Part(file.path, file, shape))
        return parts

    def _part_name(self, table: pa.Table, base: Manifest) -> str:
        """A number, so that parts stand in the order they came, and the beginning of a digest, so that the same table is known
        when it comes again, whatever the checks take out of it."""
        with tables.as_parquet(table, self._room.context.folder) as stream:
            digest = file_digest(stream, "sha256").hexdigest()[:12]
        for file in base.files:
            if file.path.endswith(f"-{digest}.parquet"):
                return file.path
        return f"part-{len(base.files):05d}-{digest}.parquet"

    def _shape(self, parts: list[_Part]) -> _Shape:
        if any(part.shape is None for part in parts):
            return _Shape([], None)
        endings = {Path(part.path).suffix.lower() for part in parts}
        shapes = [part.shape for part in parts if part.shape is not None]
        if len(endings) > 1 or any(not schema.equals(shapes[0][0]) for schema, _ in shapes[1:]):
            return _Shape([], None)
        return _Shape(tables.columns_of(shapes[0][0]), sum(rows for _, rows in shapes))

    # Checks

    def _examine(
        self, parts: list[_Part], shape: _Shape, base: Manifest
    ) -> tuple[CheckReport | None, dict[int, list[str]]]:
        """The report, and which rows (numbered through all parts) go into quarantine for which checks."""
        if not self._terms.checks:
            return self._terms.unexamined(self._room.context.clock()), {}
        if shape.rows is None:
            raise InvalidInput(
                "checks need a table, and these files are not one",
                hint="add Parquet or CSV files with the same columns",
            )
        mine = {part.path for part in parts}
        earlier = [file for file in base.files if file.path not in mine]
        with connection() as con:
            examination = Examination(
                con,
                _incoming(parts),
                self._terms.checks,
                fetch=self._room.fetch,
                now=self._room.context.clock(),
                earlier=scan(self._room.objects, earlier) if earlier else None,
                previous=lambda: self._room.newest(self._name),
                project=self._room.context.project,
            )
            report = self._terms.signed(examination.report("", self._terms.name))
            if report.refused:
                raise Refused(
                    f"{self._name}: {_told(report.refused)}",
                    hint="nothing was added; mend the data or the check",
                )
            aside = [check.name for check in report.failed if check.severity == "quarantine"]
            rejected = examination.failing_rows(aside)
        if shape.rows and len(rejected) == shape.rows:
            raise Refused(
                f"{self._name}: every row failed a check: {_told(report.failed)}", hint="nothing was added"
            )
        return report, rejected

    # Storing

    def _write(self, writer: Writer, parts: list[_Part]) -> tuple[list[FileEntry], int]:
        entries, new_bytes = [], 0
        for part in parts:
            if isinstance(part.source, Found):
                stored = writer.add(part.source.source)
            else:
                with tables.as_parquet(part.source, self._room.context.folder) as stream:
                    stored = writer.add(stream)
            entries.append(FileEntry(part.path, stored.digest, stored.size))
            new_bytes += stored.new_bytes
        return entries, new_bytes

    def _combined(self, base: Manifest, stored: list[FileEntry]) -> Manifest:
        known = {file.path: file for file in base.files}
        for file in stored:
            if file.path in known and known[file.path].digest != file.digest:
                raise Conflict(
                    f"'{self._name}' has a file {file.path} with other content",
                    hint="name the file otherwise, or add without appending to replace the version's content",
                )
            known[file.path] = file
        return Manifest.of(known.values())

    def _table_facts(self, parent: VersionRecord | None, shape: _Shape, new: list[_Part]) -> dict[str, Any]:
        """Rows and columns of the version: those of the new parts, after those of the parent when they are appended."""
        rows = None if shape.rows is None else sum(part.shape[1] for part in new if part.shape is not None)
        if not self._append or parent is None:
            return {"rows": rows, "columns": shape.columns}
        if parent.rows is None or rows is None:
            if parent.rows is not None:
                raise InvalidInput(
                    f"'{self._name}' is a table, and what is to be appended is not",
                    hint="add it as another dataset",
                )
            return {"rows": None, "columns": []}
        changes = diff_columns(parent.columns, shape.columns)
        if changes:
            told = ", ".join(
                f"{change.name}: {change.before or 'absent'} → {change.after or 'absent'}"
                for change in changes[:5]
            )
            raise InvalidInput(
                f"'{self._name}' has other columns than what is to be appended: {told}",
                hint="cast them, or add without appending",
            )
        return {"rows": parent.rows + rows, "columns": parent.columns}

    def _quarantine(self, writer: Writer, bad: list[_Part]) -> NewVersion:
        """Rejected rows as a version of their own dataset. Rows of a file that was rejected from before are replaced."""
        name = quarantine_of(self._name)
        parent = self._room.newest(name)
        schema = bad[0].shape[0] if bad[0].shape else None
        keeps = self._append and parent is not None and parent.columns == tables.columns_of(schema)
        base = self._room.manifest(parent) if keeps and parent is not None else Manifest(())
        stored, new_bytes = self._write(writer, bad)
        files = {file.path: file for file in (*base.files, *stored)}
        listing = writer.add(Manifest.of(files.values()).encode())
        rows = sum(part.shape[1] for part in bad if part.shape is not None)
        kept = [file for file in base.files if file.path not in {part.path for part in bad}]
        return NewVersion(
            name=name,
            digest=listing.digest,
            new_bytes=new_bytes + listing.new_bytes,
            rows=rows + (scan(self._room.objects, kept).count_rows() if kept else 0),
            columns=tables.columns_of(schema),
            parent=parent.version if parent else 0,
            appended=bool(kept),
            producer=self._producer,
            message=f"rejected from {self._name}" + (f": {self._message}" if self._message else ""),
        )

    def _answer(
        self,
        parent: VersionRecord | None,
        recorded: list[VersionRecord],
        report: CheckReport | None,
        rejected: int,
    ) -> Added:
        version = recorded[0]
        unchanged = parent is not None and parent.reference == version.reference
        if (
            isinstance(self._source, str | Path)
            and Path(self._source).is_dir()
            and not self._append
            and not rejected
        ):
            self._remember(Path(self._source), version)
        facts = msgspec.structs.asdict(version) | {"new_bytes": 0 if unchanged else self._new_bytes}
        return Added(
            **facts,
            unchanged=unchanged,
            report=None if report is None else msgspec.structs.replace(report, reference=version.reference),
            quarantine=recorded[1].reference if len(recorded) > 1 else None,
            quarantined_rows=rejected,
        )

    def _remember(self, folder: Path, version: VersionRecord) -> None:
        digests = {file.path: file.digest for file in self._room.manifest(version).files}
        Checkouts(self._room.context.folder).remember(folder, version.reference, list_files(folder), digests)


def _incoming(parts: list[_Part]) -> Any:
    """All parts as one table in their order."""

    if isinstance(parts[0].source, pa.Table):
        return parts[0].source
    if parts[0].shape is not None and not any(part.shape and part.shape[1] for part in parts):
        return parts[0].shape[0].empty_table()
    is_csv = parts[0].path.lower().endswith(tables.CSV)
    kind = pa.dataset.CsvFileFormat(parse_options=PARSING) if is_csv else pa.dataset.ParquetFileFormat()
    return pa.dataset.dataset([str(part.source.source) for part in parts], format=kind)


def _split(parts: list[_Part], rejected: dict[int, list[str]]) -> tuple[list[_Part], list[_Part]]:
    """The parts without the rejected rows, and the rejected rows of each part that has any. A part without stays as it is."""
    if not rejected:
        return parts, []
    good, bad, first = [], [], 0
    for part in parts:
        assert part.shape is not None
        schema, rows = part.shape
        names = [rejected.get(number) for number in range(first, first + rows)]
        first += rows
        if not any(names):
            good.append(part)
            continue
        table = part.source if isinstance(part.source, pa.Table) else _incoming([part]).to_table()
        mask = pa.array([each is None for each in names])
        path = str(Path(part.path).with_suffix(tables.PARQUET))
        kept = table.filter(mask)
        if kept.num_rows:
            good.append(_Part(path, kept, (schema, kept.num_rows)))
        aside = table.filter(pc.invert(mask)).append_column(
            FAILED, pa.array([each for each in names if each], pa.list_(pa.string()))
        )
        bad.append(_Part(path, aside, (aside.schema, aside.num_rows)))
    return good, bad


def _told(failed: list[Any]) -> str:
    return "; ".join(
        f"{check.name}: {check.error}"
        if check.error
        else f"{check.name} failed for {check.failed_rows} of {check.of} rows"
        for check in failed
    )


def _require_readable(file: Found) -> None:
    try:
        file.source.open("rb").close()
    except OSError as error:
        raise InvalidInput(f"{file.source} cannot be read: {error.strerror}") from None
