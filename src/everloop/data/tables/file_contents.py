"""The bytes of a version's files, wherever they rest: in the object store, or where a file added by reference is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from everloop.data.checkouts import linking
from everloop.data.incoming.addresses import local_path, source_changed
from everloop.data.incoming.folders import Found, Listing, look_of
from everloop.data.incoming.stat_index import StatIndex, digest_of, known
from everloop.data.tables.file_cache import SMALL, FileCache, Kept
from everloop.domain.datasets import FileEntry, Link
from everloop.errors import NotFound, StorageError

if TYPE_CHECKING:
    from everloop.store.objects import Objects

_COPY = 1 << 20


class FileContents:
    """What one workspace can read. Every byte handed out was checked against its digest."""

    def __init__(self, objects: Objects, folder: Path) -> None:
        self._objects = objects
        self._folder = folder
        self.cache = FileCache(folder, objects)

    def open(self, file: FileEntry) -> BinaryIO:
        """A file as a seekable stream. A large object is fetched and checked piece by piece; what a version refers to is checked
        whole, before the first byte is handed out."""
        if file.source:
            return self.path(file).open("rb")
        return self._objects.open(file.digest)

    def read(self, file: FileEntry) -> bytes:
        """The whole content in memory."""
        return self.path(file).read_bytes() if file.source else self._objects.read(file.digest)

    def path(self, file: FileEntry) -> Path:
        """A file of this machine with this content, for code that can only read files. Not to be written to."""
        here = local_path(file.source) if file.source else None
        return self.cache.path(file) if here is None else self._checked(here, file)

    # Checkouts

    def chosen_link(self, asked: Link | None, target: Path) -> Link:
        self.cache.folder.mkdir(parents=True, exist_ok=True)
        return linking.chosen_link(asked, self.cache.folder, target)

    def write(self, files: Sequence[FileEntry], folder: Path, way: Link) -> dict[str, Kept]:
        """Make these files below a folder whose subfolders are there. Returns, by path, what those are hard links to that are."""
        runnable = [file for file in files if file.executable]
        linked: dict[str, Kept] = {}
        if way is Link.HARDLINK:
            # A mode belongs to the file, not to a name of it: the workspace's own files are not executable.
            common = [file for file in files if not file.executable]
            kept = self.cache.kept(common)
            linked = {file.path: kept[file.digest] for file in common}
            top = str(folder)
            for path, target in linked.items():
                os.link(target.path, f"{top}/{path}")
            self._copy(runnable, folder)
        elif way is Link.REFLINK:
            kept = self.cache.kept(files)
            for file in files:
                linking.clone(kept[file.digest].path, f"{folder}/{file.path}")
        else:
            self._copy(files, folder)
        for file in runnable:
            path = f"{folder}/{file.path}"
            mode = os.stat(path).st_mode
            os.chmod(path, mode | (mode & 0o444) >> 2)  # whoever may read it may run it
        return linked

    def _copy(self, files: Sequence[FileEntry], folder: Path) -> None:
        targets: dict[str, list[str]] = {}
        top = str(folder)
        for file in files:
            if file.source or file.size > SMALL:
                with self.open(file) as source, open(f"{top}/{file.path}", "xb") as copy:
                    shutil.copyfileobj(source, copy, _COPY)
            else:
                targets.setdefault(file.digest, []).append(f"{top}/{file.path}")
        for digest, content in self._objects.read_many(targets):
            for target in targets[digest]:
                _write(target, content)

    @contextmanager
    def storage_errors(self, folder: Path) -> Iterator[None]:
        """What the system says while a folder is written, as one sentence."""
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"{folder} cannot be written: {error.strerror}", hint="what was there is still there"
            ) from None

    # References

    def _checked(self, path: Path, file: FileEntry) -> Path:
        """A file of this machine that a version refers to; read through only when it may have changed."""
        index = StatIndex(self._folder)
        begun = index.now()
        try:
            found = Found(path.name, str(path), look_of(path.stat()))
        except OSError:
            raise NotFound(
                f"{path}, which the version refers to, is not there", hint="put it back, or add it again"
            ) from None
        before = index.get(path)
        if before is not None and before.digests([found]).get(found.path) == file.digest:
            return path
        if found.look.size != file.size or digest_of(found) != file.digest:
            raise source_changed(file)
        index.put(path, known("", begun, Listing([found], [], [], []), {found.path: file.digest}))
        return path


def _write(target: str, content: bytes) -> None:
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(handle, left) :]
    finally:
        os.close(handle)
