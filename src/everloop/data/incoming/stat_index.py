"""What each file of a known folder held when it was last read, so that a file that looks the same is not read again.

A file is known by how the system describes it: size, times of modification and of change, inode. As git does, an entry whose
file was modified no earlier than its content was read is not trusted: the file may have changed again within the same tick of
the clock, and would look the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from typing import NamedTuple

import msgspec

from everloop.data.incoming.folders import Found
from everloop.errors import EverloopError, InvalidInput


class Seen(NamedTuple):
    """The content of a file, and its look at that time."""

    digest: str
    size: int
    modified: int
    changed: int
    inode: int


class Known(msgspec.Struct, frozen=True):
    """What is known of a folder, or of one file.

    reference: the version it holds, changed or not. begun: the clock of the file system, in nanoseconds, before the first of the
    files was read. only: patterns that chose the files of the version, empty for all. shared: the files are hard links
    to ones that the workspace keeps: another link to them changes their time of change, which then says nothing.
    """

    reference: str
    begun: int
    files: dict[str, Seen]
    only: list[str] = []
    shared: bool = False

    def digest(self, file: Found) -> str | None:
        """The content of a file, when it looks as it did when it was read; else None."""
        seen, look = self.files.get(file.path), file.look
        if seen is None or look.modified >= self.begun or seen[1:3] != look[:2] or seen.inode != look.inode:
            return None
        if not self.shared and (look.changed >= self.begun or seen.changed != look.changed):
            return None
        return seen.digest


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


def known(reference: str, begun: int, files: Iterable[Found], digests: Mapping[str, str]) -> Known:
    """What is known of files that were read with these digests."""
    return Known(reference, begun, {file.path: Seen(digests[file.path], *file.look) for file in files})


def digest_of(file: Found) -> str:
    """The SHA-256 of a file as it is now; of a link, of where it points to."""
    try:
        if os.path.islink(file.source):
            return sha256(os.fsencode(os.readlink(file.source))).hexdigest()
        with open(file.source, "rb") as stream:
            return file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InvalidInput(f"{file.source} cannot be read: {error.strerror}") from None


def _problem(error: OSError, folder: Path) -> EverloopError:
    from everloop.store.objects.buckets import storage_error

    return storage_error(error, str(folder))
