"""Digests that are equal for equal models, whatever process wrote them.

Two skops files of one model never have equal bytes: object identifiers are memory addresses and the archive
carries wall-clock times. So the digest is taken of what the file means.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from everloop.domain.canonical import digest_of
from everloop.errors import Corrupted

_PASSING = frozenset({"__id__", "_skops_version", "protocol"})


def skops_digest(path: Path) -> str:
    """The canonical digest of a skops file: its schema without identifiers and versions, each array by type,
    shape and bytes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            schema = msgspec.json.decode(archive.read("schema.json"))
            # One file may be named from many places: arrays shared inside the model are read once.
            seen: dict[str, Any] = {}

            def content(name: str) -> Any:
                if name not in seen:
                    seen[name] = _member(name, archive.read(name))
                return seen[name]

            return digest_of(_stripped(schema, content))
    except (zipfile.BadZipFile, KeyError, ValueError, msgspec.DecodeError) as error:
        raise Corrupted(f"{path} is not a whole skops file: {error}", hint="save the model again") from None


def _stripped(node: Any, content: Any) -> Any:
    if isinstance(node, dict):
        return {
            key: content(value) if key == "file" and isinstance(value, str) else _stripped(value, content)
            for key, value in node.items()
            if key not in _PASSING
        }
    if isinstance(node, list):
        return [_stripped(each, content) for each in node]
    return node


def _member(name: str, data: bytes) -> Any:
    if name.endswith(".npy"):
        return array_digest(np.load(io.BytesIO(data), allow_pickle=False))
    return hashlib.sha256(data).hexdigest()


def array_digest(array: np.ndarray[Any, Any]) -> list[Any]:
    """Type, shape and SHA-256 of the elements in C order. Records are hashed field by field: the padding
    between the fields of a tree's nodes is whatever was in memory.

    >>> array_digest(np.array([1.0, 2.0]))[:2]
    ['<f8', [2]]
    """
    if array.dtype.names:
        return [[name, array_digest(array[name])] for name in array.dtype.names]
    data = np.ascontiguousarray(array)
    return [array.dtype.str, list(array.shape), hashlib.sha256(data.tobytes()).hexdigest()]
