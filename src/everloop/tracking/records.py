"""The records of a run's journal: what a call of the handle writes, and what a shipment carries.

Each is one MessagePack array that begins with its kind:

    0  key, value, step, time                  one point of a metric
    1  {key: value}, steps, time               points of several metrics; steps: one for all, or one each
    2  key, steps, times, values               many points of one metric, as little-endian columns
    3  {key: text}                             parameters
    4  {key: text}                             tags
    5  status, time                            the run has ended
    9  run, first                              head of the file: the run, and the number of the record that follows

Times are microseconds since 1970. Records are numbered within the run, the head not counted; the ledger keeps how many have
arrived, so that a shipment sent twice arrives once.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from everloop.errors import InvalidInput

POINT, POINTS, COLUMN, PARAMS, TAGS, END, HEAD = 0, 1, 2, 3, 4, 5, 9

encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(list[list[Any]])
_one = msgspec.msgpack.Decoder(list[Any])


def batch(records: Sequence[bytes]) -> bytes:
    """Encoded records as one MessagePack array, without encoding them again."""
    return b"\xdd" + len(records).to_bytes(4, "big") + b"".join(records)


def decode_batch(data: bytes) -> list[list[Any]]:
    """The records of a `batch`. Raises InvalidInput when it is none."""
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"the records cannot be read: {error}") from None


def decode_one(record: bytes) -> list[Any]:
    """One record."""
    return _one.decode(record)
