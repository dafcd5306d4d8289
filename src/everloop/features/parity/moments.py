"""Logged features that are those of another moment: of another time zone, of an online store that stands still or lags behind.

Some rows that differ are computed again as of earlier and later moments. That a value was there before says little where few
values occur, so a lag has to explain nearly all rows, and clearly more of them than values logged for other rows would.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from everloop.domain.times import from_micros

if TYPE_CHECKING:
    from everloop.features.history.reader import FeatureReader
    from everloop.features.on_demand.composed import ComposedReader

Positions = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Differ = Callable[[Any, Any], Mask]
"""Which rows of two columns differ, as parity sees it."""

AT_MOST = 400
"""Rows of a column that are looked at."""
ENOUGH = 5
_NEARLY_ALL = 0.95
_CHANCE = 0.5
_MICROSECOND = timedelta(microseconds=1)
_HOUR = 3_600_000_000
_ZONES = [half * _HOUR // 2 for half in range(-28, 29) if half]
_LAGS = [
    seconds * 1_000_000
    for seconds in (1, 60, 300, 900, 1800, 3600, 10800, 21600, 43200, 86400, 172800, 604800)
]
_BACK = [0, _HOUR, 6 * _HOUR, 24 * _HOUR, 7 * 24 * _HOUR]
EARLIER, LATER = max(*_LAGS, *_BACK, -min(_ZONES)), max(_ZONES)
"""How far from the moments of a log others lie that are looked at, in microseconds."""


class OtherMoments:
    """Recomputes rows of a log as of other moments than their own.

    table: the log with what the features are computed from, without the features themselves.
    """

    def __init__(self, reader: FeatureReader | ComposedReader, table: Any, time: str) -> None:
        self._reader = reader
        self._table = table
        self._time = time
        self._kind = table[time].type
        self._micros = (
            table[time].cast(pa.timestamp("us", self._kind.tz), safe=False).cast(pa.int64()).combine_chunks()
        )

    def cause(self, column: str, logged: Any, differs: Mask, differ: Differ) -> str:
        """What moment the logged values of a column are of, as a sentence; empty where none fits."""
        there = differs & self._micros.is_valid().to_numpy(zero_copy_only=False)
        places = np.flatnonzero(there)
        if len(places) < ENOUGH:
            return ""
        places = places[np.unique(np.linspace(0, len(places) - 1, AT_MOST).astype(int))]
        rows = self._table.take(pa.array(places))
        moments = self._micros.take(pa.array(places)).to_numpy(zero_copy_only=False)
        values = logged.take(pa.array(places))
        # The same values dealt out to other rows: how much is explained by chance.
        dealt = values.take(pa.array(np.roll(np.arange(len(places)), max(len(places) // 2, 1))))

        def explained(at: Positions) -> tuple[float, float]:
            then = self._at(rows, at, column)
            return float(np.mean(~differ(values, then))), float(np.mean(~differ(dealt, then)))

        return (
            _zone(moments, explained)
            or _still(moments, explained, differs, self._micros.to_numpy(zero_copy_only=False))
            or self._behind(rows, moments, column, values, dealt, differ)
        )

    def _at(self, rows: Any, moments: Positions, column: str) -> Any:
        place = rows.column_names.index(self._time)
        then = pa.array(moments).cast(pa.timestamp("us", self._kind.tz))
        found = self._reader.history(rows.set_column(place, self._time, then), time=self._time)[column]
        return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found

    def _behind(
        self, rows: Any, moments: Positions, column: str, values: Any, dealt: Any, differ: Differ
    ) -> str:
        found = np.zeros(len(moments), bool)
        chance = np.zeros(len(moments), bool)
        for lag in _LAGS:
            then = self._at(rows, moments - lag, column)
            there = then.is_valid().to_numpy(zero_copy_only=False)
            found |= there & ~differ(values, then)
            chance |= there & ~differ(dealt, then)
        if found.mean() < _NEARLY_ALL or chance.mean() > _CHANCE:
            return ""
        return "stale: what was logged are older values of the same entities; the online store lags behind"


Explained = Callable[[Positions], tuple[float, float]]


def _zone(moments: Positions, explained: Explained) -> str:
    """One shift by hours or half hours that explains nearly all rows, which its neighbours do not."""
    shares = {shift: explained(moments + shift) for shift in _ZONES}
    best = max(shares, key=lambda shift: (shares[shift][0], -abs(shift)))
    share, chance = shares[best]
    beside = [shares[each][0] for each in (best - _HOUR, best + _HOUR) if each in shares]
    if share < _NEARLY_ALL or chance > _CHANCE or max(beside, default=0.0) >= _NEARLY_ALL:
        return ""
    hours = best / _HOUR
    return (
        f"time zone: what was logged is history of {abs(hours):g} hours {'later' if hours > 0 else 'earlier'}"
    )


def _still(moments: Positions, explained: Explained, differs: Mask, all_moments: Positions) -> str:
    """One moment at which the values stand still, close before the first row that differs."""
    first = int(all_moments[differs].min())
    for back in _BACK:
        moment = first - back
        share, _ = explained(np.minimum(moments, moment))
        if share >= _NEARLY_ALL and moments.max() > first:
            return (
                f"stale: what was logged stands still at about {from_micros(moment):%Y-%m-%d %H:%M} UTC; "
                "the online store was not filled since"
            )
    return ""
