"""Dataset versions as values: a manifest of files, what is known of a version, and what differs between two."""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from everloop.domain.canonical import canonical
from everloop.domain.checks import CheckReport
from everloop.domain.globs import chooses
from everloop.domain.names import shown
from everloop.domain.references import Kind, Reference
from everloop.errors import Corrupted, InvalidInput, NotFound, StorageError

_EMPTY_OR_DOTS = re.compile(r"(?:^|/)\.{0,2}(?:/|$)")
FORMAT = 2
"""The newest format of a manifest that is known here."""
QUARANTINE = "quarantine"
"""Rows that failed a check on their way into dataset NAME go to dataset NAME/quarantine."""


class FileEntry(msgspec.Struct, frozen=True, order=True, omit_defaults=True):
    """One file of a version: its path with ``/``, the SHA-256 of its content, its bytes.

    source: where the bytes of a file added by reference rest, such as ``file:///data/a.parquet`` or ``s3://bucket/a``; empty for
    a file whose bytes are in the object store. executable: whether its owner may run it.

    >>> msgspec.json.encode(FileEntry("a", "1", 1))  # what was stored before there were sources keeps its digest
    b'{"path":"a","digest":"1","size":1}'
    """

    path: str
    digest: str
    size: int
    source: str = ""
    executable: bool = False


class SymbolicLink(msgspec.Struct, frozen=True, order=True):
    """A symbolic link of a version: its path, and what it points to, as it is written in the link."""

    path: str
    target: str


class Manifest(msgspec.Struct, frozen=True):
    """The files of a version, sorted by path. Its encoding is stored as an object, whose digest is the version's.

    links, folders: the symbolic links, and the folders with nothing in them, by path. A version that has any is of format 2.

    >>> one = Manifest.of([FileEntry("b", "2" * 64, 2), FileEntry("a", "1" * 64, 1)])
    >>> [file.path for file in one.files], one.size
    (['a', 'b'], 3)
    >>> Manifest.decode(one.encode()) == one
    True
    """

    files: tuple[FileEntry, ...]
    format: int = 1
    links: tuple[SymbolicLink, ...] = ()
    folders: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, files: Iterable[FileEntry], links: Iterable[SymbolicLink] = (), folders: Iterable[str] = ()
    ) -> Manifest:
        """A manifest of files in any order. Raises InvalidInput for paths that cannot live beside each other everywhere."""
        listed = tuple(sorted(files))
        kept, empty = tuple(sorted(links)), tuple(sorted(folders))
        if kept or empty:
            paths = [*(file.path for file in listed), *(link.path for link in kept)]
            inside = {path[:end] for path in paths for end, each in enumerate(path) if each == "/"}
            manifest = cls(listed, 2, kept, tuple(path for path in empty if path not in inside))
            _refuse_clashes([*paths, *manifest.folders])
            _refuse_escapes(manifest)
            return manifest
        _refuse_clashes([file.path for file in listed])
        return cls(listed)

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def stored(self) -> tuple[FileEntry, ...]:
        """The files whose bytes are in the object store: all but those added by reference."""
        return tuple(file for file in self.files if not file.source)

    def chosen(self, patterns: Iterable[str]) -> Manifest:
        """Only the files that patterns name (see `globs.chooses`); all of them when there are none. Raises NotFound."""
        listed = list(patterns)
        if not listed:
            return self
        files = tuple(file for file in self.files if chooses(listed, file.path))
        if not files:
            raise NotFound(
                f"no file is named by {' or '.join(map(shown, listed))}",
                hint=f"there is {shown(self.files[0].path)}, and others; ** crosses folders"
                if self.files
                else "",
            )
        links = tuple(link for link in self.links if chooses(listed, link.path))
        folders = tuple(path for path in self.folders if chooses(listed, path))
        return msgspec.structs.replace(self, files=files, links=links, folders=folders)

    def encode(self) -> bytes:
        if self.format == 1:  # as it was before there were links: what was stored then keeps its digest
            return canonical({"files": self.files, "format": 1})
        return canonical(self)

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Raises Corrupted when the bytes are no manifest, or name a path outside the version."""
        try:
            manifest = msgspec.json.decode(data, type=cls)
        except msgspec.MsgspecError as error:
            raise Corrupted(f"the list of files of a version cannot be read: {error}") from None
        if manifest.format > FORMAT:
            raise StorageError(
                f"the version was made by a newer Everloop: its list of files has format {manifest.format}",
                hint="install a newer version of Everloop",
            )
        for file in manifest.files:
            checked_path(file.path)
        for path in manifest.folders:
            checked_path(path)
        if manifest.links:
            _refuse_escapes(manifest)
        return manifest


class Column(msgspec.Struct, frozen=True):
    """A column of a table; `type` as Arrow prints it, such as ``int64`` or ``timestamp[us, tz=UTC]``."""

    name: str
    type: str


class Origin(msgspec.Struct, frozen=True):
    """Where a version came from when that was no file or table at hand: an address (without its password), and the query."""

    source: str
    query: str = ""


class VersionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a version.

    digest: of the manifest; equal digests mean equal files.
    new_bytes: what storing it added to the object store, in bytes of content.
    rows, columns: of the table that all its files make up; None and empty when they do not.
    content: digest of the table's rows whatever their order and the layout of files (see `everloop.data.contents`); None when
    the files are no table, or the version is older than this digest.
    parent: the version before it in this dataset. producer: the run that wrote it, if one did.
    removed: when `data rm` took it away; its record stays, its files may go.
    """

    reference: str
    name: str
    version: int
    digest: str
    files: int
    bytes: int
    new_bytes: int
    rows: int | None
    columns: list[Column]
    parent: str | None
    producer: str | None
    message: str
    created: datetime
    user: str
    removed: datetime | None = None
    content: str | None = None
    origin: Origin | None = None


class Added(VersionRecord, frozen=True, kw_only=True):
    """What `data add` did. `unchanged`: the content was that of the newest version, which is returned.

    report: of the checks, which saw every incoming row; None when none were asked for.
    quarantine, quarantined_rows: the version that rejected rows went to, and how many there were.
    """

    unchanged: bool
    report: CheckReport | None = None
    quarantine: str | None = None
    quarantined_rows: int = 0


class NewVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version to be recorded, once its files and manifest are in the object store.

    parent: number of the version it was made from, 0 for a first one; another newest version meanwhile is a conflict.
    appended: it has its parent's files and more.
    """

    name: str
    digest: str
    new_bytes: int
    rows: int | None
    columns: list[Column]
    parent: int
    appended: bool = False
    producer: str | None = None
    message: str = ""
    report: CheckReport | None = None
    content: str | None = None
    origin: Origin | None = None


class DatasetSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset in a list. `latest` is its newest version, `versions` how many there are."""

    name: str
    latest: str
    versions: int
    bytes: int
    rows: int | None
    created: datetime


class ColumnChange(msgspec.Struct, frozen=True):
    """A column whose type differs; `before` or `after` is None where it does not exist."""

    name: str
    before: str | None
    after: str | None


class FolderStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A folder compared with the version it was checked out from or added as.

    only: the patterns it was checked out with; other files of the version are not missed.
    """

    folder: str
    reference: str
    clean: bool
    added: list[str]
    removed: list[str]
    changed: list[str]
    only: list[str] = []


class Link(enum.StrEnum):
    """How files of a checkout come to be."""

    REFLINK = "reflink"
    HARDLINK = "hardlink"
    COPY = "copy"


def as_link(name: str | None) -> Link | None:
    """A way of linking by its name. Raises InvalidInput.

    >>> as_link("copy"), as_link(None)
    (<Link.COPY: 'copy'>, None)
    """
    try:
        return None if name is None else Link(name)
    except ValueError:
        raise InvalidInput(
            f"{shown(str(name))} is no way to link files", hint=f"one of {', '.join(Link)}"
        ) from None


class Checkout(msgspec.Struct, frozen=True, kw_only=True):
    """What `data checkout` wrote, and where. `link` is how; `only` the patterns that chose the files, empty for all."""

    reference: str
    folder: str
    files: int
    bytes: int
    link: Link = Link.COPY
    only: list[str] = []


def reference_of(name: str, version: int) -> str:
    """The printed reference of a version.

    >>> reference_of("flights", 3)
    'data:flights@v3'
    """
    return str(Reference(Kind.DATA, name, version))


def quarantine_of(name: str) -> str:
    """The dataset of rejected rows.

    >>> quarantine_of("flights")
    'flights/quarantine'
    """
    return f"{name}/{QUARANTINE}"


def diff_columns(first: Iterable[Column], second: Iterable[Column]) -> list[ColumnChange]:
    """Columns that are not the same in both, in the order of the first, then of the second.

    >>> diff_columns([Column("a", "int64"), Column("b", "string")], [Column("a", "double"), Column("c", "bool")])
    [ColumnChange(name='a', before='int64', after='double'), ColumnChange(name='b', before='string', after=None),
    ColumnChange(name='c', before=None, after='bool')]
    """
    before = {column.name: column.type for column in first}
    after = {column.name: column.type for column in second}
    return [
        ColumnChange(name, before.get(name), after.get(name))
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    ]


def checked_path(path: str) -> str:
    """Return `path` if it may name a file of a version, else raise InvalidInput: relative, ``/`` between parts, no ``..``.

    >>> checked_path("2013/01.parquet")
    '2013/01.parquet'
    >>> checked_path("../secrets")
    Traceback (most recent call last):
    everloop.errors.InvalidInput: '../secrets' cannot be a file of a dataset: it has an empty, '.' or '..' part
    """
    if path.isascii() and path.isprintable() and "\\" not in path and not _EMPTY_OR_DOTS.search(path):
        return path
    problem = ""
    parts = path.split("/")
    if any(part in {"", ".", ".."} for part in parts):
        problem = "it has an empty, '.' or '..' part"
    elif not path.isprintable() and any(unicodedata.category(each) in {"Cc", "Cs"} for each in path):
        problem = "its name has control characters or is not UTF-8"
    elif "\\" in path:
        problem = "it contains a backslash"
    if problem:
        raise InvalidInput(f"{shown(path)} cannot be a file of a dataset: {problem}", hint="rename it")
    return path


def checked_link(link: SymbolicLink) -> SymbolicLink:
    """Return a link if it stays within its version wherever that is checked out, else raise InvalidInput.

    >>> checked_link(SymbolicLink("models/best", "../runs/7")).target
    '../runs/7'
    >>> checked_link(SymbolicLink("models/best", "../../runs/7"))
    Traceback (most recent call last):
    everloop.errors.InvalidInput: the symbolic link 'models/best' leads out of its folder: it points to '../../runs/7'
    """
    checked_path(link.path)
    parts = [part for part in link.target.split("/") if part != "."]
    up = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    if link.target.startswith("/") or up > link.path.count("/"):
        raise InvalidInput(
            f"the symbolic link {shown(link.path)} leads out of its folder: it points to {shown(link.target)}",
            hint="put what it points to into the folder, or take the link away",
        )
    if ".." in parts[up:]:  # behind a part that is a link itself, it may lead anywhere
        raise InvalidInput(
            f"the symbolic link {shown(link.path)} has '..' in the middle of what it points to: {shown(link.target)}",
            hint="let '..' stand at the beginning only",
        )
    if not link.target or not link.target.isprintable():
        raise InvalidInput(
            f"the symbolic link {shown(link.path)} points to {shown(link.target)}, which cannot be kept",
            hint="take the link away",
        )
    return link


def _refuse_escapes(manifest: Manifest) -> None:
    """Raise InvalidInput when something of a version would be written through one of its links, or one leads out."""
    names = {checked_link(link).path for link in manifest.links}
    for path in [*(file.path for file in manifest.files), *manifest.folders, *names]:
        parts = path.split("/")
        if any("/".join(parts[:end]) in names for end in range(1, len(parts))):
            raise InvalidInput(f"{shown(path)} cannot be a file of a dataset: it is behind a symbolic link")


def _refuse_clashes(paths: Sequence[str]) -> None:
    if len({path.casefold() for path in paths if path.isascii()}) == len(paths):
        return
    seen: dict[str, str] = {}
    for path in paths:
        # Two names that some file systems take for one could not both be checked out there.
        plain = unicodedata.normalize("NFC", path).casefold()
        if plain in seen:
            raise InvalidInput(
                f"{shown(seen[plain])} and {shown(path)} are one name on some computers",
                hint="rename one of them",
            )
        seen[plain] = path
