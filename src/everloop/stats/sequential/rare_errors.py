"""Does the canary fail more often than the baseline: exact at any rate, and at any look."""

import math

import msgspec

from everloop.stats.sequential.betting import exp, log_mean_exp

# Rate ratios canary : baseline that are bet on, from 1.1 to 10 in equal steps of the logarithm.
RATIOS = tuple(1.1 * (10 / 1.1) ** (k / 39) for k in range(40))


class ErrorGuard(msgspec.Struct, frozen=True):
    """E-process against "the canary's error rate is not above the baseline's".

    With the canary's share q0 of a look's requests, an error is the canary's with probability q0 if the
    rates are equal, and with q = q0 r / (1 - q0 + q0 r) if the canary's is r times as high. Each look
    multiplies the capital on ratio r by (q/q0)^k1 ((1-q)/(1-q0))^k0, where k1 and k0 are the errors of canary
    and baseline; the evidence is the mean over a log grid of r. No variance is estimated, so it holds at any
    rate; given their number, errors fall on the arms hypergeometrically, and for that the expectation is
    below the binomial one of 1 (Hoeffding 1963, theorem 4: a convex function, drawn without replacement).
    The traffic share may change between looks. Requests of one user are not independent: count users, or
    the first error of each.

    >>> guard = ErrorGuard.start().update(500, 20, 4500, 90)
    >>> round(guard.e_value, 1), round(guard.rate_ratio, 1)
    (8.0, 2.0)
    >>> guard.update(500, 22, 4500, 85).rejects(0.05)
    True
    """

    ratios: tuple[float, ...]
    log_capitals: tuple[float, ...]
    canary_requests: int = 0
    canary_errors: int = 0
    baseline_requests: int = 0
    baseline_errors: int = 0
    log_peak: float = 0.0

    @classmethod
    def start(cls, ratios: tuple[float, ...] = RATIOS) -> "ErrorGuard":
        """A guard that has seen nothing; every ratio must be above 1."""
        if not ratios or not all(math.isfinite(ratio) and ratio > 1 for ratio in ratios):
            raise ValueError("ratios must be given, each above 1")
        return cls(ratios, (0.0,) * len(ratios))

    def update(
        self, canary_requests: int, canary_errors: int, baseline_requests: int, baseline_errors: int
    ) -> "ErrorGuard":
        """The state after one look: requests and errors of both arms *since the last look*.

        Raises:
            ValueError: a negative count, or more errors than requests.
        """
        counts = (
            (canary_errors, canary_requests, "canary"),
            (baseline_errors, baseline_requests, "baseline"),
        )
        for errors, requests, arm in counts:
            if not 0 <= errors <= requests:
                raise ValueError(f"{arm}: errors must lie in 0..requests, not {errors} of {requests}")
        logs = self.log_capitals
        if canary_requests > 0 and baseline_requests > 0:
            # A look with one arm alone compares nothing: only its counts are kept.
            share = canary_requests / (canary_requests + baseline_requests)
            logs = tuple(
                log
                + canary_errors * math.log(ratio)
                - (canary_errors + baseline_errors) * math.log1p(share * (ratio - 1))
                for log, ratio in zip(logs, self.ratios, strict=True)
            )
        return msgspec.structs.replace(
            self,
            log_capitals=logs,
            canary_requests=self.canary_requests + canary_requests,
            canary_errors=self.canary_errors + canary_errors,
            baseline_requests=self.baseline_requests + baseline_requests,
            baseline_errors=self.baseline_errors + baseline_errors,
            log_peak=max(self.log_peak, log_mean_exp(logs)),
        )

    @property
    def e_value(self) -> float:
        """Evidence now: expectation at most 1 if the canary fails no more often."""
        return exp(log_mean_exp(self.log_capitals))

    @property
    def peak(self) -> float:
        """Largest evidence so far, at least 1. P(peak ever >= 1/alpha) <= alpha under the null."""
        return exp(self.log_peak)

    @property
    def rate_ratio(self) -> float | None:
        """Canary's error rate over the baseline's so far; None until the baseline has an error."""
        if not (self.canary_requests and self.baseline_errors):
            return None
        return self.canary_errors / self.canary_requests * self.baseline_requests / self.baseline_errors

    def rejects(self, alpha: float) -> bool:
        """Whether the evidence has ever reached 1/alpha."""
        return self.log_peak >= -math.log(alpha)
