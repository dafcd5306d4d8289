"""A confidence sequence: bounds of a mean that hold at every moment at once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from everloop.stats.findings import Interval
from everloop.stats.sequential.betting import STAKES

if TYPE_CHECKING:
    from everloop.stats.arrays import Floats


class MeanSequence(msgspec.Struct, frozen=True):
    """Confidence sequence for the mean of values in [-clip, clip], by betting against every candidate mean.

    A candidate is excluded for good once the bet against it (see `MeanBet`) has reached 2/alpha. So the
    intervals are nested, and hold together with probability 1 - alpha under any stopping. Source:
    Waudby-Smith & Ramdas, arXiv 2010.09686, section 4. Chosen over their closed empirical-Bernstein form,
    which is much wider on the tens of day blocks that a rollout has.

    The state is the clipped values themselves, one a block.

    >>> sequence = MeanSequence.start(clip=1.0).update_all([0.5, 0.4, 0.6] * 10)
    >>> interval = sequence.interval(level=0.95)
    >>> round(interval.low, 2), round(interval.estimate, 2), round(interval.high, 2)
    (0.25, 0.5, 0.59)
    """

    clip: float
    stakes: tuple[float, ...] = STAKES
    values: tuple[float, ...] = ()

    @classmethod
    def start(cls, *, clip: float, stakes: Iterable[float] = STAKES) -> MeanSequence:
        """A sequence without values.

        Raises:
            ValueError: clip not positive and finite, or stakes not inside (0, 1).
        """
        staked = tuple(stakes)
        if not (math.isfinite(clip) and clip > 0):
            raise ValueError(f"clip must be positive and finite, not {clip}")
        if not staked or not all(0 < stake < 1 for stake in staked):
            raise ValueError("stakes must be given, each strictly between 0 and 1")
        return cls(clip, staked)

    def update(self, value: float) -> MeanSequence:
        """The state after one more value (cut to ±clip); NaN and infinity raise ``ValueError``."""
        return self.update_all([value])

    def update_all(self, values: Iterable[float]) -> MeanSequence:
        """The state after all ``values``, in their order."""
        added = tuple(values)
        for value in added:
            if not math.isfinite(value):
                raise ValueError(f"value must be finite, not {value}")
        clipped = tuple(max(-self.clip, min(self.clip, value)) for value in added)
        return msgspec.structs.replace(self, values=self.values + clipped)

    def interval(self, *, level: float = 0.95) -> Interval:
        """Bounds of the mean now, [-clip, clip] before the first value."""
        if not 0 < level < 1:
            raise ValueError(f"level must lie strictly between 0 and 1, not {level}")
        import numpy as np  # here: rooms read the states of tests without looking at intervals

        values = np.asarray(self.values, dtype=np.float64)
        estimate = float(values.mean()) if values.size else 0.0
        needed = math.log(2 / (1 - level))
        low = self._excluded_up_to(values, needed)
        high = -self._excluded_up_to(-values, needed)
        return Interval(estimate, min(low, estimate), max(high, estimate), level)

    def _excluded_up_to(self, values: Floats, needed: float) -> float:
        """The largest mean that betting on "above" has excluded: the bet's peak falls as the null rises."""
        low, high = -self.clip, self.clip
        for _ in range(50):
            middle = 0.5 * (low + high)
            if self._log_peak(values, middle) >= needed:
                low = middle
            else:
                high = middle
        return low

    def _log_peak(self, values: Floats, null: float) -> float:
        if values.size == 0 or self.clip + null <= 0:
            return 0.0
        import numpy as np

        won = (values - null) / (self.clip + null)
        logs = np.cumsum(np.log1p(np.multiply.outer(np.asarray(self.stakes), won)), axis=1)
        return float(np.logaddexp.reduce(logs, axis=0).max()) - math.log(len(self.stakes))
