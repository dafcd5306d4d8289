"""Making a version: list, check, store, record; whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from everloop.data.incoming.folders import (
    Found,
    changed_meanwhile,
    many_things,
    read_small,
    require_unchanged,
)
from everloop.data.incoming.sources import Incoming, Part, taken_in
from everloop.data.incoming.stat_index import StatIndex, digest_of, known
from everloop.data.tables.file_cache import SMALL
from everloop.domain.checks import CheckReport
from everloop.domain.contracts import Terms
from everloop.domain.datasets import (
    Added,
    Column,
    ColumnChange,
    FileEntry,
    Manifest,
    NewVersion,
    SymbolicLink,
    VersionRecord,
    diff_columns,
    quarantine_of,
)
from everloop.errors import Conflict, InvalidInput, Refused

if TYPE_CHECKING:
    import pyarrow as pa

    from everloop.data.data import Data
    from everloop.store.objects import Writer

ATTEMPTS = 5
TOGETHER, TOGETHER_BYTES = 1_000, 32 << 20
"""Small files that are stored at once, and the bytes that are held for it."""


_NOWHERE: Mapping[str, str] = {}


class Shape(NamedTuple):
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
        terms: Callable[[], Terms],
        file: str,
        as_file: bool,
        producer: str | None,
        reference: bool,
    ) -> None:
        self._room = room
        self._source = source
        self._name = name
        self._message = message
        self._append = append
        self._asked_terms = terms
        self._file = file
        self._as_file = as_file
        self._producer = producer
        self._reference = reference
        self._new_bytes = 0
        self._index = StatIndex(room.context.folder)
        self._begun = 0
        self._digests: dict[str, str] = {}
        self._read: dict[str, str] = {}

    def run(self) -> Added:
        taken = taken_in(
            self._room, self._source, file=self._file, as_file=self._as_file, reference=self._reference
        )
        with many_things(), taken as incoming:
            self._digests = self._known(incoming)
            if (same := self._unchanged(incoming)) is not None:
                return same
            # Before the first look at the ledger, which would make a workspace: a file that cannot be read leaves nothing behind.
            incoming.look()
            for attempt in range(ATTEMPTS):
                parent = self._room.newest(self._name)
                try:
                    versions, report, rejected = self._store(incoming, parent)
                except Conflict:
                    if not self._digests:
                        raise
                    # What a server had when it was asked may be collected before the rest arrives: all of it is sent then.
                    self._digests = {}
                    continue
                try:
                    recorded = self._room.record(versions)
                except Conflict:
                    if attempt + 1 == ATTEMPTS:
                        raise
                    continue
                return self._answer(incoming, parent, recorded, report, rejected)
        raise AssertionError("the last attempt returns or raises")

    @cached_property
    def _terms(self) -> Terms:
        return self._asked_terms()

    # What is known already

    def _known(self, incoming: Incoming) -> dict[str, str]:
        """Path and content of the files that look as they did when they were last read."""
        before = self._index.get(incoming.place) if incoming.place is not None else None
        if before is None or incoming.found is None:
            return {}
        return before.digests(incoming.found.files)

    def _unchanged(self, incoming: Incoming) -> Added | None:
        """The newest version, when the files are known to be its files; nothing is read or asked then."""
        found = incoming.found
        if (
            found is None
            or len(self._digests) != len(found.files)
            or self._append
            or self._terms.contract
            or self._terms.checks
        ):
            return None
        newest = self._room.newest(self._name)
        entries = [_entry(file, self._digests[file.path], incoming.addresses) for file in found.files]
        manifest = self._combined(Manifest(()), entries, incoming)
        if newest is None or sha256(manifest.encode()).hexdigest() != newest.digest:
            return None
        return Added(**msgspec.structs.asdict(newest) | {"new_bytes": 0}, unchanged=True)

    # The version

    def _store(
        self, incoming: Incoming, parent: VersionRecord | None
    ) -> tuple[list[NewVersion], CheckReport | None, int]:
        """Check and store everything; nothing is in the store when this raises. Returns the versions to record, the good one
        first, the report, and how many rows were rejected."""
        base = self._room.manifest(parent) if parent is not None and self._append else Manifest(())
        parts = incoming.parts(base, self._room.context.folder)
        if parent is not None and base.files and parent.rows is not None:
            parts = self._conforming(parts, parent, base)
        shape = self._shape(parts, base)
        report, rejected = self._examine(parts, shape, base)
        good: list[Part] = parts
        bad: list[Part] = []
        if rejected:
            from everloop.data.checks.quarantining import split

            good, bad = split(parts, rejected)
        self._begun = self._index.now()
        with self._room.objects.writer() as writer:
            stored, new_bytes = self._write(writer, good, incoming.addresses)
            manifest = self._combined(base, stored, incoming)
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
                    origin=incoming.origin,
                )
            ]
            if bad:
                versions.append(self._quarantine(writer, bad))
            if incoming.found is not None:
                require_unchanged(incoming.found.files, incoming.found.links)
        self._new_bytes += versions[0].new_bytes
        return versions, report, len(rejected)

    def _conforming(self, parts: list[Part], parent: VersionRecord, base: Manifest) -> list[Part]:
        from everloop.data.incoming.conforming import conforming
        from everloop.data.tables.scanning import scan

        def schema() -> pa.Schema:
            return scan(self._room.contents, base.files[:1]).schema

        return [conforming(part, parent.columns, schema) for part in parts]

    def _shape(self, parts: list[Part], base: Manifest) -> Shape:
        """What the parts are as one table, when all of them are tables of one format and have the same columns."""
        if any(part.shape is None for part in parts):
            return Shape([], None)
        from everloop.data.tables.parquet import columns_of
        from everloop.data.tables.scanning import partitioned

        endings = {Path(part.path).suffix.lower() for part in parts}
        shapes = [part.shape for part in parts if part.shape is not None]
        if len(endings) > 1 or any(not schema.equals(shapes[0][0]) for schema, _ in shapes[1:]):
            return Shape([], None)
        paths = {part.path for part in parts} | {file.path for file in base.files}
        return Shape(columns_of(partitioned(paths, shapes[0][0])), sum(rows for _, rows in shapes))

    # Checks

    def _examine(
        self, parts: list[Part], shape: Shape, base: Manifest
    ) -> tuple[CheckReport | None, dict[int, list[str]]]:
        """The report, and which rows (numbered through all parts) go into quarantine for which checks."""
        if not self._terms.checks:
            return self._terms.unexamined(self._room.context.clock()), {}
        if shape.rows is None:
            raise InvalidInput(
                "checks need a table, and these files are not one",
                hint="add Parquet or CSV files with the same columns",
            )
        from everloop.data.checks.checking import Examination
        from everloop.data.checks.quarantining import incoming
        from everloop.data.tables.scanning import connection, scan

        mine = {part.path for part in parts}
        earlier = [file for file in base.files if file.path not in mine]
        with connection() as con:
            examination = Examination(
                con,
                incoming(parts),
                self._terms.checks,
                fetch=self._room.fetch,
                now=self._room.context.clock(),
                earlier=scan(self._room.contents, earlier) if earlier else None,
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

    def _write(
        self, writer: Writer, parts: list[Part], addresses: Mapping[str, str]
    ) -> tuple[list[FileEntry], int]:
        """Store the parts; what is known to be stored is not read again. Returns the files to be, and the new bytes."""
        entries: dict[str, FileEntry] = {}
        small: list[Found] = []
        new_bytes = waiting = 0
        there = set() if addresses else writer.present(set(self._digests.values()))

        def flush() -> int:
            done = writer.add_many([read_small(file) for file in small])
            for file, stored in zip(small, done, strict=True):
                entries[file.path] = _entry(file, stored.digest)
            small.clear()
            return sum(stored.new_bytes for stored in done)

        for path, source, _ in parts:
            digest = self._digests.get(path)
            if not isinstance(source, Found):
                from everloop.data.tables.parquet import as_parquet

                with as_parquet(source, self._room.context.folder) as stream:
                    stored = writer.add(stream)
                entries[path] = FileEntry(path, stored.digest, stored.size)
                new_bytes += stored.new_bytes
            elif path in addresses:
                entries[path] = _entry(source, digest or digest_of(source), addresses)
            elif digest is not None and digest in there:
                entries[path] = _entry(source, digest)
            elif source.look.size <= SMALL:
                small.append(source)
                waiting += source.look.size
                if len(small) == TOGETHER or waiting >= TOGETHER_BYTES:
                    new_bytes += flush()
                    waiting = 0
            else:
                stored = writer.add(source.place)
                if stored.size != source.look.size:
                    raise changed_meanwhile(source)
                entries[path] = _entry(source, stored.digest)
                new_bytes += stored.new_bytes
        if small:
            new_bytes += flush()
        self._read = {path: entry.digest for path, entry in entries.items()}
        return [entries[part.path] for part in parts], new_bytes

    def _combined(self, base: Manifest, stored: list[FileEntry], incoming: Incoming) -> Manifest:
        found = incoming.found
        links = {link.path: link for link in base.links}
        links |= {link.path: SymbolicLink(link.path, link.target) for link in found.links} if found else {}
        folders = {*base.folders, *(found.folders if found else ())}
        if not base.files:
            return Manifest.of(stored, links.values(), folders)
        known = {file.path: file for file in base.files}
        for file in stored:
            if file.path in known and known[file.path].digest != file.digest:
                raise Conflict(
                    f"'{self._name}' has a file {file.path} with other content",
                    hint="name the file otherwise, or add without appending to replace the version's content",
                )
            known[file.path] = file
        return Manifest.of(known.values(), links.values(), folders)

    def _table_facts(self, parent: VersionRecord | None, shape: Shape, new: list[Part]) -> dict[str, Any]:
        """Rows, columns and content of the version: those of the new parts, after those of the parent when they are appended."""
        rows = None if shape.rows is None else sum(part.shape[1] for part in new if part.shape is not None)
        if not self._append or parent is None:
            content = None if rows is None else self._content(new, shape)
            return {"rows": rows, "columns": shape.columns, "content": content}
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
                hint=_how_to_append(changes),
            )
        content = parent.content
        added = self._content(new, shape) if content is not None else None
        if content is not None and added is not None:
            from everloop.data.tables.row_digests import combined

            content = combined(content, added)
        return {"rows": parent.rows + rows, "columns": parent.columns, "content": content}

    def _content(self, parts: list[Part], shape: Shape) -> str | None:
        """The digest of the rows, whatever their order and the layout of files."""
        from everloop.data.checks.quarantining import content_of

        return content_of(parts, [column.name for column in shape.columns])

    def _quarantine(self, writer: Writer, bad: list[Part]) -> NewVersion:
        """Rejected rows as a version of their own dataset. Rows of a file that was rejected from before are replaced."""
        from everloop.data.checks.quarantining import content_of
        from everloop.data.tables.parquet import columns_of
        from everloop.data.tables.scanning import scan

        name = quarantine_of(self._name)
        parent = self._room.newest(name)
        schema = bad[0].shape[0] if bad[0].shape else None
        keeps = self._append and parent is not None and parent.columns == columns_of(schema)
        base = self._room.manifest(parent) if keeps and parent is not None else Manifest(())
        stored, new_bytes = self._write(writer, bad, {})
        files = {file.path: file for file in (*base.files, *stored)}
        listing = writer.add(Manifest.of(files.values()).encode())
        rows = sum(part.shape[1] for part in bad if part.shape is not None)
        kept = [file for file in base.files if file.path not in {part.path for part in bad}]
        return NewVersion(
            name=name,
            digest=listing.digest,
            new_bytes=new_bytes + listing.new_bytes,
            rows=rows + (scan(self._room.contents, kept).count_rows() if kept else 0),
            columns=columns_of(schema),
            parent=parent.version if parent else 0,
            appended=bool(kept),
            producer=self._producer,
            content=content_of(bad, schema.names) if schema is not None and not kept else None,
            message=f"rejected from {self._name}" + (f": {self._message}" if self._message else ""),
        )

    def _answer(
        self,
        incoming: Incoming,
        parent: VersionRecord | None,
        recorded: list[VersionRecord],
        report: CheckReport | None,
        rejected: int,
    ) -> Added:
        version = recorded[0]
        unchanged = parent is not None and parent.reference == version.reference
        if incoming.place is not None and incoming.found and not self._append and not rejected:
            self._index.put(incoming.place, known(version.reference, self._begun, incoming.found, self._read))
        facts = msgspec.structs.asdict(version) | {"new_bytes": 0 if unchanged else self._new_bytes}
        return Added(
            **facts,
            unchanged=unchanged,
            report=None
            if report is None
            else msgspec.structs.replace(report, reference=version.reference, user=version.user),
            quarantine=recorded[1].reference if len(recorded) > 1 else None,
            quarantined_rows=rejected,
        )


def _entry(file: Found, digest: str, addresses: Mapping[str, str] = _NOWHERE) -> FileEntry:
    return FileEntry(file.path, digest, file.look.size, addresses.get(file.path, ""), file.executable)


def _how_to_append(changes: list[ColumnChange]) -> str:
    if any(change.before is None or change.after is None for change in changes):
        return "append has the dataset's columns; add all rows without --append for a version with others"
    return "cast them: a table from Python is cast where no value changes, a file is kept as it is"


def _told(failed: list[Any]) -> str:
    return "; ".join(
        f"{check.name}: {check.error}"
        if check.error
        else f"{check.name} failed for {check.failed_rows} of {check.of} rows"
        for check in failed
    )
