"""Points of one metric as columns of bytes, and the summary that search reads instead of them.

    block    u8 version, u32 count, then steps, times and values
    column   u8 kind, then
             0  raw        count 64-bit integers
             1  stride     first and distance as 64-bit integers: first, first + distance, …
             2  differences  first as 64-bit integer, then count - 1 unsigned 32-bit differences
    values   count 64-bit floats, bit for bit, NaN included

Numbers are little-endian. A training loop's steps are a stride and its times differences, so a point takes 12 bytes.
"""

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.domain.times import from_micros, micros
from everloop.errors import Corrupted, StorageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]
    Floats = NDArray[np.float64]

VERSION = 1
_HEAD = struct.Struct("<BI")
_RAW, _STRIDE, _DIFFERENCES = range(3)
_FLOATS = ("first", "last", "min", "max", "mean")


class Points(msgspec.Struct, frozen=True):
    """Columns of equal length: steps, times in microseconds since 1970, values."""

    steps: "Integers"
    times: "Integers"
    values: "Floats"

    @classmethod
    def of(cls, steps: Sequence[int], times: Sequence[int], values: Sequence[float]) -> "Points":
        import numpy as np

        return cls(np.asarray(steps, np.int64), np.asarray(times, np.int64), np.asarray(values, np.float64))

    @classmethod
    def joined(cls, parts: Iterable["Points"]) -> "Points":
        import numpy as np

        listed = list(parts)
        if len(listed) == 1:
            return listed[0]
        if not listed:
            return cls.of([], [], [])
        return cls(
            *(
                np.concatenate([getattr(part, name) for part in listed])
                for name in ("steps", "times", "values")
            )
        )

    def ordered(self) -> "Points":
        """By step, then time; points that tie keep the order in which they were logged."""
        import numpy as np

        if len(self.steps) < 2:
            return self
        ahead, even = np.diff(self.steps), np.diff(self.times)
        if np.all((ahead > 0) | ((ahead == 0) & (even >= 0))):
            return self
        order = np.lexsort((self.times, self.steps))
        return Points(self.steps[order], self.times[order], self.values[order])

    def __len__(self) -> int:
        return len(self.steps)


def thinned(points: Points, most: int) -> Points:
    """At most so many of the points (4 at least), chosen so that a line through them looks like one through all: of each of
    equally long stretches the first, the least, the greatest and the last (M4: Jugel and others, VLDB 2014). They are points as
    they were logged, in their order; the least and the greatest of all are among them.

    >>> thinned(Points.of(range(100), range(100), [9.0 if n == 50 else n / 100 for n in range(100)]), 8).steps.tolist()
    [0, 49, 50, 51, 99]
    """
    import numpy as np

    count = len(points)
    if count <= most:
        return points
    stretches = max(1, most // 4)
    length = -(-count // stretches)
    whole = -(-count // length)
    values = np.full(whole * length, np.nan)
    values[:count] = points.values
    table, starts = values.reshape(whole, length), np.arange(whole) * length
    unknown = np.isnan(table)
    chosen = np.concatenate(
        [
            starts,
            starts + np.where(unknown, np.inf, table).argmin(axis=1),
            starts + np.where(unknown, -np.inf, table).argmax(axis=1),
            np.minimum(starts + length, count) - 1,
        ]
    )
    kept = np.unique(chosen)
    return Points(points.steps[kept], points.times[kept], points.values[kept])


class Summary(msgspec.Struct):
    """A row of `run_metrics` while it is brought up to date; NaN is NaN here and NULL in the table."""

    count: int
    numbers: int
    first_step: int
    first_time: int
    first: float
    last_step: int
    last_time: int
    last: float
    min: float
    max: float
    mean: float

    @classmethod
    def of(cls, points: Points) -> "Summary":
        """Of at least one point."""
        if len(points) == 1:
            return cls._of_one(int(points.steps[0]), int(points.times[0]), float(points.values[0]))
        import numpy as np

        steps, times, values = points.steps, points.times, points.values
        zeroed = np.where(np.isnan(values), 0.0, values)  # in a tie, NaN counts as 0 (as it does in MLflow)
        order = np.lexsort((zeroed, times, steps))
        first, last = int(order[0]), int(order[-1])
        known = values[~np.isnan(values)]
        with np.errstate(all="ignore"):
            low, high, mean = (
                (float(f(known)) for f in (np.min, np.max, np.mean)) if len(known) else [math.nan] * 3
            )
        return cls(
            len(values), len(known),
            int(steps[first]), int(times[first]), float(values[first]),
            int(steps[last]), int(times[last]), float(values[last]),
            low, high, mean,
        )  # fmt: skip

    @classmethod
    def _of_one(cls, step: int, time: int, value: float) -> "Summary":
        return cls(1, int(not math.isnan(value)), step, time, value, step, time, value, value, value, value)

    def merged(self, other: "Summary") -> "Summary":
        """Of the points of both. Associative, so that shipments of any size give the same row (the mean up to rounding)."""
        first = min(self, other, key=lambda each: (each.first_step, each.first_time))
        last = max(self, other, key=lambda each: (each.last_step, each.last_time, _zeroed(each.last)))
        known = [each for each in (self, other) if each.numbers]
        numbers = sum(each.numbers for each in known)
        return Summary(
            self.count + other.count, numbers,
            first.first_step, first.first_time, first.first,
            last.last_step, last.last_time, last.last,
            min((each.min for each in known), default=math.nan),
            max((each.max for each in known), default=math.nan),
            sum(each.mean * (each.numbers / numbers) for each in known) if known else math.nan,
        )  # fmt: skip

    def ends_with(self, points: Points) -> bool:
        """Whether these are one point, and the last one here."""
        if len(points) != 1:
            return False
        value = float(points.values[0])
        same = value == self.last or (math.isnan(value) and math.isnan(self.last))
        return same and (self.last_step, self.last_time) == (points.steps[0], points.times[0])

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Summary":
        """From a row of `run_metrics`, NULL as NaN."""
        fields = {name: row[name] for name in cls.__struct_fields__}
        fields |= {name: math.nan for name in _FLOATS if row[name] is None}
        return cls(
            **fields | {"first_time": micros(row["first_time"]), "last_time": micros(row["last_time"])}
        )

    def row(self) -> dict[str, Any]:
        """The columns of `run_metrics`, NaN as NULL."""
        row: dict[str, Any] = msgspec.structs.asdict(self)
        row |= {name: None for name in _FLOATS if math.isnan(row[name])}
        return row | {"first_time": from_micros(self.first_time), "last_time": from_micros(self.last_time)}


def encode(points: Points) -> bytes:
    """The bytes of a block. `decode` gives back the same columns, bit for bit."""
    head = _HEAD.pack(VERSION, len(points))
    return b"".join(
        (head, *_column(points.steps), *_column(points.times), points.values.astype("<f8").tobytes())
    )


def encode_each(points: Points, counts: "Integers") -> list[bytes]:
    """The blocks of many metrics whose points lie one after the other, `counts[i]` (at least 1) of each: what `encode` makes of
    each part, in a fifth of the time."""
    import numpy as np

    starts = np.cumsum(counts) - counts
    columns = [_columns(each, starts, counts) for each in (points.steps, points.times)]
    values = points.values.astype("<f8")
    blocks = []
    for steps, times, start, count in zip(*columns, starts.tolist(), counts.tolist(), strict=True):
        head = _HEAD.pack(VERSION, count)
        blocks.append(b"".join((head, *steps, *times, values[start : start + count].tobytes())))
    return blocks


def decode(block: bytes) -> Points:
    """The columns of a block. Raises Corrupted when they are not whole, StorageError for a version of the future."""
    import numpy as np

    try:
        version, count = _HEAD.unpack_from(block)
        if version > VERSION:
            raise StorageError(
                f"metric points have format {version}, newer than this Everloop knows",
                hint="install a newer one",
            )
        steps, at = _read_column(block, _HEAD.size, count)
        times, at = _read_column(block, at, count)
        values = np.frombuffer(block, "<f8", count, at)
    except (struct.error, ValueError) as error:
        raise Corrupted(f"a block of metric points is not whole: {error}") from error
    return Points(steps, times, values)


def _column(numbers: "Integers") -> tuple[bytes, ...]:
    import numpy as np

    if len(numbers) >= 2:
        low, high = int(numbers.min()), int(numbers.max())
        if low > -(2**62) and high < 2**62:  # else a difference could be more than 64 bits
            steps = np.diff(numbers)
            if np.all(steps == steps[0]):
                return bytes([_STRIDE]), struct.pack("<qq", int(numbers[0]), int(steps[0]))
            if steps.min() >= 0 and steps.max() < 2**32:
                return (
                    bytes([_DIFFERENCES]),
                    struct.pack("<q", int(numbers[0])),
                    steps.astype("<u4").tobytes(),
                )
    return bytes([_RAW]), numbers.astype("<i8").tobytes()


def _columns(numbers: "Integers", starts: "Integers", counts: "Integers") -> list[tuple[bytes, ...]]:
    """`_column` of each part, with the differences of all taken at once."""
    import numpy as np

    parts = list(zip(starts.tolist(), counts.tolist(), strict=True))
    if not len(numbers) or numbers.min() <= -(2**62) or numbers.max() >= 2**62:
        return [_column(numbers[start : start + count]) for start, count in parts]
    ahead = np.zeros(len(numbers), np.int64)
    ahead[:-1] = np.diff(numbers)
    lasts = (
        starts + counts - 1
    )  # where the next number is another part's: the difference before it stands for itself
    ahead[lasts] = np.where(counts > 1, ahead[np.maximum(lasts - 1, 0)], 0)
    low, high = np.minimum.reduceat(ahead, starts).tolist(), np.maximum.reduceat(ahead, starts).tolist()
    differences, raw = ahead.astype("<u4"), numbers.astype("<i8")
    found: list[tuple[bytes, ...]] = []
    for (start, count), least, most in zip(parts, low, high, strict=True):
        if count >= 2 and least == most:
            found.append((bytes([_STRIDE]), struct.pack("<qq", int(raw[start]), least)))
        elif count >= 2 and least >= 0 and most < 2**32:
            part = differences[start : start + count - 1]
            found.append((bytes([_DIFFERENCES]), raw[start : start + 1].tobytes(), part.tobytes()))
        else:
            found.append((bytes([_RAW]), raw[start : start + count].tobytes()))
    return found


def _read_column(block: bytes, at: int, count: int) -> tuple["Integers", int]:
    import numpy as np

    kind, at = block[at] if at < len(block) else -1, at + 1
    if kind == _RAW:
        return np.frombuffer(block, "<i8", count, at), at + 8 * count
    if kind == _STRIDE:
        first, distance = struct.unpack_from("<qq", block, at)
        return first + distance * np.arange(count, dtype=np.int64), at + 16
    if kind == _DIFFERENCES:
        numbers = np.empty(count, np.int64)
        numbers[0] = struct.unpack_from("<q", block, at)[0]
        numbers[1:] = np.frombuffer(block, "<u4", count - 1, at + 8)
        return np.cumsum(numbers, out=numbers), at + 8 + 4 * (count - 1)
    raise ValueError(f"there is no kind {kind} of column")


def _zeroed(value: float) -> float:
    return 0.0 if math.isnan(value) else value
