"""Parts of a file: which bytes a Range header asks for, and reading them piece by piece."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from everloop.client.batches import PIECE
from everloop.errors import InvalidInput

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z")


def asked_range(header: str, size: int) -> tuple[int, int, int]:
    """First byte, last byte and status for a Range header of one range; anything else is the whole. Raises InvalidInput for a
    range outside the file.

    >>> asked_range("bytes=5-9", 100), asked_range("bytes=90-", 100), asked_range("bytes=-7", 100), asked_range("", 100)
    ((5, 9, 206), (90, 99, 206), (93, 99, 206), (0, 99, 200))
    """
    match = _RANGE.match(header)
    if match is None or not size or not (match[1] or match[2]):
        return 0, size - 1, 200
    if not match[1]:  # the last so many bytes
        return max(0, size - int(match[2])), size - 1, 206
    first, last = int(match[1]), min(int(match[2] or size - 1), size - 1)
    if first > last:
        raise InvalidInput(f"the range {header} is outside the object's {size} bytes")
    return first, last, 206


def pieces(stream: BinaryIO, start: int, length: int) -> Iterator[bytes]:
    """`length` bytes of a stream from `start` on; the stream is closed at the end."""
    with stream:
        stream.seek(start)
        while length and (piece := stream.read(min(PIECE, length))):
            length -= len(piece)
            yield piece
