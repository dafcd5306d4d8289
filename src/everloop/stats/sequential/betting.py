"""A bet against "the mean is not above this number": the capital won is the evidence."""

import math
from collections.abc import Iterable
from typing import Literal

import msgspec

Side = Literal["above", "below"]

# Shares of the capital staked. Small ones win slowly on small effects, large ones fast on large effects;
# their average loses at most a factor of four against the best of them.
STAKES = (0.1, 0.25, 0.5, 0.9)


class MeanBet(msgspec.Struct, frozen=True):
    """E-process against "the mean of clipped values is at most ``null``" (``side="below"``: at least).

    With values x in [-clip, clip] and stake s, the capital is multiplied by 1 + s (x - null) / (clip + null)
    for each value; the evidence is the mean capital over the stakes. Source: Waudby-Smith & Ramdas,
    "Estimating means of bounded random variables by betting", JRSS-B 2024, arXiv 2010.09686.

    The null that is tested: given the past, the *clipped* value has a mean of at most ``null``. Feed one
    value for each complete block (day), in order and each once; rows of one day are no separate bets.
    Values beyond ``clip`` are cut to it, so choose it before looking at the data.

    >>> bet = MeanBet.start(clip=0.1).update_all([0.05, 0.04, 0.06, 0.05] * 3)
    >>> bet.n, round(bet.e_value, 1), bet.rejects(0.05)
    (12, 26.4, True)
    """

    clip: float
    null: float
    side: Side
    stakes: tuple[float, ...]
    log_capitals: tuple[float, ...]
    n: int = 0
    total: float = 0.0
    log_peak: float = 0.0

    @classmethod
    def start(
        cls, *, clip: float, null: float = 0.0, side: Side = "above", stakes: Iterable[float] = STAKES
    ) -> "MeanBet":
        """A bet with nothing won or lost yet.

        Raises:
            ValueError: clip not positive, null outside (-clip, clip), or stakes not inside (0, 1).
        """
        staked = tuple(stakes)
        if not (math.isfinite(clip) and clip > 0):
            raise ValueError(f"clip must be positive and finite, not {clip}")
        if not -clip < null < clip:
            raise ValueError(f"null must lie strictly between -{clip:g} and {clip:g}, not {null}")
        if not staked or not all(0 < stake < 1 for stake in staked):
            raise ValueError("stakes must be given, each strictly between 0 and 1")
        return cls(clip, null, side, staked, (0.0,) * len(staked))

    def update(self, value: float) -> "MeanBet":
        """The state after one more value; NaN and infinity raise ``ValueError``."""
        if not math.isfinite(value):
            raise ValueError(f"value must be finite, not {value}")
        sign = 1 if self.side == "above" else -1
        clipped = max(-self.clip, min(self.clip, value))
        # Scaled so that the worst value, -clip seen from this side, is -1: the capital cannot go negative.
        won = (sign * clipped - sign * self.null) / (self.clip + sign * self.null)
        logs = tuple(
            log + math.log1p(stake * won) for log, stake in zip(self.log_capitals, self.stakes, strict=True)
        )
        return msgspec.structs.replace(
            self,
            log_capitals=logs,
            n=self.n + 1,
            total=self.total + clipped,
            log_peak=max(self.log_peak, log_mean_exp(logs)),
        )

    def update_all(self, values: Iterable[float]) -> "MeanBet":
        """The state after all ``values``, in their order."""
        state = self
        for value in values:
            state = state.update(value)
        return state

    @property
    def mean(self) -> float | None:
        """Mean of the clipped values so far; None before the first."""
        return self.total / self.n if self.n else None

    @property
    def e_value(self) -> float:
        """Evidence now: expectation at most 1 if the null is true."""
        return exp(log_mean_exp(self.log_capitals))

    @property
    def peak(self) -> float:
        """Largest evidence so far, at least 1; under the null P(peak ever >= 1/alpha) <= alpha (Ville 1939)."""
        return exp(self.log_peak)

    def rejects(self, alpha: float) -> bool:
        """Whether the evidence has ever reached 1/alpha."""
        return self.log_peak >= -math.log(alpha)


def log_mean_exp(logs: tuple[float, ...]) -> float:
    """ln of the mean of exp(logs), without overflow.

    >>> log_mean_exp((1000.0, 1000.0))
    1000.0
    """
    top = max(logs)
    return top + math.log(sum(math.exp(log - top) for log in logs) / len(logs))


def exp(log: float) -> float:
    """exp(log), held at the largest float so that evidence always fits into JSON.

    >>> exp(0.0), exp(1e6) < math.inf
    (1.0, True)
    """
    return math.exp(min(log, 709.0))
