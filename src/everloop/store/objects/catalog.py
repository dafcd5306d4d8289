"""Where the bytes of a digest are: the index, kept in line with the bucket it was derived from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from everloop.store.objects import packs
from everloop.store.objects.buckets import Bucket
from everloop.store.objects.index import Index, Place, StaleIndex
from everloop.store.objects.packs import DamagedPack, Entry

_PACK_KEY = re.compile(r"packs/([0-9a-f]{64})\.pack")
_LOOSE_KEY = re.compile(r"loose/([0-9a-f]{2})/([0-9a-f]{62})")

Answer = TypeVar("Answer")


def pack_key(name: str) -> str:
    return f"packs/{name}.pack"


def pack_name(key: str) -> str | None:
    """The name of the pack with this key; None when no pack has such a key."""
    match = _PACK_KEY.fullmatch(key)
    return match[1] if match else None


def loose_key(digest: bytes) -> str:
    """Two digits make the folder, so that no folder holds more than a 256th of the files."""
    name = digest.hex()
    return f"loose/{name[:2]}/{name[2:]}"


def loose_digest(key: str) -> bytes | None:
    """The digest of the loose object with this key; None when none has such a key."""
    match = _LOOSE_KEY.fullmatch(key)
    return bytes.fromhex(match[1] + match[2]) if match else None


def key_of(place: Place, digest: bytes) -> str:
    return loose_key(digest) if place.pack is None else pack_key(place.pack)


def describe(place: Place, digest: bytes) -> str:
    """A place for people: the file, and for a pack the byte in it."""
    return loose_key(digest) if place.pack is None else f"{pack_key(place.pack)}@{place.offset}"


class Catalog:
    """Answers from the index at once, asks the bucket where the index does not know. Safe for threads and
    processes.
    """

    def __init__(self, bucket: Bucket, index: Index) -> None:
        self._bucket = bucket
        self._index = index
        self.unreadable: dict[str, str] = {}
        """Packs whose footer cannot be read, with the reason: what they hold is not known."""

    def close(self) -> None:
        self._index.close()

    # What the index says

    def objects(self, digest: bytes) -> list[Place]:
        """The copies of an object that the index knows, whole or as a recipe."""
        return self._ask(lambda: self._index.object_places(digest))

    def pieces(self, digest: bytes) -> list[Place]:
        """The copies of these bytes that the index knows, be they an object or a chunk of one."""
        return self._ask(lambda: self._index.byte_places(digest))

    def objects_among(self, digests: Sequence[bytes]) -> set[bytes]:
        """Those of `digests` that are objects: one question for many."""
        return self._ask(lambda: self._index.objects_among(digests))

    def first_places(self, digests: Sequence[bytes]) -> dict[bytes, Place]:
        """One copy of each object that the index knows, for many at once."""
        return self._ask(lambda: self._index.first_places(digests))

    def first_pieces(self, digests: Sequence[bytes]) -> dict[bytes, Place]:
        """One copy of each of these bytes, be they an object or a chunk of one, for many at once."""
        return self._ask(lambda: self._index.first_pieces(digests))

    def has_object(self, digest: bytes) -> bool:
        return bool(self.objects(digest))

    def digests(self) -> Iterator[bytes]:
        after = b""
        while batch := self._ask(partial(self._index.digests, after, 5000)):
            yield from batch
            after = batch[-1]

    def pack_names(self) -> list[str]:
        """The packs that the index knows."""
        return sorted(self._ask(self._index.packs))

    def pack_entries(self, name: str) -> list[Entry]:
        return self._ask(lambda: self._index.entries(name))

    # What is there

    def find(self, digest: bytes, kind: Callable[[bytes], list[Place]]) -> list[Place]:
        """The copies of a digest, `kind` being `objects` or `pieces`; the bucket is searched when the index
        has none.
        """
        if found := kind(digest):
            return found
        size = self._bucket.size(loose_key(digest))
        if size is not None:
            self.add_loose(digest, size)
        else:
            self.refresh()
        return kind(digest)

    def present(self, place: Place, digest: bytes) -> bool:
        """Whether the file that the index names is really there, and long enough."""
        size = self._bucket.size(key_of(place, digest))
        return size is not None and size >= place.offset + place.length

    def refresh(self, *, loose: bool = False) -> None:
        """Learn of packs that came or went; of loose files too when asked, for there may be many."""
        try:
            self._refresh(loose)
        except StaleIndex:
            self._refresh(loose)

    def _refresh(self, loose: bool) -> None:
        known = self._index.packs()
        listed = {name: size for key, size in self._bucket.list("packs/") if (name := pack_name(key))}
        for name in known.keys() - listed.keys():
            # Another process may have added it after the listing.
            if self._bucket.size(pack_key(name)) is None:
                self._index.drop_pack(name)
        for name, size in listed.items():
            if known.get(name) != size:
                self._take_in(name, size)
        if loose:
            before = self._index.loose()
            found = {raw: size for key, size in self._bucket.list("loose/") if (raw := loose_digest(key))}
            gone = [raw for raw in before.keys() - found.keys() if self._bucket.size(loose_key(raw)) is None]
            self._index.drop_loose(gone)
            self._index.add_loose([(raw, size) for raw, size in found.items() if raw not in before])

    # What changed

    def add_loose(self, digest: bytes, size: int) -> None:
        self._ask(lambda: self._index.add_loose([(digest, size)]))

    def add_pack(self, name: str, entries: list[Entry]) -> None:
        self._ask(lambda: self._index.add_pack(name, packs.size_of(entries), entries))

    def forget(self, place: Place, digest: bytes) -> None:
        """The file that the index names is gone."""
        pack = place.pack
        if pack is None:
            self._ask(lambda: self._index.drop_loose([digest]))
        else:
            self._ask(lambda: self._index.drop_pack(pack))

    def correct(self, name: str, entries: list[Entry]) -> bool:
        """Hold the index to the entries that a pack really has; True when it was wrong, and now is not."""
        if self._ask(lambda: self._index.entries(name)) == entries:
            return False
        self._ask(lambda: self._index.drop_pack(name))
        self.add_pack(name, entries)
        return True

    def recheck(self, name: str) -> bool:
        """Hold the index to the footer of a pack; True when the index was wrong, and now is not."""
        size = self._bucket.size(pack_key(name))
        try:
            return size is not None and self.correct(name, self._footer(name, size))
        except DamagedPack:
            return False

    def _take_in(self, name: str, size: int) -> None:
        try:
            entries = self._footer(name, size)
        except DamagedPack as error:
            # What the index knew of the pack stays: entries before the damage can still be read.
            self.unreadable[name] = str(error)
        else:
            self.unreadable.pop(name, None)
            self._index.drop_pack(name)
            self._index.add_pack(name, size, entries)

    def _footer(self, name: str, size: int) -> list[Entry]:
        key = pack_key(name)
        # One fetch brings the footers of most packs; a longer one takes a second.
        tail_at = max(0, size - 64 * 1024)
        tail = self._bucket.get(key, tail_at, size - tail_at) or b""
        at, length = packs.footer_span(tail[-packs.TRAILER_SIZE :], size, name)
        footer = (
            tail[at - tail_at : at - tail_at + length] if at >= tail_at else self._bucket.get(key, at, length)
        )
        return packs.parse_footer(footer or b"", name, at)

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        """Put a question to the index; one that turns out to be damaged is built anew first."""
        try:
            return question()
        except StaleIndex:
            self.refresh(loose=True)
            return question()
