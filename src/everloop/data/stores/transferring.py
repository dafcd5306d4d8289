"""Versions go from one store to another: another workspace's folder, a server, or a shelf without a ledger.

Only objects that the destination lacks are moved, in batches, each of which is there for good when it is done: after an
interruption the same command goes on where it stopped. Every byte is verified where it is read and where it is written. A
version is recorded when all of its files are there, so nobody at the destination ever sees half of one.
"""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, Protocol

import msgspec
import sqlalchemy as sa

from everloop.data import records
from everloop.data.stores.shelves import another_version
from everloop.domain.datasets import Manifest, VersionRecord, reference_of
from everloop.domain.names import checked_name
from everloop.domain.references import Kind, Reference
from everloop.domain.transfers import Received, SentVersion, Transferred
from everloop.errors import Conflict, Corrupted, InvalidInput, NotFound
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.objects.writing import SMALL
from everloop.store.schema.base import edges, objects_held
from everloop.store.schema.data import dataset_versions, datasets
from everloop.store.schema.tracking import runs

if TYPE_CHECKING:
    from everloop.store.ledger import Transaction
    from everloop.store.objects import Objects, Stored
    from everloop.store.objects.recipes import Chunk

BATCH_BYTES = 64 * 1024 * 1024
BATCH_OBJECTS = 2_000
SMALL_AT_ONCE = 250
ATTEMPTS = 3


class Place(Protocol):
    """Where versions can come from and go to. The data room of any workspace is one."""

    @property
    def label(self) -> str:
        """What people call it."""
        ...

    @property
    def objects(self) -> "Objects": ...

    def dataset_names(self) -> list[str]:
        """The datasets there."""
        ...

    def sent(self, reference: str) -> list[SentVersion]:
        """A version, or all versions of a dataset, oldest first. Raises NotFound."""
        ...

    def receive(self, versions: list[SentVersion]) -> Received:
        """Record versions whose objects are there, under their own numbers: all of them or none. Raises Conflict when a number is
        taken by another version."""
        ...


class Transferring(Room):
    """Operations and methods that move versions between stores."""

    name = "data"

    @property
    def label(self) -> str:
        return self.context.location

    def dataset_names(self) -> list[str]:
        """The names of all datasets."""
        return [each.name for each in self._data_room().datasets()]

    @operation(Permission.READ)
    def sent(self, reference: str) -> list[SentVersion]:
        """A version, or all versions of a dataset, oldest first, as they are sent to another store."""
        wanted = Reference.parse(reference, Kind.DATA)
        with self.look() as look:
            query = records.present().where(dataset_versions.c.name == wanted.name)
            if wanted.version is not None:
                query = query.where(dataset_versions.c.version == wanted.version)
            found = [records.record(row) for row in look.all(query.order_by(dataset_versions.c.version))]
            if not found:
                known = records.version(look, wanted)  # raises NotFound, with the nearest name
                raise NotFound(f"{known.reference} was removed", hint=f"see: everloop data log {wanted.name}")
            appended = {
                row.target
                for row in look.all(
                    sa.select(edges.c.target).where(
                        edges.c.role == "appended",
                        edges.c.target.startswith(f"data:{wanted.name}@", autoescape=True),
                    )
                )
            }
        return [SentVersion(each, each.reference in appended) for each in found]

    @operation(Permission.WRITE)
    def receive(self, versions: list[SentVersion]) -> Received:
        """Record versions of another store, whose files are stored here: under their own numbers, with the time, user and
        producer they have there; all of them or none. Version 0 stands for the next number, after the newest version.

        Raises Conflict when a number is taken by another version.
        """
        manifests = {sent.version.digest: self._manifest_of(sent.version) for sent in versions}
        added: list[str] = []
        present: list[str] = []
        with self.change() as tx:
            for sent in versions:
                numbered = sent if sent.version.version else _next(tx, sent)
                is_new = _received(tx, numbered, manifests[sent.version.digest], self.label)
                (added if is_new else present).append(numbered.version.reference)
        return Received(added, present)

    @operation(Permission.READ)
    def ever(self, name: str) -> list[VersionRecord]:
        """All versions that a dataset ever had, removed ones too, oldest first; none for a dataset that never was."""
        with self.look() as look:
            query = sa.select(dataset_versions).where(
                dataset_versions.c.name == checked_name(name, "dataset name")
            )
            return [records.record(row) for row in look.all(query.order_by(dataset_versions.c.version))]

    def push(self, reference: str, target: Place, *, called: str = "") -> Transferred:
        """Bring a version, or all versions of a dataset, to another store. `called`: the name of the dataset there."""
        return transfer(self._data_room(), target, reference, called)

    def pull(self, reference: str, source: Place, *, called: str = "") -> Transferred:
        """Bring a version, or all versions of a dataset, here from another store. `called`: the name of the dataset here."""
        return transfer(source, self._data_room(), reference, called)

    def _manifest_of(self, version: VersionRecord) -> Manifest:
        manifest = Manifest.decode(self.objects.read(version.digest))
        absent = self.objects.missing({file.digest for file in manifest.stored})
        if absent:
            raise Conflict(
                f"{len(absent)} files of {version.reference} are not stored here", hint="send them again"
            )
        return manifest

    def _data_room(self) -> "_DataRoom":
        return self  # type: ignore[return-value]


class _DataRoom(Place, Protocol):
    def datasets(self) -> list["_Named"]: ...


class _Named(Protocol):
    @property
    def name(self) -> str: ...


def transfer(source: Place, target: Place, reference: str, called: str = "") -> Transferred:
    """Bring a version, or all versions of a dataset, from one place to another."""
    wanted = Reference.parse(reference, Kind.DATA)
    versions = source.sent(reference)
    name = checked_name(called, "dataset name") if called else wanted.name
    going = [sent.called(name) for sent in versions]
    there = _numbers(target, name)
    for sent in going:  # before a byte is moved
        if there.get(sent.version.version, sent.version.digest) != sent.version.digest:
            raise another_version(sent.version.reference, target.label)
    moved = _Moved()
    added: list[str] = []
    present: list[str] = []
    for sent in going:
        manifest = Manifest.decode(source.objects.read(sent.version.digest))
        moved.of_bytes += manifest.size
        moved.by_reference += len(manifest.files) - len(manifest.stored)
        if sent.version.version in there:
            present.append(sent.version.reference)
            continue
        received = _sent_until_held(source, target, sent, manifest, moved)
        added += received.added
        present += received.present
    return Transferred(
        source=source.label,
        target=target.label,
        added=added,
        present=present,
        objects=moved.objects,
        bytes=moved.bytes,
        of_bytes=moved.of_bytes,
        by_reference=moved.by_reference,
    )


class _Moved:
    """Running totals of a transfer."""

    def __init__(self) -> None:
        self.objects = self.bytes = self.of_bytes = self.by_reference = 0


def _numbers(target: Place, name: str) -> dict[int, str]:
    try:
        return {sent.version.version: sent.version.digest for sent in target.sent(name)}
    except NotFound:
        return {}


def _sent_until_held(
    source: Place, target: Place, sent: SentVersion, manifest: Manifest, moved: _Moved
) -> Received:
    """What was brought over long before the version is recorded may have been freed there meanwhile: then it goes again."""
    sizes = {file.digest: file.size for file in manifest.stored}
    sizes[sent.version.digest] = len(manifest.encode())
    for attempt in range(ATTEMPTS):
        before = moved.bytes
        for batch in _batches(sizes, target.objects.missing(sizes)):
            move_objects(source.objects, target.objects, sizes, batch)
            moved.objects += len(batch)
            moved.bytes += sum(sizes[digest] for digest in batch)
        counted = msgspec.structs.replace(sent.version, new_bytes=moved.bytes - before)
        try:
            return target.receive([SentVersion(counted, sent.appended)])
        except Conflict:
            if attempt + 1 == ATTEMPTS or not target.objects.missing(sizes):
                raise
    raise AssertionError("the last attempt returns or raises")


def _batches(sizes: dict[str, int], missing: set[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    total = 0
    for digest in sizes:
        if digest not in missing:
            continue
        batch.append(digest)
        total += sizes[digest]
        if total >= BATCH_BYTES or len(batch) >= BATCH_OBJECTS:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


def move_objects(source: "Objects", target: "Objects", sizes: dict[str, int], digests: list[str]) -> None:
    """Bring objects of these sizes from one store to another, each verified on its way."""
    small = [digest for digest in digests if sizes[digest] <= SMALL]
    with target.writer() as writer:
        arriving = source.read_many(small)
        while some := list(islice(arriving, SMALL_AT_ONCE)):
            stored = writer.add_many([content for _, content in some])
            for (digest, _), each in zip(some, stored, strict=True):
                _require_whole(digest, each)
        for digest in digests:
            if sizes[digest] > SMALL:
                with _opened(source, target, digest) as stream:
                    _require_whole(digest, writer.add(stream))


def _opened(source: "Objects", target: "Objects", digest: str) -> BinaryIO:
    """A large object of the source. Those of its chunks that the target has are read there, when that is nearer."""
    from everloop.store.objects import ContentStore

    if not source.far or target.far or not isinstance(target, ContentStore):
        return source.open(digest)
    chunks = source.chunks(digest)
    if len(chunks) == 1:
        return source.open(digest)
    missing = target.missing_pieces({chunk.digest.hex() for chunk in chunks})
    starts: dict[bytes, int] = {}
    end = 0
    for chunk in chunks:
        starts[chunk.digest] = end
        end += chunk.length
    stream = source.open(digest)

    def fetched(chunk: "Chunk") -> bytes | None:
        if chunk.digest.hex() not in missing:
            return None
        stream.seek(starts[chunk.digest])
        return stream.read(chunk.length)

    return target.assembled(digest, chunks, fetched)


def _require_whole(digest: str, stored: "Stored") -> None:
    if stored.digest != digest:
        raise Corrupted(f"object {digest} did not arrive whole", hint="try again")


def _next(tx: "Transaction", sent: SentVersion) -> SentVersion:
    name = checked_name(sent.version.name, "dataset name")
    number = (tx.scalar(sa.select(datasets.c.last).where(datasets.c.name == name)) or 0) + 1
    before = tx.first(records.newest(name))
    return msgspec.structs.replace(
        sent,
        version=msgspec.structs.replace(
            sent.version,
            version=number,
            reference=reference_of(name, number),
            parent=None if before is None else reference_of(name, before.version),
        ),
    )


def _received(tx: "Transaction", sent: SentVersion, manifest: Manifest, here: str) -> bool:
    """Record a version of another store; False when it is here already."""
    version = sent.version
    name, number = checked_name(version.name, "dataset name"), version.version
    if number < 1 or version.reference != reference_of(name, number):
        raise InvalidInput(f"'{version.reference}' is not version {number} of '{name}'")
    if (version.files, version.bytes) != (len(manifest.files), manifest.size):
        raise InvalidInput(f"{version.reference} has other files than its record says")
    chosen = (dataset_versions.c.name == name) & (dataset_versions.c.version == number)
    known = tx.first(sa.select(dataset_versions).where(chosen))
    if known is not None and known.digest != version.digest:
        raise another_version(version.reference, here)
    if known is not None and known.removed is None:
        return False
    if known is not None:
        tx.execute(sa.update(dataset_versions).where(chosen).values(removed=None))
    else:
        highest = tx.scalar(sa.select(datasets.c.last).where(datasets.c.name == name))
        if highest is None:
            tx.execute(sa.insert(datasets).values(name=name, last=number, created=tx.now))
        elif number > highest:
            tx.execute(sa.update(datasets).where(datasets.c.name == name).values(last=number))
        row = msgspec.structs.asdict(version) | {"removed": None}
        row.pop("reference")
        tx.execute(sa.insert(dataset_versions).values(row))
    sizes = {file.digest: file.size for file in manifest.stored} | {version.digest: len(manifest.encode())}
    held = [{"digest": each, "holder": version.reference, "size": size} for each, size in sizes.items()]
    tx.insert_new(objects_held, held)
    facts = {"digest": version.digest, "files": version.files, "bytes": version.bytes, "rows": version.rows}
    tx.event("data.received", version.reference, facts | {"made": version.created, "by": version.user})
    _link(tx, sent)
    return True


def _link(tx: "Transaction", sent: SentVersion) -> None:
    """Lineage, as far as its other end is here."""
    version = sent.version
    if version.parent is not None and sent.appended:
        before = Reference.parse(version.parent, Kind.DATA)
        chosen = (dataset_versions.c.name == before.name) & (dataset_versions.c.version == before.version)
        if tx.first(sa.select(dataset_versions.c.version).where(chosen)) is not None:
            tx.edge(version.parent, version.reference, "appended")
    if version.producer is not None and version.producer.startswith("run:"):
        run = version.producer.removeprefix("run:")
        if tx.first(sa.select(runs.c.id).where(runs.c.id == run)) is not None:
            tx.edge(version.producer, version.reference, "produced")
