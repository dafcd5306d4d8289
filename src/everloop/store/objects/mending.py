"""Telling what is wrong with single objects, and putting good bytes in the place of damaged ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from everloop.store.objects import recipes
from everloop.store.objects.buckets import Bucket, stage, storage_errors
from everloop.store.objects.catalog import Catalog, describe, key_of, loose_digest, pack_key, pack_name
from everloop.store.objects.contract import Fault
from everloop.store.objects.index import Place
from everloop.store.objects.packs import DamagedPack, Entry, Kind, PackFile, check_header, parse
from everloop.store.objects.verifying import intact


class Inspection:
    """Looks at single objects. With `full` every byte is read, else only whether all files are there and long enough.

    A chunk that many objects share is looked at once.
    """

    def __init__(self, bucket: Bucket, catalog: Catalog, *, full: bool) -> None:
        self._bucket = bucket
        self._catalog = catalog
        self._full = full
        self._chunks: dict[bytes, Fault | None] = {}

    def faults(self, digest: bytes) -> Iterator[Fault]:
        """What is wrong with an object; nothing, when there is one whole copy of all its bytes."""
        found: list[Fault] = []
        for place in self._catalog.find(digest, self._catalog.objects):
            here = list(self._copy_faults(digest, place))
            if not here:
                return
            found += here
        yield from found or [Fault(f"object {digest.hex()}", digest.hex(), "is missing")]

    def _copy_faults(self, digest: bytes, place: Place) -> Iterator[Fault]:
        if place.kind is not Kind.RECIPE:
            fault = self._entry_fault(digest, place)
            if fault is not None:
                yield fault
            return
        payload = self._bucket.get(key_of(place, digest), place.offset, place.length) or b""
        try:
            chunks = recipes.decode(payload)
        except recipes.DamagedRecipe as error:
            yield Fault(describe(place, digest), digest.hex(), str(error))
            return
        at = 0
        for chunk in chunks:
            if chunk.digest not in self._chunks:
                self._chunks[chunk.digest] = self._chunk_fault(chunk)
            fault = self._chunks[chunk.digest]
            if fault is not None:
                yield Fault(fault.place, digest.hex(), f"{fault.message}: bytes {at} to {at + chunk.length}")
            at += chunk.length

    def _chunk_fault(self, chunk: recipes.Chunk) -> Fault | None:
        fault = Fault(f"chunk {chunk.digest.hex()}", chunk.digest.hex(), "a chunk is missing")
        for place in self._catalog.find(chunk.digest, self._catalog.pieces):
            found = self._entry_fault(chunk.digest, place)
            if found is None and place.length == chunk.length:
                return None
            fault = found or fault
        return fault

    def _entry_fault(self, digest: bytes, place: Place) -> Fault | None:
        where = describe(place, digest)
        if not self._full:
            if self._catalog.present(place, digest):
                return None
            return Fault(where, digest.hex(), "the file is missing or cut short")
        payload = self._bucket.get(key_of(place, digest), place.offset, place.length)
        if payload is None:
            return Fault(where, digest.hex(), "the file is missing")
        if not intact(place.kind, digest, payload):
            return Fault(where, digest.hex(), f"the {place.length} bytes here do not match their digest")
        return None


def file_of(fault: Fault) -> str:
    """The key of the file that a fault is in.

    >>> file_of(Fault("packs/ab.pack@12", None, ""))
    'packs/ab.pack'
    """
    return fault.place.partition("@")[0]


def discard_damage(bucket: Bucket, catalog: Catalog, keys: Iterable[str]) -> list[str]:
    """Of some files, remove those that are damaged and of which every damaged entry has a whole copy elsewhere, after what is
    whole in them was stored once more. Returns their keys. Damage that nothing replaces stays where it is. To be called within
    the guard's `removing`."""
    catalog.refresh(loose=True)
    removed = []
    for key in keys:
        size = bucket.size(key) or 0
        data = bucket.get(key, 0, size) or b""
        name, digest = pack_name(key), loose_digest(key)
        if digest is not None:
            entries, framed = [Entry(Kind.BLOB, digest, 0, size, size)], True
        elif name is not None:
            entries, framed = _entries(catalog, name, data)
        else:
            continue
        whole = [each for each in entries if intact(each.kind, each.digest, _bytes_of(data, each))]
        if not entries or (framed and len(whole) == len(entries)):
            continue
        hurt = [each for each in entries if each not in whole]
        if all(_has_other_copy(bucket, catalog, each, key) for each in hurt):
            if whole:
                _store_again(bucket, catalog, whole, data)
            bucket.delete(key)
            if name is not None:
                catalog.forget(Place(Kind.BLOB, name, 0, 0, 0), b"")
                catalog.unreadable.pop(name, None)
            elif digest is not None:
                catalog.forget(Place(Kind.BLOB, None, 0, 0, 0), digest)
            removed.append(key)
    return removed


def _entries(catalog: Catalog, name: str, data: bytes) -> tuple[list[Entry], bool]:
    """The entries of a pack, and whether its frame is whole. Where it is not, the index may know what the pack held."""
    try:
        check_header(data)
        return parse(data, name), True
    except DamagedPack:
        return catalog.pack_entries(name), False


def _bytes_of(data: bytes, entry: Entry) -> bytes:
    return data[entry.offset : entry.offset + entry.length]


def _has_other_copy(bucket: Bucket, catalog: Catalog, entry: Entry, key: str) -> bool:
    if entry.kind is Kind.CHUNK:
        places = catalog.pieces(entry.digest)
    else:  # an object may be whole in one file and in chunks in another
        places = catalog.objects(entry.digest)
    for place in places:
        other = key_of(place, entry.digest)
        if other == key:
            continue
        payload = bucket.get(other, place.offset, place.length)
        if payload is not None and intact(place.kind, entry.digest, payload):
            return True
    return False


def _store_again(bucket: Bucket, catalog: Catalog, entries: list[Entry], data: bytes) -> None:
    with storage_errors(str(bucket.staging)):
        pack = PackFile(stage(bucket.staging))
        try:
            for entry in entries:
                pack.append(entry.kind, entry.digest, _bytes_of(data, entry), entry.size)
            name, stored = pack.seal()
            bucket.put_file(pack_key(name), pack.path)
        finally:
            pack.abandon()
    catalog.add_pack(name, stored)
