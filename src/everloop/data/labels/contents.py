"""What annotators see of the items of a version: rows of a table, or the pictures among its files."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, BinaryIO

import msgspec

from everloop.data.dataset import Dataset
from everloop.domain.labels import NewItem, Shown
from everloop.errors import InvalidInput, nearest

PAGE_ITEMS = 250
PAGE_BYTES = 256_000
"""A page of contents is one object: small enough that showing one item is quick, large enough to be few."""

PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp")
IMAGE = "image"
"""What the only column of a folder of pictures is called."""

LONGEST = 100_000
"""Characters of a value that are shown."""

HEAD = 256 << 10
"""Bytes of a picture in which its size is looked for."""


def shown_columns(dataset: Dataset, text: str, columns: Sequence[str]) -> tuple[Shown, ...]:
    """What is shown of a version: the text column to read, other columns as values; pictures where it is no table."""
    if dataset.rows is None:
        if text or columns:
            raise InvalidInput(
                f"{dataset.reference} is no table: it has no columns", hint="leave --text and --column out"
            )
        return (Shown(IMAGE, "image"),)
    known = [column.name for column in dataset.schema]
    for column in (*([text] if text else []), *columns):
        if column not in known:
            raise InvalidInput(
                f"{dataset.reference} has no column '{column}'",
                hint=nearest(column, known) or f"it has {', '.join(known[:30])}",
            )
    values = tuple(Shown(each) for each in columns if each != text)
    if text:
        return (Shown(text, "text"), *values)
    return values or tuple(Shown(each) for each in known)


def items_of(dataset: Dataset, shown: Sequence[Shown], key: str) -> Iterator[NewItem]:
    """The items of a version in its order. Keys are those of column `key`, else row numbers; the paths of pictures."""
    if dataset.rows is None:
        yield from _pictures(dataset)
        return
    if key and key not in [column.name for column in dataset.schema]:
        known = [column.name for column in dataset.schema]
        raise InvalidInput(f"{dataset.reference} has no column '{key}'", hint=nearest(key, known))
    names = [each.column for each in shown]
    wanted = list(dict.fromkeys([*names, *([key] if key else [])]))
    number = 0
    for batch in dataset.scan().to_batches(columns=wanted):
        for row in batch.to_pylist():
            named = row[key] if key else number
            if named is None:
                raise InvalidInput(f"row {number} has no '{key}'", hint="choose a column without gaps")
            yield NewItem(str(named), {name: _plain(row[name]) for name in names})
            number += 1


def pages(items: Iterable[NewItem]) -> Iterator[bytes]:
    """Items as the objects they are kept in."""
    encode = msgspec.json.Encoder().encode
    held: list[bytes] = []
    size = 0
    for item in items:
        data = encode(item)
        if held and (len(held) >= PAGE_ITEMS or size + len(data) > PAGE_BYTES):
            yield b"[" + b",".join(held) + b"]"
            held, size = [], 0
        held.append(data)
        size += len(data)
    if held:
        yield b"[" + b",".join(held) + b"]"


def _pictures(dataset: Dataset) -> Iterator[NewItem]:
    files = [file for file in dataset.files() if file.path.lower().endswith(PICTURES)]
    if not files:
        raise InvalidInput(
            f"{dataset.reference} is neither a table nor has it pictures",
            hint=f"pictures end in {', '.join(PICTURES)}",
        )
    for file in files:
        with dataset.open(file.path) as stream:
            size = picture_size(stream)
        about = {"path": file.path, "digest": file.digest, "size": file.size}
        if size is not None:
            about |= {"width": size[0], "height": size[1]}
        yield NewItem(file.path, {IMAGE: about})


def picture_size(stream: BinaryIO) -> tuple[int, int] | None:
    """Width and height of a picture in pixels, from its first bytes: PNG, GIF, JPEG, WebP. None where they do not tell.

    >>> import io
    >>> picture_size(io.BytesIO(b"GIF89a" + (640).to_bytes(2, "little") + (480).to_bytes(2, "little") + bytes(16)))
    (640, 480)
    """
    head = stream.read(HEAD)
    if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) >= 24:
        wide, high = struct.unpack(">II", head[16:24])
        return wide, high
    if head[:6] in (b"GIF87a", b"GIF89a") and len(head) >= 10:
        wide, high = struct.unpack("<HH", head[6:10])
        return wide, high
    if head[:2] == b"\xff\xd8":
        return _jpeg_size(head)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP" and len(head) >= 30:
        return _webp_size(head)
    return None


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    """From the frame header (ITU T.81, B.2.2), wherever it comes among the segments."""
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        kind = head[at + 1]
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            high, wide = struct.unpack(">HH", head[at + 5 : at + 9])
            return wide, high
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        wide, high = struct.unpack("<HH", head[26:30])
        return wide & 0x3FFF, high & 0x3FFF
    return None


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if abs(value) < float("inf") else str(value)
        case str():
            return value[:LONGEST]
        case datetime() | date() | time():
            return value.isoformat()
        case Decimal():
            return str(value)
        case bytes():
            return f"{len(value):,} bytes"
        case list() | tuple():
            return [_plain(each) for each in value]
        case dict():
            return {str(name): _plain(each) for name, each in value.items()}
        case _:
            return str(value)[:LONGEST]
