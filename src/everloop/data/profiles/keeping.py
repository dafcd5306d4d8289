"""Profiles of versions: made once, kept with the version, and put together from what is kept of files that did not change."""

from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from everloop.data import records
from everloop.domain import partitions
from everloop.domain.canonical import canonical
from everloop.domain.checks import CheckReport
from everloop.domain.datasets import FileEntry, VersionRecord
from everloop.domain.profiles import Profile, ProfileComparison, StoredPart
from everloop.domain.references import Kind, Reference
from everloop.errors import InvalidInput, NotFound
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.schema.data import dataset_profiles, file_sketches

if TYPE_CHECKING:
    from everloop.data.dataset import Dataset
    from everloop.data.tables.file_contents import FileContents
    from everloop.stats.sketches import TableSketch

KEPT_FROM = 256 * 1024
"""Bytes of a file whose sketches are kept. Smaller ones are as quickly read again."""

_IDS_AT_ONCE = 5_000  # SQLite takes 32,766 parameters in one statement


class Profiles(Room):
    """Operations about profiles, and profiling itself, which happens where the caller is."""

    name = "data"

    if TYPE_CHECKING:  # of `Data`, which this is a part of

        @cached_property
        def contents(self) -> FileContents: ...

        def dataset(self, reference: str) -> Dataset: ...
        def reports(self, reference: str) -> list[CheckReport]: ...

    @operation(Permission.READ)
    def kept_profile(self, reference: str) -> Profile | None:
        """The profile of a version; None when none was made yet, or another release of Everloop made it."""
        with self.look() as look:
            record = records.version(look, Reference.parse(reference, Kind.DATA))
            row = look.first(
                sa.select(dataset_profiles.c.profile).where(dataset_profiles.c.reference == record.reference)
            )
        if row is None:
            return None
        try:
            return msgspec.json.decode(self.objects.read(row.profile), type=Profile)
        except (NotFound, msgspec.MsgspecError):
            return None

    @operation(Permission.READ)
    def kept_sketches(self, files: list[str], schema: str) -> list[StoredPart]:
        """What is kept of files, named by their digests, whose columns have the digest `schema`."""
        found: list[StoredPart] = []
        with self.look() as look:
            for start in range(0, len(files), _IDS_AT_ONCE):
                some = file_sketches.c.file.in_(files[start : start + _IDS_AT_ONCE])
                rows = look.all(sa.select(file_sketches).where(some, file_sketches.c.schema == schema))
                found += [StoredPart(row.file, row.schema, row.state, row.size) for row in rows]
        return found

    @operation(Permission.WRITE)
    def record_profile(self, reference: str, profile: str, parts: list[StoredPart]) -> Profile:
        """Keep a profile with its version: the object `profile` holds it, `parts` are the sketches of its files."""
        try:
            found = msgspec.json.decode(self.objects.read(profile), type=Profile)
        except msgspec.MsgspecError as error:
            raise InvalidInput(f"the object {profile[:12]} is no profile: {error}") from None
        needed = [profile, found.state, *(part.state for part in parts)]
        missing = self.objects.missing(needed)
        if missing:
            raise InvalidInput(
                f"the object {min(missing)[:12]} is not stored", hint="store sketches before the profile"
            )
        sizes = {digest: self.objects.stat(digest).size for digest in needed}
        with self.change() as tx:
            record = records.version(tx, Reference.parse(reference, Kind.DATA))
            if record.digest != found.digest:
                raise InvalidInput(
                    f"the profile is of other files than {record.reference}", hint="profile it again"
                )
            row = {"reference": record.reference, "profile": profile, "time": tx.now, "user": tx.actor}
            tx.put(dataset_profiles, row)
            tx.put(file_sketches, [msgspec.structs.asdict(part) for part in parts])
            for digest, size in sizes.items():
                tx.hold(digest, size, record.reference)
            facts = {"rows": found.rows, "parts": found.parts, "reused": found.parts_reused}
            tx.event("data.profiled", record.reference, {**facts, "profile": profile})
        return found

    # Where the caller is: bytes and rows

    def profile(self, reference: str, again: bool = False) -> Profile:
        """What a version's table holds. It is made once and kept; files that another profile was made of are not read again.

        Raises InvalidInput when the files are not one table. `again`: whatever is kept, all files are read.
        """
        dataset = self.dataset(reference)
        kept = None if again else self.kept_profile(dataset.reference)
        return kept or self._made(dataset, again)[0]

    def compare_profiles(
        self, first: str, second: str, columns: Sequence[str] | None = None
    ) -> ProfileComparison:
        """What shifted from one version's table to another's, the furthest first; of these `columns`, if they are named.

        Versions without a profile get one.
        """
        from everloop.data.profiles.shifts import compare

        before, after = self.dataset(first), self.dataset(second)
        only = None if columns is None else frozenset(columns)
        return compare(self._state(before), self._state(after), (before.reference, after.reference), only)

    def datasheet(self, reference: str) -> str:
        """A datasheet of a version in Markdown: what is known of it filled in, what people have to say left as questions."""
        from everloop.data.profiles.datasheets import datasheet

        dataset = self.dataset(reference)
        reports = self.reports(dataset.reference)
        profile = self.profile(dataset.reference) if dataset.rows is not None else None
        return datasheet(dataset.record, profile, reports)

    def _state(self, dataset: "Dataset") -> "TableSketch":
        from everloop.stats.sketches import unpack

        kept = self.kept_profile(dataset.reference)
        if kept is not None:
            try:
                return unpack(self.objects.read(kept.state))
            except (NotFound, msgspec.MsgspecError):
                pass  # of another format, or lost: it is made again
        return self._made(dataset, False)[1]

    def _made(self, dataset: "Dataset", again: bool) -> "tuple[Profile, TableSketch]":
        from everloop.data.profiles.summaries import summarise
        from everloop.stats.sketches import pack

        record = dataset.record
        if record.rows is None:
            raise InvalidInput(
                f"the files of {record.reference} are not one table", hint="profiles are made of tables"
            )
        schema = _schema_digest(record)
        # What the names of folders spell is typed by all of them: such a file has no sketches of its own.
        spelled = bool(partitions.columns_of(file.path for file in dataset.files()))
        large = [file for file in dataset.files() if file.size >= KEPT_FROM and not spelled]
        small = [file for file in dataset.files() if file.size < KEPT_FROM or spelled]
        kept = {} if again else self._kept_states({file.digest for file in large}, schema)
        states = [kept[file.digest] for file in large if file.digest in kept]
        reused, parts = len(states), []
        for file in large:
            if file.digest not in kept:
                state = self._sketched([file])
                kept[file.digest] = state
                states.append(state)
                stored = self.objects.put(pack(state))
                parts.append(StoredPart(file.digest, schema, stored.digest, stored.size))
        if small:
            states.append(self._sketched(small))
        whole = states[0]
        for state in states[1:]:
            whole = whole.merge(state)
        profile = summarise(
            whole,
            record,
            stored=self.objects.put(pack(whole)).digest,
            parts=len(large) + len(small),
            reused=reused,
            made=self.context.clock(),
        )
        return self.record_profile(
            record.reference, self.objects.put(msgspec.json.encode(profile)).digest, parts
        ), whole

    def _kept_states(self, files: set[str], schema: str) -> "dict[str, TableSketch]":
        from everloop.stats.sketches import unpack

        found: dict[str, TableSketch] = {}
        for part in self.kept_sketches(sorted(files), schema):
            try:
                found[part.file] = unpack(self.objects.read(part.state))
            except (NotFound, msgspec.MsgspecError):
                continue  # collected with the last version that needed it: made again
        return found

    def _sketched(self, files: Sequence[FileEntry]) -> "TableSketch":
        from everloop.data.profiles.profiling import profile_files
        from everloop.data.tables.scanning import scan

        return profile_files(self.contents, files, lambda some: scan(self.contents, some))


def _schema_digest(record: VersionRecord) -> str:
    """Of a table's columns and of how sketches are made: those of other columns or another format are not for this table."""
    from everloop.stats.sketches.columns import FORMAT

    return sha256(canonical({"columns": record.columns, "format": FORMAT})).hexdigest()
