"""numpy arrays: stored as ``.npy`` without pickle, compared by dtype, shape and the bytes of their elements."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np


def array_digest(array: np.ndarray[Any, Any]) -> str:
    """The digest of an array's elements in C order; layout, byte order of memory and padding of records do not count.

    >>> a = np.arange(6.0).reshape(2, 3)
    >>> array_digest(a) == array_digest(np.asfortranarray(a)) == array_digest(a.astype(">f8"))
    True
    >>> array_digest(a) == array_digest(a.reshape(3, 2))
    False
    """
    hasher = hashlib.sha256(repr((_type_name(array.dtype), array.shape)).encode())
    _update(hasher, array)
    return hasher.hexdigest()


def dump(array: np.ndarray[Any, Any]) -> bytes:
    """The ``.npy`` file of an array. Raises ValueError for one that holds Python objects."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def load(data: bytes) -> np.ndarray[Any, Any]:
    """The array of `dump`."""
    array: np.ndarray[Any, Any] = np.load(io.BytesIO(data), allow_pickle=False)
    return array


def _type_name(dtype: np.dtype[Any]) -> Any:
    if dtype.names is None:
        return dtype.newbyteorder("<").str
    return [(name, _type_name(dtype[name])) for name in dtype.names]


def _update(hasher: hashlib._Hash, array: np.ndarray[Any, Any]) -> None:
    # Records are hashed field by field: the padding between their fields holds whatever was in memory.
    if array.dtype.names is not None:
        for name in array.dtype.names:
            _update(hasher, array[name])
    else:
        hasher.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes())
