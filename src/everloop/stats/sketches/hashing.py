"""64-bit hashes of many values at once, the same on every machine and in every release: states that were kept rely on them.

The mixing function is the finaliser of splitmix64 (Steele, Lea and Flood, *Fast splittable pseudorandom number generators*,
OOPSLA 2014). It is no defence against someone who picks values that collide.
"""

import hashlib
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)

LONG = 256
"""Bytes from which on a text is hashed on its own."""


def mix(values: Hashes) -> Hashes:
    """Spread each number over all 64 bits; different numbers stay different.

    >>> mix(np.array([0, 1], dtype=np.uint64)).tolist()
    [16294208416658607535, 10451216379200822465]
    """
    mixed = values + _GOLDEN
    mixed ^= mixed >> np.uint64(30)
    mixed *= _FIRST
    mixed ^= mixed >> np.uint64(27)
    mixed *= _SECOND
    mixed ^= mixed >> np.uint64(31)
    return mixed


def hash_numbers(values: NDArray[Any]) -> Hashes:
    """Hashes (n,) of integers, floats or booleans. Equal numbers of one type have equal hashes, 0.0 and -0.0 and all NaN too.

    >>> hash_numbers(np.array([0.0, -0.0])).tolist() == [hash_numbers(np.array([0.0]))[0]] * 2
    True
    """
    if values.dtype.kind == "f":
        wide = values.astype(np.float64) + 0.0  # -0.0 + 0.0 is 0.0
        wide[np.isnan(wide)] = np.nan
        return mix(wide.view(np.uint64))
    if values.dtype.kind in "iub":
        return mix(values.astype(np.int64 if values.dtype.kind != "u" else np.uint64).view(np.uint64))
    raise ValueError(f"numbers are integers, floats or booleans, not {values.dtype}")


def hash_texts(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> Hashes:
    """Hashes (n,) of texts that lie one after the other in `data`: text i is ``data[offsets[i]:offsets[i + 1]]``.

    >>> data = np.frombuffer(b"oneonetwo", dtype=np.uint8)
    >>> one, again, two = hash_texts(data, np.array([0, 3, 6, 9])).tolist()
    >>> one == again, one == two
    (True, False)
    """
    starts, lengths = offsets[:-1], np.diff(offsets)
    hashes = mix(lengths.astype(np.uint64))
    long = np.flatnonzero(lengths > LONG)
    short = np.flatnonzero((lengths > 0) & (lengths <= LONG))
    if short.size:
        # Eight bytes are read at once, wherever they begin; the last ones of a text are cut to what belongs to it.
        base = int(starts[short].min())
        last = int((starts[short] + lengths[short]).max())
        padded = np.zeros(last - base + 8, dtype=np.uint8)
        padded[: last - base] = data[base:last]
        words = np.ndarray((padded.size - 7,), dtype=np.uint64, buffer=padded.data, strides=(1,))
        at, left, rows = starts[short] - base, lengths[short], short
        while rows.size:
            found = words[at]
            if sys.byteorder == "big":
                found = found.byteswap()
            cut = np.maximum(8 - left, 0).astype(np.uint64) * np.uint64(8)
            found = (found << cut) >> cut
            hashes[rows] = mix(hashes[rows] ^ found)
            goes_on = left > 8
            at, left, rows = at[goes_on] + 8, left[goes_on] - 8, rows[goes_on]
    for row in long.tolist():
        raw = data[starts[row] : starts[row] + lengths[row]].tobytes()
        hashes[row] = int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little")
    return hashes


def hash_rows(columns: list[Hashes], rows: int) -> Hashes:
    """One hash a row (rows,) of the hashes of its cells, in the order of the columns.

    >>> a, b = np.array([1, 2], dtype=np.uint64), np.array([2, 1], dtype=np.uint64)
    >>> hash_rows([a, b], 2)[0] == hash_rows([b, a], 2)[0]
    np.False_
    """
    hashes = np.zeros(rows, dtype=np.uint64)
    for column in columns:
        hashes = mix(hashes ^ column)
    return hashes
