"""Files at addresses: ``file:///…`` here, and whatever fsspec can reach (``s3://``, ``gs://``, ``https://``, ``memory://`` …)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast
from urllib.parse import unquote, urlsplit, urlunsplit

from everloop.domain.datasets import FileEntry, checked_path
from everloop.errors import Conflict, InvalidInput, MissingExtra, NotFound, StorageError, Unavailable

LOCAL = "file"
_PIECE = 1 << 20


class Remote(NamedTuple):
    """A file behind an address: its path within what was asked for, its own address, and what its place says about it."""

    path: str
    address: str
    size: int | None
    mark: str


def is_address(source: str) -> bool:
    """Whether a source is named by an address rather than by a path.

    >>> is_address("s3://bucket/a.parquet"), is_address("data/a.parquet"), is_address("C:/a")
    (True, False, False)
    """
    scheme, separator, _ = source.partition("://")
    return bool(separator) and scheme.replace("+", "").replace(":", "").isalnum()


def shown_address(address: str) -> str:
    """An address without its password, for people and for the ledger.

    >>> shown_address("postgresql://ann:secret@db/shop")
    'postgresql://ann@db/shop'
    """
    parts = urlsplit(address)
    if parts.password is None:
        return address
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}@{place}" if parts.username else place))


def local_path(address: str) -> Path | None:
    """The path of a file on this machine; None for any other address.

    >>> local_path("file:///data/a%20b.csv")
    PosixPath('/data/a b.csv')
    """
    parts = urlsplit(address)
    return Path(unquote(parts.path)) if parts.scheme == LOCAL else None


def local_address(path: Path) -> str:
    return path.absolute().as_uri()


def list_address(address: str) -> list[Remote]:
    """The files at an address: of a folder all below it, else the one. Raises NotFound, Unavailable, InvalidInput."""
    with _told(address):
        system, place = _system(address)
        if system.isfile(place):
            names = [place]
        elif system.isdir(place):
            names = sorted(system.find(place))
        else:
            raise NotFound(f"there is nothing at {shown_address(address)}", hint="check the address")
        if not names:
            raise InvalidInput(f"{shown_address(address)} holds no files")
        top = place.rstrip("/") + "/" if names != [place] else place.rpartition("/")[0] + "/"
        found = []
        for name in names:
            size, mark = _described(system, name)
            path = checked_path(name.removeprefix(top))
            found.append(Remote(path, str(system.unstrip_protocol(name)), size, mark))
        return found


def fetch(file: Remote, target: Path) -> None:
    """Bring a file here. Raises NotFound, Unavailable; StorageError when there is no room for it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open_address(file.address) as source:
        try:
            copy = target.open("xb")
        except OSError as error:
            raise StorageError(f"{target} cannot be written: {error.strerror}") from None
        with copy:
            while piece := _read(source, file.address):
                try:
                    copy.write(piece)
                except OSError as error:
                    raise StorageError(
                        f"{target} cannot be written: {error.strerror}", hint="free some space and try again"
                    ) from None


def require_same(files: list[Remote]) -> None:
    """Raise Conflict when what their place says about the files is not what it said when they were listed."""
    for file in files:
        with _told(file.address):
            system, place = _system(file.address)
            if _described(system, place) != (file.size, file.mark):
                raise Conflict(
                    f"{shown_address(file.address)} changed while it was being added",
                    hint="nothing was added; add it again when nothing writes there",
                )


def open_address(address: str) -> BinaryIO:
    """The bytes at an address, as a stream."""
    path = local_path(address)
    if path is not None:
        try:
            return path.open("rb")
        except OSError as error:
            raise NotFound(
                f"{path} cannot be read: {error.strerror}", hint="the version only refers to it"
            ) from None
    with _told(address):
        system, place = _system(address)
        return cast(BinaryIO, system.open(place, "rb"))


def size_at(address: str) -> int | None:
    """How many bytes a file has, as its place says; None where it does not say. Raises NotFound, Unavailable."""
    with _told(address):
        path = local_path(address)
        if path is not None:
            return path.stat().st_size
        system, place = _system(address)
        return _described(system, place)[0]


def source_changed(file: FileEntry) -> Conflict:
    """The error for a referenced file that holds other bytes than those that were pinned."""
    return Conflict(
        f"{shown_address(file.source)} is not what it was when the version was made: its bytes have another digest",
        hint="put the old file back, or add it again as a new version",
    )


def _read(source: BinaryIO, address: str) -> bytes:
    with _told(address):
        return source.read(_PIECE)


def _described(system: Any, place: str) -> tuple[int | None, str]:
    """Size, and the strongest thing the place says about the content: an entity tag or a time."""
    info = system.info(place)
    mark = next(
        (str(info[key]) for key in ("ETag", "etag", "mtime", "LastModified", "created") if info.get(key)), ""
    )
    return info.get("size"), mark


def _system(address: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError:
        raise MissingExtra(
            f"{shown_address(address)} needs fsspec", hint="install it with: pip install 'everloop[fsspec]'"
        ) from None
    try:
        system, place = fsspec.core.url_to_fs(address)
    except ImportError as error:  # the file system is a package of its own: s3fs, gcsfs, …
        raise MissingExtra(f"{shown_address(address)}: {error}", hint="install that package") from None
    except ValueError as error:
        raise InvalidInput(f"{shown_address(address)}: {error}") from None
    return system, place


@contextmanager
def _told(address: str) -> Iterator[None]:
    """What a file system says of an address, as one sentence."""
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"there is nothing at {shown_address(address)}", hint="check the address") from None
    except PermissionError as error:
        raise InvalidInput(f"{shown_address(address)} may not be read: {error}") from None
    except OSError as error:
        raise Unavailable(f"{shown_address(address)} cannot be read: {error}", hint="try again") from None
