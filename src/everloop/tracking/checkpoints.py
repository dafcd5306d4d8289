"""Saved states as bytes: plain data exactly, anything else pickled.

Plain are None, booleans, numbers of any size, text, bytes, lists, tuples, sets, dicts, numpy arrays and scalars (but not of
objects) and Arrow tables, nested as one likes: `load(save(x))` has the same values and types, NaN and -0.0 included. That
covers weights, optimiser moments, and the states of `random` and numpy generators; it can be read on any machine.

A state with anything else in it, such as an estimator, is pickled as a whole. Reading a pickle runs code, so only the user
who wrote it, on the machine where it was written, reads it without saying `trust=True`.
"""

import io
import pickle
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from everloop.domain.runs import CheckpointRecord
from everloop.errors import Failed, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

Format = Literal["plain", "pickle"]

_TUPLE, _SET, _FROZEN, _PAIRS, _INTEGER, _ARRAY, _SCALAR, _ARROW = range(1, 9)
_INT64 = range(-(2**63), 2**64)


class _NotPlain(Exception):
    pass


def save(state: Any) -> tuple[bytes, Format]:
    """The bytes of a state, and how they are written. Raises Failed for what cannot be pickled either."""
    try:
        return _ENCODER.encode(_plain(state)), "plain"
    except (_NotPlain, RecursionError):
        pass
    try:
        return pickle.dumps(state, protocol=5), "pickle"
    except Exception as error:  # a user's object may raise anything in its __reduce__
        raise Failed(
            f"the state cannot be saved: {type(error).__name__}: {error}",
            hint="give numbers, texts, lists, dicts, arrays, and objects that pickle takes",
        ) from error


def load(data: bytes, format: Format) -> Any:
    """The state that `save` wrote."""
    return _DECODER.decode(data) if format == "plain" else pickle.loads(data)


def check_trusted(record: CheckpointRecord, *, user: str, place: str) -> None:
    """Raise Refused for a pickle that somebody else wrote, or that was written elsewhere."""
    if record.user != user or record.place != place:
        where = record.place.split()[0] if record.place else "another machine"
        raise Refused(
            f"checkpoint {record.number} is a pickle of {record.user} on {where}, and reading it may run any code",
            hint="pass trust=True if you trust who wrote it, or save plain data and arrays",
        )


def _plain(value: Any) -> Any:
    """`value` with what MessagePack lacks put into extensions. Exact types only: a subclass would come back as its base."""
    kind = type(value)
    if value is None or kind in (bool, float, str, bytes):
        return value
    if kind is int:
        return value if value in _INT64 else _extension(_INTEGER, str(value))
    if kind is list:
        return [_plain(each) for each in value]
    if kind is tuple:
        return _extension(_TUPLE, [_plain(each) for each in value])
    if kind is dict:
        if all(type(key) is str for key in value):
            return {key: _plain(each) for key, each in value.items()}
        return _extension(_PAIRS, [[_plain(key), _plain(each)] for key, each in value.items()])
    if kind in (set, frozenset):
        return _extension(_SET if kind is set else _FROZEN, [_plain(each) for each in value])
    return _foreign(value)


def _foreign(value: Any) -> Any:
    module = type(value).__module__.partition(".")[0]
    if module == "numpy":
        import numpy as np

        if type(value) is np.ndarray and not value.dtype.hasobject:
            return msgspec.msgpack.Ext(_ARRAY, _array_bytes(value))
        if isinstance(value, np.generic) and not value.dtype.hasobject:
            return msgspec.msgpack.Ext(_SCALAR, _array_bytes(np.asarray(value)))
    if module == "pyarrow":
        import pyarrow as pa

        if isinstance(value, pa.Table):
            sink = io.BytesIO()
            with pa.ipc.new_stream(sink, value.schema) as writer:
                writer.write_table(value)
            return msgspec.msgpack.Ext(_ARROW, sink.getvalue())
    raise _NotPlain


def _array_bytes(array: Any) -> bytes:
    import numpy as np

    sink = io.BytesIO()
    np.save(sink, array, allow_pickle=False)
    return sink.getvalue()


def _extension(code: int, value: Any) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(code, _ENCODER.encode(value))


def _from_extension(code: int, data: memoryview) -> Any:
    return _READERS[code](bytes(data))


def _array(data: bytes) -> Any:
    import numpy as np

    return np.load(io.BytesIO(data), allow_pickle=False)


def _table(data: bytes) -> Any:
    import pyarrow as pa

    return pa.ipc.open_stream(data).read_all()


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(ext_hook=_from_extension)
_READERS: "dict[int, Callable[[bytes], Any]]" = {
    _TUPLE: lambda data: tuple(_DECODER.decode(data)),
    _SET: lambda data: set(_DECODER.decode(data)),
    _FROZEN: lambda data: frozenset(_DECODER.decode(data)),
    _PAIRS: lambda data: dict(_DECODER.decode(data)),
    _INTEGER: lambda data: int(_DECODER.decode(data)),
    _ARRAY: _array,
    _SCALAR: lambda data: _array(data)[()],
    _ARROW: _table,
}
