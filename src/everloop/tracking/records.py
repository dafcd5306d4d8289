"""The records of a run's journal: what a call of the handle writes, and what a shipment carries.

Each is one MessagePack array that begins with its kind:

    0  key, value, step, time                  one point of a metric
    1  {key: value}, steps, time               points of several metrics; steps: one for all, or one each
    2  key, steps, times, values               many points of one metric, as little-endian columns
    3  {key: text}                             parameters
    4  {key: text}                             tags
    5  status, time                            the run has ended
    6  count, reason                           so many records could not be written here, and why
    7  stream, text, time                      what the run printed: ``stdout`` or ``stderr``, whole lines

Times are microseconds since 1970. These records are numbered within the run; the ledger keeps how many have arrived, so that a
shipment sent twice arrives once. Beside them a file holds notes to whoever sends it, which are not numbered:

    9  run, first                              the run, and the number of the record that follows; at the head of the file
   10  name, arguments                         an operation that could not be done yet (see `tracking.errands`)
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from everloop.errors import InvalidInput

POINT, POINTS, COLUMN, PARAMS, TAGS, END, LOST, OUTPUT = range(8)
HEAD, ERRAND = 9, 10
_NOTES = (b"\x93" + bytes([HEAD]), b"\x93" + bytes([ERRAND]))
"""How a note begins: an array of three, and its kind."""

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


def is_note(record: bytes) -> bool:
    """Whether an encoded record is a note to the sender.

    >>> is_note(encode((HEAD, "ab", 0))), is_note(encode((LOST, 3, "the disk is full")))
    (True, False)
    """
    return record[:2] in _NOTES


def decode_one(record: bytes) -> list[Any]:
    """One record."""
    return _one.decode(record)
