"""Versions as files in a folder, and what was changed there since.

For every folder that was checked out or added, the workspace keeps which version it is and how each file looked (size, times,
inode), so that `status` reads only files that may have changed. As git does, it does not trust an entry that was modified after
the record was begun: such a file may have changed again within the same tick of the clock.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from everloop.data.folders import Found, list_contents
from everloop.domain.datasets import FileDiff, FileEntry, Manifest, diff_files
from everloop.errors import Conflict, InvalidInput, StorageError

if TYPE_CHECKING:
    from everloop.store.objects import Objects

_COPY = 1024 * 1024


class _Seen(msgspec.Struct, frozen=True, array_like=True):
    digest: str
    size: int
    modified: int
    changed: int
    inode: int

    def shows(self, file: Found) -> bool:
        return file.print == (self.size, self.modified, self.changed, self.inode)


class _Record(msgspec.Struct, frozen=True):
    """What is known of a folder. `begun` is in nanoseconds of the file system's clock."""

    reference: str
    begun: int
    files: dict[str, _Seen]


class Checkouts:
    """The folders of one workspace that hold a version."""

    def __init__(self, folder: Path) -> None:
        self._records = folder / "checkouts"

    def reference_of(self, folder: Path) -> str | None:
        """Which version a folder holds, changed or not."""
        record = self._read(folder)
        return record.reference if record else None

    def remember(
        self, folder: Path, reference: str, files: Iterable[Found], digests: Mapping[str, str]
    ) -> None:
        """The folder holds this version now, with these files."""
        self._records.mkdir(parents=True, exist_ok=True)
        begun = self._tick()
        seen = {file.path: _Seen(digests[file.path], *file.print) for file in files}
        staged = self._place(folder).with_suffix(".new")
        staged.write_bytes(msgspec.msgpack.encode(_Record(reference, begun, seen)))
        staged.replace(self._place(folder))

    def changes(self, folder: Path, manifest: Manifest) -> FileDiff:
        """What differs from a version to the folder as it is now."""
        record = self._read(folder)
        now = [FileEntry(file.path, self._digest(file, record), file.size) for file in list_contents(folder)]
        return diff_files(manifest, Manifest(tuple(sorted(now))))

    def write(
        self,
        objects: Objects,
        manifest: Manifest,
        folder: Path,
        identifier: str,
        *,
        force: bool,
        held: Manifest | None,
    ) -> None:
        """Put a version's files into a folder, all at once: they are written beside it and change places with it.

        held: the version that the folder is known to hold. Raises Conflict when the folder has anything else in it, unless
        `force`.
        """
        folder = folder.absolute()
        if folder.exists() and not folder.is_dir():
            raise InvalidInput(f"{folder} is a file", hint="name a folder")
        occupied = folder.is_dir() and any(folder.iterdir())
        if occupied and not force:
            self._require_clean(folder, held)
        beside = folder.parent / f".{folder.name}.{identifier}"
        aside = folder.parent / f".{folder.name}.{identifier}.before"
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            for file in manifest.files:
                _copy(objects, file, beside / file.path)
            if folder.is_dir():
                folder.rename(aside)
            beside.rename(folder)
        except OSError as error:
            if aside.exists() and not folder.exists():
                aside.rename(folder)
            raise StorageError(
                f"{folder} cannot be written: {error.strerror}", hint="what was there is still there"
            ) from None
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)

    def _require_clean(self, folder: Path, held: Manifest | None) -> None:
        if held is None:
            raise Conflict(
                f"{folder} is not empty",
                hint="choose another folder, or use --force to replace what is there",
            )
        changes = self.changes(folder, held)
        different = [*changes.added, *changes.changed, *changes.removed]
        if different:
            raise Conflict(
                f"{folder} has local changes: {', '.join(different[:5])}{' …' if len(different) > 5 else ''}",
                hint="add them as a version first, or use --force to lose them",
            )

    def _digest(self, file: Found, record: _Record | None) -> str:
        known = record.files.get(file.path) if record else None
        if record and known and known.shows(file) and max(file.modified, file.changed) < record.begun:
            return known.digest
        try:
            with file.source.open("rb") as stream:
                return file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise InvalidInput(f"{file.source} cannot be read: {error.strerror}") from None

    def _read(self, folder: Path) -> _Record | None:
        try:
            return msgspec.msgpack.decode(self._place(folder).read_bytes(), type=_Record)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def _place(self, folder: Path) -> Path:
        return self._records / f"{sha256(os.fsencode(folder.resolve())).hexdigest()[:32]}.msgpack"

    def _tick(self) -> int:
        """Now by the clock that stamps files, which may be coarser than the computer's, or another machine's."""
        probe = self._records / ".tick"
        probe.touch()
        return probe.stat().st_mtime_ns


def _copy(objects: Objects, file: FileEntry, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with objects.open(file.digest) as source, target.open("xb") as copy:
        shutil.copyfileobj(source, copy, _COPY)
