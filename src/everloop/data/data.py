"""The data room: versions of datasets, whole or absent, compared, checked and checked out."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from everloop.data import records
from everloop.data.checks.contracts import Contracts, require_contract_kept
from everloop.data.dataset import Dataset
from everloop.data.differences.diffing import Differences
from everloop.data.overviews import Overviews
from everloop.data.profiles.keeping import Profiles
from everloop.data.stores.collecting import Collecting, require_unpinned, take_away
from everloop.data.stores.mending import Mending
from everloop.data.stores.transferring import Transferring
from everloop.domain.checks import AnyCheck, Suite
from everloop.domain.datasets import (
    Added,
    Checkout,
    DatasetSummary,
    FolderStatus,
    Link,
    Manifest,
    NewVersion,
    VersionRecord,
    as_link,
)
from everloop.domain.names import checked_name
from everloop.domain.references import Kind, Reference
from everloop.errors import Conflict, NotFound
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.store.schema.base import edges
from everloop.store.schema.data import dataset_versions
from everloop.store.schema.labels import label_projects

if TYPE_CHECKING:
    from everloop.data.tables.file_contents import FileContents


class Data(Contracts, Collecting, Transferring, Mending, Profiles, Differences, Overviews):
    """Datasets: their versions, what differs, whether they pass their checks."""

    name = "data"

    # Operations: what is known of versions

    @operation(Permission.READ)
    def datasets(self) -> list[DatasetSummary]:
        """All datasets by name, each with its newest version."""
        with self.look() as look:
            rows = look.all(records.present().order_by(dataset_versions.c.name, dataset_versions.c.version))
        counts: dict[str, int] = {}
        newest: dict[str, VersionRecord] = {}
        for row in rows:
            counts[row.name] = counts.get(row.name, 0) + 1
            newest[row.name] = records.record(row)
        return [
            DatasetSummary(
                name=name,
                latest=latest.reference,
                versions=counts[name],
                bytes=latest.bytes,
                rows=latest.rows,
                created=latest.created,
            )
            for name, latest in newest.items()
        ]

    @operation(Permission.READ)
    def log(self, name: str) -> list[VersionRecord]:
        """The versions of a dataset, newest first."""
        wanted = Reference.parse(name, Kind.DATA).name
        with self.look() as look:
            rows = look.all(
                records.present()
                .where(dataset_versions.c.name == wanted)
                .order_by(dataset_versions.c.version.desc())
            )
            if not rows:
                raise records.unknown(look, wanted)
        return [records.record(row) for row in rows]

    @operation(Permission.READ)
    def version(self, reference: str) -> VersionRecord:
        """What is known of a version; the newest of a dataset when the reference names none."""
        with self.look() as look:
            return records.version(look, Reference.parse(reference, Kind.DATA))

    @operation(Permission.READ)
    def newest(self, name: str) -> VersionRecord | None:
        """The newest version of a dataset, or None when there is none yet."""
        with self.look() as look:
            row = look.first(records.newest(checked_name(name, "dataset name")))
        return None if row is None else records.record(row)

    @operation(Permission.WRITE)
    def record(self, versions: list[NewVersion]) -> list[VersionRecord]:
        """Record versions whose files are stored, all of them or none. For one that equals the newest version, that is returned.

        Raises Conflict when a dataset has got another newest version than the one a version was made from, or content is not
        stored, or not any more.
        """
        manifests = {new.digest: self._stored_manifest(new.digest) for new in versions}
        with self.change() as tx:
            for new in versions:
                require_contract_kept(tx, new.name, new.report)
            return [records.record_one(tx, new, manifests[new.digest], self.context.ids) for new in versions]

    @operation(Permission.WRITE)
    def remove(self, reference: str, force: bool = False) -> list[VersionRecord]:
        """Take a version away, or all versions of a dataset. What is known of it stays, for lineage; its files may go.

        Raises Conflict when something was made from it, a labelling project asks about its items or it is pinned,
        unless `force`; NotFound when it was removed before.
        """
        wanted = Reference.parse(reference, Kind.DATA)
        with self.change() as tx:
            if wanted.version is not None:
                taken = [_still_there(records.version(tx, wanted))]
            else:
                taken = [
                    records.record(row)
                    for row in tx.all(records.present().where(dataset_versions.c.name == wanted.name))
                ]
                if not taken:
                    raise records.unknown(tx, wanted.name)
            for each in taken:
                asking = tx.first(
                    sa.select(label_projects.c.name).where(label_projects.c.source == each.reference)
                )
                if asking is not None and not force:
                    raise Conflict(
                        f"{Reference(Kind.LABELS, asking.name)} asks about the items of {each.reference}",
                        hint="use --force to remove it all the same: its answers can then no longer become a dataset",
                    )
                user = tx.first(
                    sa.select(edges.c.target).where(
                        edges.c.source == each.reference, edges.c.role == "consumed"
                    )
                )
                if user is not None and not force:
                    raise Conflict(
                        f"{each.reference} went into {user.target}",
                        hint="use --force to remove it all the same",
                    )
            if not force:
                require_unpinned(tx, taken)
            for each in taken:
                take_away(tx, each, forced=force)
            return [msgspec.structs.replace(each, removed=tx.now) for each in taken]

    # Where the caller is: bytes and rows

    def add(
        self,
        source: Any,
        name: str,
        message: str = "",
        *,
        append: bool = False,
        checks: Suite | Iterable[AnyCheck] | None = None,
        file: str = "",
        as_file: bool = False,
        producer: str | None = None,
        without_contract: str = "",
        reference: bool = False,
    ) -> Added:
        """Make a version of a file, a folder, or a table (anything that speaks Arrow: pyarrow, DuckDB, pandas, polars).

        Content equal to the newest version's makes no new one. With `append` the version has the files of the newest one and
        these too; a file that is there already under its name is not added twice. A table is kept as Parquet under `file`,
        else under a name by which the same table is known when it comes again.

        A file whose ending says Parquet, CSV or JSON and that is none raises InvalidInput with the wrong line, and nothing
        is kept; with `as_file` the bytes are kept as they are and no table is made of them.

        With `checks`, every incoming row is looked at first. A failing check of severity ``fail`` raises Refused, and nothing
        is added; rows that fail one of severity ``quarantine`` go to dataset ``NAME/quarantine``, with a column
        ``failed_checks``, and the others go on. Where a contract is bound to the dataset, its checks are made too, unless
        `without_contract` gives the reason why not, which is recorded with the version.

        `producer` is the run that made the data (``run:…``).

        A source may also be a query (``ev.query(sql, "sqlite:///shop.db")``) or an address that fsspec reaches (``s3://…``). With
        `reference` the bytes of files stay where they are: their digests are kept, and held against them at every reading.
        """
        from everloop.data.incoming.adding import Addition

        checked_name(name, "dataset name")
        addition = Addition(
            self,
            source,
            name,
            message=message,
            append=append,
            terms=lambda: self.terms(name, checks, without_contract),
            file=file,
            as_file=as_file,
            producer=producer,
            reference=reference,
        )
        return addition.run()

    def dataset(self, reference: str) -> Dataset:
        """The handle on a version: the newest when the reference names none."""
        record = _still_there(self.version(reference))
        return Dataset(self, record, self.manifest(record))

    def manifest(self, record: VersionRecord) -> Manifest:
        """The list of a version's files."""
        return Manifest.decode(self.objects.read(record.digest))

    def checkout(
        self,
        reference: str,
        folder: str | Path,
        force: bool = False,
        *,
        link: Link | str | None = None,
        only: Iterable[str] = (),
    ) -> Checkout:
        """Write a version's files into a folder, all at once. Local changes there are never overwritten, unless `force`.

        link: ``reflink``, ``hardlink`` (read-only: do not write to them) or ``copy``; when it is not said, a reflink where the
        file system has them, else a copy. only: patterns of paths, such as ``train/*`` or ``**/*.png``; the folder then holds
        these files alone.
        """
        from everloop.data.checkouts.checking_out import Checkouts

        dataset, target = self.dataset(reference), Path(folder).absolute()
        patterns = [only] if isinstance(only, str) else list(only)
        way, chosen = as_link(link), dataset.manifest.chosen(patterns)
        way = Checkouts(self.context.folder).write(
            self.contents,
            dataset.reference,
            chosen,
            target,
            self.context.ids(),
            link=way,
            only=patterns,
            force=force,
        )
        return Checkout(
            reference=dataset.reference,
            folder=str(target),
            files=len(chosen.files),
            bytes=chosen.size,
            link=way,
            only=patterns,
        )

    def status(self, folder: str | Path) -> FolderStatus:
        """What changed in a folder since it was checked out or added."""
        from everloop.data.checkouts.checking_out import Checkouts

        return Checkouts(self.context.folder).status(Path(folder).absolute())

    @cached_property
    def contents(self) -> "FileContents":
        """The bytes of versions' files, in the object store or where a version refers to."""
        from everloop.data.tables.file_contents import FileContents

        return FileContents(self.objects, self.context.folder)

    def _stored_manifest(self, digest: str) -> Manifest:
        """The list of a version's files, all of which are stored. Raises Conflict for what is not: it may have been stored, and
        freed since, for nothing needed it then."""
        hint = "store the files, and record the version then"
        try:
            manifest = Manifest.decode(self.objects.read(digest))
        except NotFound:
            raise Conflict("the list of the version's files is not stored", hint=hint) from None
        missing = self.objects.missing({file.digest for file in manifest.stored})
        if missing:
            path = next(file.path for file in manifest.files if file.digest in missing)
            raise Conflict(f"the content of {path} is not stored", hint=hint)
        return manifest


def _still_there(version: VersionRecord) -> VersionRecord:
    """The version itself. Raises NotFound when it was removed."""
    if version.removed is not None:
        raise NotFound(
            f"{version.reference} was removed on {version.removed:%Y-%m-%d}",
            hint=f"see: everloop data log {version.name}",
        )
    return version
