"""Concept drift: a model's error rate has risen, with a promised run length between false alarms."""

import math
from collections.abc import Iterable

import msgspec

from everloop.stats.intervals import upper_bound

STAKES = (0.25, 0.5, 1.0, 2.0, 4.0)


class ErrorDetector(msgspec.Struct, frozen=True):
    """E-SR detector (Shiryaev-Roberts form of an e-detector) on losses in [0, 1], mostly 0/1 errors.

    For each stake s, R <- (R + 1) (1 + s (x - p0)); the alarm sounds when the mean R reaches ``run_length``.
    As long as the expected loss given the past is at most p0, the mean time to a false alarm is at least
    ``run_length`` rows, whatever the distribution. Source: Shin, Ramdas & Rinaldo, "E-detectors", arXiv
    2203.03532. O(1) a row, one-sided: it never fires on improvement. Needs rows in prediction order.

    After the alarm the state stands still (only ``n`` goes on): start a new one for the retrained model.

    >>> detector = ErrorDetector.start(errors=400, rows=4000)
    >>> round(detector.p0, 4)
    0.1116
    >>> detector = detector.update_all([0, 0, 0, 1] * 500)
    >>> detector.alarmed_at
    136
    """

    p0: float
    run_length: float
    stakes: tuple[float, ...]
    levels: tuple[float, ...]
    n: int = 0
    alarmed_at: int | None = None

    @classmethod
    def start(
        cls,
        *,
        errors: int,
        rows: int,
        run_length: float = 1e5,
        level: float = 0.99,
        stakes: Iterable[float] = STAKES,
    ) -> "ErrorDetector":
        """A detector for a model that made ``errors`` in ``rows`` of its reference.

        p0 is the exact upper bound of that rate at ``level``: with the rate itself, half of all references
        would break the promise.

        Raises:
            ValueError: impossible counts, run_length not above 1, or p0 so high that no stake fits.
        """
        if not run_length > 1:
            raise ValueError(f"run_length must be above 1, not {run_length}")
        p0 = upper_bound(errors, rows, level=level)
        # A stake of 1/p0 loses everything on one right row; keep clear of it.
        fitting = tuple(stake for stake in stakes if stake > 0 and stake * p0 < 0.95)
        if not fitting:
            raise ValueError(f"the error rate bound {p0:.3f} leaves no stake to bet with")
        return cls(p0, run_length, fitting, (0.0,) * len(fitting))

    def update(self, loss: float) -> "ErrorDetector":
        """The state after one more row."""
        return self.update_all([loss])

    def update_all(self, losses: Iterable[float]) -> "ErrorDetector":
        """The state after all ``losses`` (each in [0, 1], booleans welcome), in prediction order.

        Raises:
            ValueError: a loss outside [0, 1] or NaN.
        """
        levels = list(self.levels)
        limit = self.run_length * len(levels)
        n, alarmed_at = self.n, self.alarmed_at
        for loss in losses:
            if not 0 <= loss <= 1:
                raise ValueError(f"losses must lie in [0, 1]; row {n} is {loss}")
            n += 1
            if alarmed_at is not None:
                continue
            gap = loss - self.p0
            levels = [
                (level + 1) * (1 + stake * gap) for level, stake in zip(levels, self.stakes, strict=True)
            ]
            if math.fsum(levels) >= limit:
                alarmed_at = n
        return msgspec.structs.replace(self, levels=tuple(levels), n=n, alarmed_at=alarmed_at)

    @property
    def evidence(self) -> float:
        """Mean R: the alarm sounds at ``run_length``."""
        return math.fsum(self.levels) / len(self.levels)
