"""What one event says: scalars, images, texts, hyperparameters. Fields by number, from TensorFlow's event.proto, summary.proto,
tensor.proto, and from TensorBoard's plugin_data.proto of hparams."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from everloop.domain.protobuf import Value, fields, numbers, plain, signed, text
from everloop.errors import Corrupted

_FLOAT, _DOUBLE, _INT32, _INT64, _STRING = 1, 2, 3, 9, 7
_TENSOR_CONTENT = {_FLOAT: "<f", _DOUBLE: "<d", _INT32: "<i", _INT64: "<q"}
_TENSOR_VALUES = {5: "<f", 6: "<d"}


class Said(msgspec.Struct, frozen=True):
    """One value of an event. `kind`: scalar, image, text, param, or the name of what is not read."""

    kind: str
    tag: str
    number: float = 0.0
    content: bytes = b""


class Event(msgspec.Struct, frozen=True):
    """`time` in seconds since 1970."""

    time: float
    step: int
    said: list[Said]


def read_event(record: bytes) -> Event:
    """An event from its record. Raises Corrupted."""
    try:
        return _event(record)
    except (ValueError, struct.error) as error:
        raise Corrupted(f"a message in it is none: {error}") from None


def _event(record: bytes) -> Event:
    time, step = 0.0, 0
    said: list[Said] = []
    for number, value in fields(record):
        if number == 1:
            time = _unpacked("<d", value)
        elif number == 2 and isinstance(value, int):
            step = signed(value)
        elif number == 5:
            said += [
                each for of, summary in fields(plain(value)) if of == 1 for each in _value(plain(summary))
            ]
        elif number in {4, 8, 9}:
            said.append(Said("graph", ""))
    return Event(time, step, said)


def _value(message: bytes) -> Iterator[Said]:
    found = dict(fields(message))
    tag = text(found.get(1, b""))
    plugin, data = _plugin(plain(found.get(9, b"")))
    if plugin == "hparams":
        yield from _hparams(data)
    elif 2 in found:
        yield Said("scalar", tag, _unpacked("<f", found[2]))
    elif 4 in found:
        yield Said("image", tag, content=plain(dict(fields(plain(found[4]))).get(4, b"")))
    elif 8 in found:
        yield _tensor(plain(found[8]), tag, plugin)
    else:
        yield Said("histogram" if 5 in found else "audio" if 6 in found else plugin or "value", tag)


def _plugin(metadata: bytes) -> tuple[str, bytes]:
    """The plugin that a value is for, and what it needs."""
    data = dict(fields(plain(dict(fields(metadata)).get(1, b""))))
    return text(data.get(1, b"")), plain(data.get(2, b""))


def _tensor(message: bytes, tag: str, plugin: str) -> Said:
    """A scalar, text or image as TensorFlow 2 writes it; the two texts before an image are its size."""
    parts: list[tuple[int, Value]] = list(fields(message))
    found = dict(parts)
    kind = int(found[1]) if isinstance(found.get(1), int) else 0
    texts = [plain(value) for number, value in parts if number == 8]
    if plugin in {"", "scalars"} and (number := _single(found, kind)) is not None:
        return Said("scalar", tag, number)
    if plugin == "text" and texts:
        return Said("text", tag, content=b"\n".join(texts))
    if plugin == "images" and len(texts) > 2:
        return Said("image", tag, content=texts[2])
    return Said(plugin or "tensor", tag)


def _single(found: dict[int, Value], kind: int) -> float | None:
    """The number of a tensor that holds one."""
    content = found.get(4)
    if isinstance(content, bytes) and content:
        layout = _TENSOR_CONTENT.get(kind)
        return _unpacked(layout, content) if layout and len(content) == struct.calcsize(layout) else None
    for number, layout in _TENSOR_VALUES.items():
        value = found.get(number)
        if isinstance(value, bytes) and len(value) == struct.calcsize(layout):
            return _unpacked(layout, value)
    for number in (7, 10):
        value = found.get(number)
        if isinstance(value, int):
            return float(signed(value))
        if isinstance(value, bytes) and value:
            return float(signed(numbers(value)[0]))
    return None


def _hparams(data: bytes) -> Iterator[Said]:
    """Hyperparameters: a map from names to numbers, texts and truth values."""
    start = plain(dict(fields(data)).get(3, b""))
    for number, entry in fields(start):
        if number != 1:
            continue
        pair = dict(fields(plain(entry)))
        value = dict(fields(plain(pair.get(2, b""))))
        said = ""
        if 2 in value:
            said = repr(_unpacked("<d", value[2])).removesuffix(".0")
        elif 3 in value:
            said = text(value[3])
        elif 4 in value:
            said = str(bool(value[4]))
        yield Said("param", text(pair.get(1, b"")), content=said.encode())


def _unpacked(layout: str, value: Value) -> float:
    return float(struct.unpack(layout, plain(value))[0])
