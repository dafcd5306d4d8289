"""Chunk boundaries are part of the store's format: they may never change unseen."""

import hashlib
import io
import itertools
import random
import sys
import types
from typing import BinaryIO

import pyfastcdc.py
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.errors import StorageError
from everloop.store.objects.chunking import AVERAGE, BLOCK, LARGEST, SMALLEST, Chunker


def noise(size: int) -> bytes:
    """Bytes that are the same on every machine and Python: SHA-256 of a counter, block after block."""
    blocks = (hashlib.sha256(number.to_bytes(8, "big")).digest() for number in itertools.count())
    return b"".join(itertools.islice(blocks, size // 32 + 1))[:size]


def pieces(source: BinaryIO, head: bytes = b"") -> list[bytes]:
    found: list[bytes] = []
    read = b""
    for block in Chunker().cut(source, head):
        found += map(bytes, block.chunks)
        read += block.read
    assert read == b"".join(found)
    return found


def lengths(data: bytes) -> list[int]:
    return list(map(len, pieces(io.BytesIO(data))))


_GEAR = [int.from_bytes(hashlib.md5(bytes([byte]) * 64).digest()[:8], "big") for byte in range(256)]
_STRICT = 0x0000D90703537000
_LOOSE = 0x0000D90F03530000


def lengths_by_definition(data: bytes) -> list[int]:
    """The definition in `chunking`, written down a second time, slowly; it knows nothing of the package."""
    found = []
    start = 0
    while start < len(data):
        length = min(len(data) - start, LARGEST)
        gear_hash = 0
        for at in range(
            SMALLEST, length - length % 2
        ):  # two bytes a step: an odd last one is never looked at
            gear_hash = (gear_hash * 2 + _GEAR[data[start + at]]) % 2**64
            if gear_hash & (_STRICT if at < AVERAGE else _LOOSE) == 0:
                length = at
                break
        found.append(length)
        start += length
    return found


GOLDEN = {
    0: [],
    1: [1],
    16_384: [16384],
    16_385: [16385],
    100_000: [88202, 11798],
    262_144: [88202, 124454, 46965, 2523],
    300_000: [88202, 124454, 46965, 40379],
    1_000_000: [
        *[88202, 124454, 46965, 40748, 56506, 130583, 93096],
        *[44889, 46160, 108839, 23497, 47676, 148385],
    ],
}


@pytest.mark.parametrize("size", GOLDEN)
def test_boundaries_of_noise_are_what_they_always_were(size: int) -> None:
    assert lengths(noise(size)) == GOLDEN[size]


def test_boundaries_of_many_chunks_are_what_they_always_were() -> None:
    found = lengths(noise(16_000_000))
    assert len(found) == 205
    digest = hashlib.sha256(repr(found).encode()).hexdigest()
    assert digest == "e6cf448a706fe19691a14f2d18936a267f00c091deb439e2850fc3bd570e9382"


def test_boundaries_of_text_are_what_they_always_were() -> None:
    table = b"".join(b"%d,UA,EWR,%d\n" % (row, row * 7919 % 1440) for row in range(60_000))
    expected = [65126, 97129, 92013, 98790, 55000, 25288, 262144, 21996, 65956, 74591, 86144, 78526]
    assert lengths(table) == expected == lengths_by_definition(table)


def test_zeros_are_cut_at_the_largest_size() -> None:
    assert lengths(bytes(600_001)) == [LARGEST, LARGEST, 600_001 - 2 * LARGEST]


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32), size=st.integers(0, 300_000), tail=st.integers(0, 40_000))
def test_the_package_follows_the_definition(seed: int, size: int, tail: int) -> None:
    data = random.Random(seed).randbytes(size) + bytes(tail)
    assert lengths(data) == lengths_by_definition(data)


class Dribble(io.RawIOBase):
    """A stream that hands out a few bytes at a time, as a socket does."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece, self._rest = self._rest[: min(len(buffer), 1000)], self._rest[min(len(buffer), 1000) :]
        buffer[: len(piece)] = piece
        return len(piece)


def test_boundaries_do_not_depend_on_how_the_bytes_arrive() -> None:
    data = noise(1_000_000)
    chunks = pieces(Dribble(data))  # type: ignore[arg-type]
    assert [len(chunk) for chunk in chunks] == GOLDEN[1_000_000]
    assert b"".join(chunks) == data


@pytest.mark.parametrize("size", [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - LARGEST, 2 * BLOCK])
@pytest.mark.parametrize("head", [0, 300_000])
def test_boundaries_do_not_depend_on_where_a_block_ends(size: int, head: int) -> None:
    data = noise(size // 2) + bytes(size - size // 2)
    whole = pyfastcdc.FastCDC(AVERAGE, min_size=SMALLEST, max_size=LARGEST).cut_buf(data)
    assert list(map(len, pieces(io.BytesIO(data[head:]), data[:head]))) == [each.length for each in whole]


def test_an_insertion_changes_the_chunks_it_touches_only() -> None:
    data = noise(4_000_000)
    changed = data[:2_000_000] + b"one more row\n" + data[2_000_000:]
    before = set(pieces(io.BytesIO(data)))
    after = pieces(io.BytesIO(changed))
    assert sum(chunk not in before for chunk in after) <= 2


def test_the_slow_stand_in_of_the_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pure = types.ModuleType("pyfastcdc")
    pure.FastCDC = pyfastcdc.py.FastCDC  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyfastcdc", pure)
    with pytest.raises(StorageError, match="compiled part of the package pyfastcdc is missing"):
        lengths(b"x")
