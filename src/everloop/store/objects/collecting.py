"""Freeing what nobody needs: which files of a store go, which are written anew without their dead entries, and doing it.

What is needed is said by the caller (the ledger knows); how it may go without racing a writer is explained in
`docs/explanation/collection.md`. Here one rule holds at the moment of each removal, whatever was planned before: **a file goes
only when each of its entries is dead or has another copy in a file that stays**.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from everloop.errors import Corrupted
from everloop.store.objects import recipes
from everloop.store.objects.buckets import Bucket, stage, storage_errors
from everloop.store.objects.catalog import Catalog, key_of, loose_digest, pack_key, pack_name
from everloop.store.objects.index import Place
from everloop.store.objects.packs import Entry, Kind, PackFile
from everloop.store.objects.verifying import intact

WORTH = 0.25
"""A pack is written anew when this share of it is dead. What is dead in other packs stays until more of them is."""


class Removal(NamedTuple):
    """A file that is to go. `objects` are those that go with it; `rewritten` says that the rest of the pack stays, in another.

    freed: bytes on disk that are free afterwards.
    """

    key: str
    objects: frozenset[bytes]
    rewritten: bool
    freed: int


class Plan(NamedTuple):
    """What a collection would do. `sizes`: of the objects that go, by digest. `young`: of those that nobody needs, but that are
    in files younger than asked for. `left`: bytes that are dead, in packs that are not worth being written anew."""

    removals: list[Removal]
    sizes: dict[bytes, int]
    young: dict[bytes, int]
    left: int

    @property
    def freed(self) -> int:
        return sum(each.freed for each in self.removals)


class Collection:
    """One collection of a store. Remembers which chunks are needed, so it wants 100 bytes of memory for each chunk stored."""

    def __init__(self, bucket: Bucket, catalog: Catalog) -> None:
        self._bucket = bucket
        self._catalog = catalog
        self._chunks: dict[str, dict[bytes, frozenset[bytes]]] = {}  # by pack: object to its chunks
        self._entries: dict[str, list[Entry]] = {}

    def plan(self, unneeded: Iterable[bytes], *, older_than: float, worth: float = WORTH) -> Plan:
        """What can go when nobody needs these objects. `older_than`: seconds since 1970; files changed after that stay. `worth`:
        the share of a pack that must be dead for the rest to be written anew."""
        self._catalog.refresh(loose=True)
        self._refuse_damage()
        times = {each.key: each.modified for each in self._bucket.dated("loose/")}
        times |= {each.key: each.modified for each in self._bucket.dated("packs/")}
        dead: dict[bytes, int] = {}
        young: dict[bytes, int] = {}
        for digest in unneeded:
            places = self._catalog.objects(digest)
            if not places:
                continue
            stays = any(times.get(key_of(place, digest), older_than) >= older_than for place in places)
            (young if stays else dead)[digest] = places[0].size
        needed = self._needed_chunks(dead)
        removals, left = [], 0
        for key, modified in times.items():
            if modified >= older_than:
                continue
            name, loose = pack_name(key), loose_digest(key)
            if name is not None:
                removal, dead_bytes = self._of_pack(name, dead, needed, worth)
                left += 0 if removal is not None else dead_bytes
            elif loose is not None and loose in dead and loose not in needed:
                removal = Removal(key, frozenset([loose]), False, dead[loose])
            else:
                removal = None
            if removal is not None:
                removals.append(removal)
        going = frozenset().union(*(each.objects for each in removals))
        removals.sort(key=lambda each: each.rewritten)  # whole files first: that needs no room
        return Plan(removals, {digest: dead[digest] for digest in going}, young, left)

    def rewrite(self, removal: Removal, dead: Mapping[bytes, int]) -> None:
        """Store what stays of a pack once more, in a pack of its own that is as old. The old one is still there."""
        name = pack_name(removal.key)
        assert name is not None
        needed = self._needed_chunks(dead)
        size = self._bucket.size(removal.key)
        data = self._bucket.get(removal.key, 0, size or 0)
        if data is None:
            return
        with storage_errors(str(self._bucket.staging)):
            pack = PackFile(stage(self._bucket.staging))
            try:
                for entry in self._pack(name):
                    if _is_dead(entry, dead, needed):
                        continue
                    payload = data[entry.offset : entry.offset + entry.length]
                    if not intact(entry.kind, entry.digest, payload):
                        raise Corrupted(
                            f"{removal.key} is damaged at byte {entry.offset}, so it is not written anew",
                            hint="see: everloop data fsck",
                        )
                    pack.append(entry.kind, entry.digest, payload, entry.size)
                new, entries = pack.seal()
                modified = self._bucket.modified(removal.key)
                self._bucket.put_file(pack_key(new), pack.path)
                if modified is not None:
                    self._bucket.age(pack_key(new), modified)
            finally:
                pack.abandon()
        self._catalog.add_pack(new, entries)

    def remove(
        self, removals: Iterable[Removal], dead: Mapping[bytes, int], *, older_than: float
    ) -> Iterator[Removal]:
        """Remove the files of which nothing is needed any more; yields those that went. `dead`: the objects that nobody needs,
        known at this very moment. To be called within the guard's `removing`, and while nobody can begin to need one of them."""
        self._catalog.refresh()
        self._refuse_damage()
        needed = self._needed_chunks(dead)
        for removal in removals:
            modified = self._bucket.modified(removal.key)
            if modified is None or modified >= older_than:
                continue  # gone already, or somebody relies on it again
            if all(self._may_go(entry, removal.key, dead, needed) for entry in self._held_by(removal.key)):
                self._bucket.delete(removal.key)
                self._forget(removal.key)
                yield removal

    def _may_go(self, entry: Entry, key: str, dead: Mapping[bytes, int], needed: set[bytes]) -> bool:
        if _is_dead(entry, dead, needed):
            return True
        if entry.kind is Kind.RECIPE:
            copies = [place for place in self._catalog.objects(entry.digest) if place.kind is Kind.RECIPE]
        else:
            copies = self._catalog.pieces(entry.digest)
            if entry.kind is Kind.BLOB and entry.digest not in dead:  # it is an object, which a chunk is not
                copies = [place for place in copies if place.kind is Kind.BLOB]
        return any(
            key_of(place, entry.digest) != key and self._catalog.present(place, entry.digest)
            for place in copies
        )

    def _held_by(self, key: str) -> list[Entry]:
        name, digest = pack_name(key), loose_digest(key)
        if name is not None:
            return self._pack(name)
        assert digest is not None
        size = self._bucket.size(key) or 0
        return [Entry(Kind.BLOB, digest, 0, size, size)]

    def _forget(self, key: str) -> None:
        name, digest = pack_name(key), loose_digest(key)
        if digest is not None:
            self._catalog.forget(Place(Kind.BLOB, None, 0, 0, 0), digest)
        elif name is not None:
            self._catalog.forget(Place(Kind.BLOB, name, 0, 0, 0), b"")
            self._chunks.pop(name, None)
            self._entries.pop(name, None)

    def _of_pack(
        self, name: str, dead: Mapping[bytes, int], needed: set[bytes], worth: float
    ) -> tuple[Removal | None, int]:
        """What to do with a pack, and how many bytes of it are dead."""
        entries = self._pack(name)
        size = self._bucket.size(pack_key(name)) or 0
        gone = [entry for entry in entries if _is_dead(entry, dead, needed)]
        objects = frozenset(entry.digest for entry in gone if entry.kind is not Kind.CHUNK)
        dead_bytes = sum(entry.length for entry in gone)
        if len(gone) == len(entries):
            return Removal(pack_key(name), objects, False, size), dead_bytes
        if not gone or dead_bytes < worth * size:
            return None, dead_bytes
        return Removal(pack_key(name), objects, True, dead_bytes), dead_bytes

    def _pack(self, name: str) -> list[Entry]:
        if name not in self._entries:
            self._entries[name] = self._catalog.pack_entries(name)
        return self._entries[name]

    def _needed_chunks(self, dead: Mapping[bytes, int]) -> set[bytes]:
        """The chunks of all large objects but the dead ones. Packs that have come since are looked into."""
        needed: set[bytes] = set()
        for name in self._catalog.pack_names():
            if name not in self._chunks:
                self._chunks[name] = dict(self._read_recipes(name))
            for digest, chunks in self._chunks[name].items():
                if digest not in dead:
                    needed |= chunks
        return needed

    def _read_recipes(self, name: str) -> Iterator[tuple[bytes, frozenset[bytes]]]:
        """The chunks of the large objects of a pack. Recipes that lie side by side are fetched together."""
        run: list[Entry] = []
        for entry in [*(each for each in self._catalog.pack_entries(name) if each.kind is Kind.RECIPE), None]:
            if run and (entry is None or entry.offset != run[-1].offset + run[-1].length):
                start = run[0].offset
                data = self._bucket.get(pack_key(name), start, run[-1].offset + run[-1].length - start) or b""
                for each in run:
                    try:
                        chunks = recipes.decode(data[each.offset - start : each.offset - start + each.length])
                    except recipes.DamagedRecipe:
                        raise Corrupted(
                            f"the recipe of object {each.digest.hex()} at {pack_key(name)}@{each.offset} is damaged: "
                            "nothing is freed, for its chunks cannot be told",
                            hint="see: everloop data fsck",
                        ) from None
                    yield each.digest, frozenset(chunk.digest for chunk in chunks)
                run = []
            if entry is not None:
                run.append(entry)

    def _refuse_damage(self) -> None:
        for name, reason in self._catalog.unreadable.items():
            raise Corrupted(
                f"{pack_key(name)} cannot be read: {reason}; nothing is freed, for what it needs cannot be told",
                hint="see: everloop data fsck",
            )


def _is_dead(entry: Entry, dead: Mapping[bytes, int], needed: set[bytes]) -> bool:
    """Whether nobody needs an entry: as an object, or (a small object and a chunk of a large one may be the same bytes, stored
    once) as a chunk."""
    if entry.kind is not Kind.CHUNK and entry.digest not in dead:
        return False
    return entry.kind is Kind.RECIPE or entry.digest not in needed
