"""What each file of a known folder held when it was last read, so that a file that looks the same is not read again.

A file is known by how the system describes it: size, times of modification and of change, inode. As git does, an entry whose
file was modified no earlier than its content was read is not trusted: the file may have changed again within the same tick of
the clock, and would look the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import file_digest, sha256
from pathlib import Path
from typing import NamedTuple

import msgspec

from everloop.data.incoming.folders import Found, FoundLink, Listing
from everloop.errors import EverloopError, InvalidInput


class Seen(NamedTuple):
    """The content of a file, or what a symbolic link points to, its look at that time, and whether its owner may run it."""

    digest: str
    size: int
    modified: int
    changed: int
    inode: int
    executable: bool = False


class Known(msgspec.Struct, frozen=True):
    """What is known of a folder, or of one file.

    reference: the version it holds, changed or not. begun: the clock of the file system, in nanoseconds, before the first of the
    files was read. only: patterns that chose the files of the version, empty for all. shared: the files are hard links
    to ones that the workspace keeps: another link to them changes their time of change, which then says nothing. folders: those
    with nothing in them.
    """

    reference: str
    begun: int
    files: dict[str, Seen]
    only: list[str] = []
    shared: bool = False
    folders: list[str] = []

    def digests(self, files: Iterable[Found | FoundLink]) -> dict[str, str]:
        """Path and content of those files that look as they did when they were read."""
        seen, begun, shared = self.files, self.begun, self.shared
        digests = {}
        for file in files:  # an unpacked tuple each: there may be many
            before, (size, modified, changed, inode) = seen.get(file[0]), file[2]
            if before is None or modified >= begun:
                continue
            digest, was_size, was_modified, was_changed, was_inode, _ = before
            if (size, modified, inode) != (was_size, was_modified, was_inode):
                continue
            if shared or (changed == was_changed and changed < begun):
                digests[file[0]] = digest
        return digests


class StatIndex:
    """The folders of one workspace whose files are known. Each is a file of its own, written whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "checkouts"

    def get(self, source: Path) -> Known | None:
        """What is known of a folder or file; None when nothing is, or when what was kept cannot be read."""
        return self._read(self._coming(source)) or self._read(self._place(source))

    def put(self, source: Path, known: Known) -> None:
        """Know a folder or file from now on."""
        self._write(self._place(source), known)
        self._coming(source).unlink(missing_ok=True)

    def prepare(self, source: Path, becoming: Path, known: Known) -> None:
        """Know a folder from the moment when the folder `becoming` takes its place: be it that the process ends right after."""
        place = self._coming(source, becoming)
        self._drop_coming(source)
        self._write(place, known)

    @contextlib.contextmanager
    def alone(self, source: Path) -> Iterator[None]:
        """While one process is here, another that wants to replace the same folder waits."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(
                self._place(source).with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666
            )
        except OSError as error:
            raise _problem(error, self._folder) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def now(self) -> int:
        """Now by the clock that stamps files, which may be coarser than the computer's, or another machine's."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            probe = self._folder / ".tick"
            probe.touch()
            return probe.stat().st_mtime_ns
        except OSError as error:
            raise _problem(error, self._folder) from None

    def _place(self, source: Path) -> Path:
        return self._folder / f"{sha256(os.fsencode(source.resolve())).hexdigest()[:32]}.msgpack"

    def _coming(self, source: Path, becoming: Path | None = None) -> Path:
        """What is known of the folder with this inode, once it stands at this place."""
        try:
            inode = (becoming or source).stat().st_ino
        except OSError:
            inode = 0
        return self._place(source).with_suffix(f".{inode}")

    def _drop_coming(self, source: Path) -> None:
        for left in self._folder.glob(f"{self._place(source).stem}.*"):
            if left.suffix[1:].isdigit():
                left.unlink(missing_ok=True)

    def _read(self, place: Path) -> Known | None:
        try:
            return msgspec.msgpack.decode(place.read_bytes(), type=Known)
        except (OSError, msgspec.MsgspecError):
            return None

    def _write(self, place: Path, known: Known) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            staged = place.with_name(f"{place.name}.{os.getpid()}.new")
            staged.write_bytes(msgspec.msgpack.encode(known))
            staged.replace(place)
        except OSError as error:
            raise _problem(error, self._folder) from None


def known(
    reference: str,
    begun: int,
    listing: Listing,
    digests: Mapping[str, str],
    *,
    only: Sequence[str] = (),
    shared: bool = False,
) -> Known:
    """What is known of a folder whose files have these digests."""
    files = {file.path: Seen(digests[file.path], *file.look, file.executable) for file in listing.files}
    files |= {link.path: Seen(digest_of_link(link.target), *link.look) for link in listing.links}
    return Known(reference, begun, files, list(only), shared, listing.folders)


def digest_of_link(target: str) -> str:
    """The SHA-256 of what a symbolic link points to."""
    return sha256(os.fsencode(target)).hexdigest()


def digest_of(file: Found) -> str:
    """The SHA-256 of a file as it is now. Raises InvalidInput."""
    try:
        with open(file.source, "rb") as stream:
            return file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InvalidInput(f"{file.source} cannot be read: {error.strerror}") from None


def _problem(error: OSError, folder: Path) -> EverloopError:
    from everloop.store.objects.buckets import storage_error

    return storage_error(error, str(folder))
