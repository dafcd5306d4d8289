"""What callers hand in to be stored, made into one stream."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from everloop.errors import InvalidInput, NotFound
from everloop.store.objects.contract import Source


@contextlib.contextmanager
def opened(source: Source) -> Iterator[BinaryIO]:
    """The source as a stream. Only what was opened here is closed here."""
    if isinstance(source, bytes | bytearray | memoryview):
        yield io.BytesIO(source)
    elif isinstance(source, Path):
        try:
            file = source.open("rb")
        except FileNotFoundError as error:
            raise NotFound(f"there is no file {source}") from error
        except IsADirectoryError as error:
            raise InvalidInput(f"{source} is a folder; an object is one file") from error
        except PermissionError as error:
            raise InvalidInput(f"{source} cannot be read: permission denied") from error
        with file:
            yield file
    else:
        yield source


def read_up_to(stream: BinaryIO, limit: int) -> bytes:
    """The next `limit` bytes, fewer only at the end: `read` alone may return less at any time."""
    data = stream.read(limit)
    while len(data) < limit and (more := stream.read(limit - len(data))):
        data += more
    return data


def joined(head: bytes, rest: BinaryIO) -> BinaryIO:
    """One stream of `head`, then what is left of `rest`; closing it leaves `rest` open."""
    return cast(BinaryIO, _Joined(head, rest))


class _Joined(io.RawIOBase):
    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = memoryview(head)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._head[: len(buffer)] or self._rest.read(len(buffer))
        self._head = self._head[len(data) :]
        buffer[: len(data)] = data
        return len(data)
