"""Looking through the stored bytes of dataset versions, and healing what is damaged from a store that has it whole."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

import msgspec
import sqlalchemy as sa

from everloop.data import records
from everloop.domain.datasets import Manifest, VersionRecord
from everloop.domain.references import Kind, Reference
from everloop.domain.transfers import Damage, Examined, Use
from everloop.errors import Corrupted, InvalidInput, NotFound, Unavailable
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.store.schema.base import objects_held
from everloop.store.schema.data import dataset_versions

if TYPE_CHECKING:
    from everloop.data.stores.transferring import Place
    from everloop.store.objects import ContentStore, Fault

QUICK, FULL = "quick", "full"


class Mending(Room):
    """The operation that looks for damage, and the method that heals it."""

    name = "data"

    @operation(Permission.READ)
    def examine(self, reference: str = "", level: str = QUICK) -> Examined:
        """Whether the bytes of a version, of all versions of a dataset, or of all datasets are stored as they should be.

        `level`: ``quick`` looks whether everything is there in its size, ``full`` reads every byte. A full look at all datasets
        reads the whole store, also what other rooms keep there. Faults are in the answer, not raised.
        """
        if level not in (QUICK, FULL):
            raise InvalidInput(f"there is no level '{level}'", hint=f"it is {QUICK} or {FULL}")
        versions = self._versions(reference)
        uses: dict[str, set[Use]] = defaultdict(set)
        inspection = self._content_store().inspection(full=level == FULL)
        found: list[Fault] = []
        for version in versions:
            try:
                manifest = Manifest.decode(self.objects.read(version.digest))
            except (
                Corrupted,
                NotFound,
            ):  # damaged or missing: what the version holds is known, but not under which path
                for digest in self._held_by(version.reference):
                    uses[digest].add(Use(version.reference))
                continue
            uses[version.digest].add(Use(version.reference))
            for file in manifest.stored:
                uses[file.digest].add(Use(version.reference, file.path))
        for digest in sorted(uses):
            found += inspection.faults(bytes.fromhex(digest))
        if level == FULL and not reference:
            # What has been named with its paths is not named again: the walk meets it as a chunk and as a large object.
            places, digests = {fault.place for fault in found}, {fault.digest for fault in found}
            walked = self.objects.verify()
            found += [each for each in walked if each.place not in places and each.digest not in digests]
        faults = [self._damage(each, uses) for each in found]
        return Examined(
            ok=not faults, level=level, versions=len(versions), objects=len(uses), faults=_grouped(faults)
        )

    def fsck(self, reference: str = "", *, full: bool = False, heal: "Place | None" = None) -> Examined:
        """Look for damage, as `examine` does, and at the files that versions only refer to, as this machine reaches them.

        With `heal`, a store that has the same objects, damaged ones get their bytes from there, every one of them verified; what
        is still wrong then is in the answer.
        """
        from everloop.data.stores.referring import References

        stored = self._mended(reference, full=full, heal=heal)
        references = References(self._readable(reference))
        faults = references.faults(full=stored.level == FULL)
        return msgspec.structs.replace(
            stored,
            ok=stored.ok and not faults,
            faults=[*stored.faults, *faults],
            referenced=len(references),
        )

    def _readable(self, reference: str) -> Iterator[tuple[str, Manifest]]:
        """The lists of files of the versions that are meant, but for those that `examine` has found damaged."""
        place = cast("Place", self)
        for name in [reference] if reference else place.dataset_names():
            for version in (sent.version for sent in place.sent(name)):
                try:
                    yield version.reference, Manifest.decode(self.objects.read(version.digest))
                except (Corrupted, NotFound):
                    continue

    def _mended(self, reference: str, *, full: bool, heal: "Place | None") -> Examined:
        level = FULL if full else QUICK
        if heal is None:
            return self.examine(reference, level)
        if self.context.remote:
            raise InvalidInput(
                "damage is healed where the store is", hint="run it in the workspace's folder on the server"
            )
        before = self.examine(reference, FULL)  # what is to be healed may be damaged in any byte
        healed: list[str] = []
        while not before.ok:  # the lists of files come first: only then it is known what else is needed
            hurt = sorted({each.digest for each in before.faults if each.digest} - set(healed))
            now_whole = [digest for digest in hurt if self._healed(digest, heal)]
            healed += now_whole
            if not self._discard_damage(before) and not now_whole:
                break
            before = self.examine(reference, FULL)
        return msgspec.structs.replace(before, healed=healed)

    def _versions(self, reference: str) -> list[VersionRecord]:
        query = records.present().order_by(dataset_versions.c.name, dataset_versions.c.version)
        with self.look() as look:
            if not reference:
                return [records.record(row) for row in look.all(query)]
            wanted = Reference.parse(reference, Kind.DATA)
            chosen = query.where(dataset_versions.c.name == wanted.name)
            if wanted.version is not None:
                chosen = chosen.where(dataset_versions.c.version == wanted.version)
            found = [records.record(row) for row in look.all(chosen)]
            if not found:
                known = records.version(look, wanted)  # raises NotFound, with the nearest name
                raise NotFound(f"{known.reference} was removed", hint=f"see: everloop data log {wanted.name}")
        return found

    def _held_by(self, holder: str) -> list[str]:
        with self.look() as look:
            rows = look.all(sa.select(objects_held.c.digest).where(objects_held.c.holder == holder))
        return [row.digest for row in rows]

    def _damage(self, fault: "Fault", uses: dict[str, set[Use]]) -> Damage:
        users = set(uses.get(fault.digest or "", set()))
        if fault.digest is not None and not users:
            with self.look() as look:
                rows = look.all(sa.select(objects_held.c.holder).where(objects_held.c.digest == fault.digest))
            users = {Use(row.holder) for row in rows}
        return Damage(fault.place, fault.digest, fault.message, sorted(users))

    def _healed(self, digest: str, source: "Place") -> bool:
        """Store an object anew from another store; False when that does not have it whole."""
        try:
            with source.objects.open(digest) as stream:
                self._content_store().store_anew(digest, stream)
        except (NotFound, Corrupted):
            return False
        return True

    def _discard_damage(self, found: Examined) -> list[str]:
        from everloop.store.objects import Fault
        from everloop.store.objects.guards import Busy

        faults = [Fault(each.place, each.digest, each.message) for each in found.faults]
        try:
            return self._content_store().discard_damage(faults)
        except Busy:
            raise Unavailable(
                "writers are at work in the object store, so damaged files could not be taken out",
                hint="run it again when they have finished",
            ) from None

    def _content_store(self) -> "ContentStore":
        from everloop.store.objects import ContentStore

        store = self.objects
        assert isinstance(store, ContentStore)  # an operation runs where the ledger and the objects are
        return store


def _grouped(faults: Iterable[Damage]) -> list[Damage]:
    """Each fault once; what hurts somebody first, by place."""
    once = {(each.place, each.digest, each.message): each for each in faults}.values()
    return sorted(once, key=lambda each: (not each.used_by, each.place, each.digest or ""))
