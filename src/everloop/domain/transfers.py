"""Versions on their way from one store to another, and what is found when a store is looked through."""

from __future__ import annotations

import msgspec

from everloop.domain.datasets import VersionRecord, reference_of
from everloop.domain.references import Kind, Reference


class SentVersion(msgspec.Struct, frozen=True):
    """A version as it leaves a workspace: all that is known of it, with the time, the user and the producer it has there.
    `appended`: it has its parent's files and more."""

    version: VersionRecord
    appended: bool = False

    def called(self, name: str) -> SentVersion:
        """The same version in a dataset of another name, its parent too.

        >>> from datetime import UTC, datetime
        >>> made = VersionRecord(reference="data:a@v2", name="a", version=2, digest="", files=1, bytes=1, new_bytes=1, rows=None,
        ...     columns=[], parent="data:a@v1", producer=None, message="", created=datetime(2026, 1, 1, tzinfo=UTC), user="")
        >>> sent = SentVersion(made).called("b").version
        >>> sent.reference, sent.parent
        ('data:b@v2', 'data:b@v1')
        """
        old = self.version
        parent = old.parent
        if parent is not None:
            before = Reference.parse(parent, Kind.DATA)
            if before.name == old.name and before.version is not None:
                parent = reference_of(name, before.version)
        changed = msgspec.structs.replace(
            old, name=name, reference=reference_of(name, old.version), parent=parent
        )
        return SentVersion(changed, self.appended)


class Received(msgspec.Struct, frozen=True):
    """Versions that were new at their destination, and those it had."""

    added: list[str]
    present: list[str]


class Transferred(msgspec.Struct, frozen=True, kw_only=True):
    """What a push or pull did.

    added: versions that are new at the destination. present: those it had. objects, bytes: moved; `of_bytes` is the size of
    all files of the versions asked for. by_reference: files whose bytes rest elsewhere, and were not moved.
    """

    source: str
    target: str
    added: list[str]
    present: list[str]
    objects: int
    bytes: int
    of_bytes: int
    by_reference: int = 0


class Use(msgspec.Struct, frozen=True, order=True):
    """Who needs an object: a dataset version and the path in it (empty for the list of its files), or another holder."""

    reference: str
    path: str = ""


class Damage(msgspec.Struct, frozen=True):
    """Something that is not as it should be. `place` is a file of the store (``name@offset`` within a pack), or the address of a
    file that versions only refer to."""

    place: str
    digest: str | None
    message: str
    used_by: list[Use]


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """What looking through stored data found. `level`: ``quick`` (all is there, in its size) or ``full`` (every byte was read).

    versions, objects, referenced: how many were looked at, the last being files that versions only refer to. healed: objects
    that got their bytes back from elsewhere.
    """

    ok: bool
    level: str
    versions: int
    objects: int
    faults: list[Damage]
    healed: list[str] = []
    referenced: int = 0
