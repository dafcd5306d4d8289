"""Reading every stored byte and naming what is wrong. Believes no index: it reads the files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from everloop.errors import Corrupted
from everloop.store.objects import hashing, packs, recipes
from everloop.store.objects.buckets import Bucket
from everloop.store.objects.catalog import Catalog, loose_digest, pack_key, pack_name
from everloop.store.objects.contract import Fault
from everloop.store.objects.packs import DamagedPack, Entry, Kind
from everloop.store.objects.reading import READ_AHEAD, ChunkedReader

FORMAT_KEY = "format"


def intact(kind: Kind, digest: bytes, payload: bytes) -> bool:
    """Whether these are the bytes that were stored as an entry."""
    if kind is not Kind.RECIPE:
        return hashing.sha256(payload) == digest
    try:
        recipes.decode(payload)
    except recipes.DamagedRecipe:
        return False
    return True


class _Recipe(NamedTuple):
    place: str
    entry: Entry
    payload: bytes


class Verification:
    """One walk over a store. Holds one pack and the recipes of one pack in memory at a time."""

    def __init__(
        self,
        bucket: Bucket,
        catalog: Catalog,
        format_line: bytes,
        reader: Callable[[str, bytes], ChunkedReader],
    ) -> None:
        self._bucket = bucket
        self._catalog = catalog
        self._format = format_line
        self._reader = reader

    def faults(self) -> Iterator[Fault]:
        """What is wrong: first the files, then the large objects that cannot be put together."""
        stored = False
        for key, size in self._bucket.list("loose/"):
            stored = True
            yield from self._loose_faults(key, size)
        packed: list[str] = []
        for key, size in self._bucket.list("packs/"):
            stored = True
            name = pack_name(key)
            if name is None:
                yield Fault(key, None, "this file does not belong to the store")
            else:
                packed.append(name)
                yield from self._pack_faults(name, size)
        yield from self._format_faults(stored)
        for name in packed:
            yield from self._recipe_faults(name)

    def _format_faults(self, stored: bool) -> Iterator[Fault]:
        found = self._bucket.get(FORMAT_KEY, 0, 64)
        if found is None and stored:
            yield Fault(FORMAT_KEY, None, "the file that names the format of the store is missing")
        if found is not None and found != self._format:
            yield Fault(
                FORMAT_KEY, None, "the file does not name the format that this version of Everloop writes"
            )

    def _loose_faults(self, key: str, size: int) -> Iterator[Fault]:
        digest = loose_digest(key)
        if digest is None:
            yield Fault(key, None, "this file does not belong to the store")
        elif hashing.sha256(self._bucket.get(key, 0, size) or b"") != digest:
            yield Fault(
                key, digest.hex(), f"the {size} bytes of this file do not match the digest it is named by"
            )

    def _pack_faults(self, name: str, size: int) -> Iterator[Fault]:
        key = pack_key(name)
        data = self._bucket.get(key, 0, size) or b""
        try:
            packs.check_header(data)
        except DamagedPack as error:
            yield Fault(f"{key}@{error.offset}", None, str(error))
        try:
            entries = packs.parse(data, name)
        except DamagedPack as error:
            yield Fault(f"{key}@{error.offset}", None, f"{error}; what the pack holds is not known")
            return
        # An index that says otherwise would hide what is here.
        self._catalog.correct(name, entries)
        for entry in entries:
            if not intact(entry.kind, entry.digest, data[entry.offset : entry.offset + entry.length]):
                yield Fault(
                    f"{key}@{entry.offset}",
                    entry.digest.hex(),
                    f"the {entry.length} bytes of this {entry.kind.name.lower()} do not match their digest",
                )

    def _recipe_faults(self, name: str) -> Iterator[Fault]:
        for recipe in self._recipes(name):
            digest = recipe.entry.digest.hex()
            whole = hashlib.sha256()
            size = 0
            try:
                reader = self._reader(digest, recipe.payload)
                while piece := reader.read(READ_AHEAD):
                    whole.update(piece)
                    size += len(piece)
            except Corrupted as error:
                yield Fault(recipe.place, digest, error.message)
                continue
            if whole.digest() != recipe.entry.digest or size != recipe.entry.size:
                yield Fault(recipe.place, digest, "the chunks that the recipe names do not make the object")

    def _recipes(self, name: str) -> Iterator[_Recipe]:
        key = pack_key(name)
        for entry in self._catalog.pack_entries(name):
            if entry.kind is Kind.RECIPE:
                payload = self._bucket.get(key, entry.offset, entry.length) or b""
                if intact(Kind.RECIPE, entry.digest, payload):  # a damaged one has been named already
                    yield _Recipe(f"{key}@{entry.offset}", entry, payload)
