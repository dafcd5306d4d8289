"""Which versions of a dataset are kept, and what a collection of objects did."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import msgspec

from everloop.domain.datasets import VersionRecord


class Retention(msgspec.Struct, frozen=True):
    """What is kept of each dataset: its newest `keep_last` versions, and those younger than `younger_than`. Either may be None,
    which keeps nothing by itself; when both are, every version is kept. The newest version, pinned ones and those that went into
    something are always kept.

    names: the datasets this is about; all when empty.
    """

    keep_last: int | None = None
    younger_than: timedelta | None = None
    names: list[str] = []

    @property
    def keeps_all(self) -> bool:
        return self.keep_last is None and self.younger_than is None


class Pin(msgspec.Struct, frozen=True):
    """A version that no retention takes away, why, and who said so."""

    reference: str
    reason: str
    time: datetime
    user: str


class Size(msgspec.Struct, frozen=True):
    """A number of objects, and their bytes of content."""

    objects: int = 0
    bytes: int = 0


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection of objects did, or with `dry_run` would do.

    versions: taken away by the retention. in_use: beyond the retention, but they went into something. pinned: likewise, pinned.
    freed: objects that went. bytes: on disk that are free now. files: of the store that were removed or written anew.
    young: objects that nothing needs, too young to go. mentioned: objects that nothing holds, but whose digest stands somewhere
    in the ledger: they stay. left: bytes that are dead but stay for now, in packs of which too little is dead.
    """

    dry_run: bool
    versions: list[str] = []
    in_use: list[str] = []
    pinned: list[str] = []
    freed: Size = Size()
    bytes: int = 0
    files: int = 0
    young: Size = Size()
    mentioned: Size = Size()
    left: int = 0


def surplus(versions: Sequence[VersionRecord], retention: Retention, now: datetime) -> list[VersionRecord]:
    """The versions of one dataset that the retention does not ask for, oldest first. The newest is never among them.

    >>> from datetime import UTC
    >>> def made(number, day):
    ...     at = datetime(2026, 1, day, tzinfo=UTC)
    ...     return VersionRecord(reference=f"data:x@v{number}", name="x", version=number, digest="", files=1, bytes=1,
    ...         new_bytes=1, rows=None, columns=[], parent=None, producer=None, message="", created=at, user="")
    >>> versions = [made(1, 1), made(2, 2), made(3, 20), made(4, 21)]
    >>> now = datetime(2026, 1, 22, tzinfo=UTC)
    >>> [each.version for each in surplus(versions, Retention(keep_last=1), now)]
    [1, 2, 3]
    >>> [each.version for each in surplus(versions, Retention(keep_last=1, younger_than=timedelta(days=7)), now)]
    [1, 2]
    >>> surplus(versions, Retention(), now)
    []
    """
    if retention.keeps_all:
        return []
    ordered = sorted(versions, key=lambda each: each.version)
    last = max(1, retention.keep_last or 0)
    young = retention.younger_than
    return [each for each in ordered[:-last] if young is None or now - each.created >= young]


def split_surplus(
    found: Sequence[VersionRecord], pinned: Collection[str], used: Collection[str]
) -> tuple[list[VersionRecord], list[str], list[str]]:
    """Of surplus versions: those that may go, the references of pinned ones, and of those in use."""
    going = [each for each in found if each.reference not in pinned and each.reference not in used]
    return (
        going,
        [each.reference for each in found if each.reference in pinned],
        [each.reference for each in found if each.reference in used and each.reference not in pinned],
    )
