"""What is watched of an endpoint, and the rule by which a measurement becomes an alarm.

An alarm needs three things at once: an **effect** above its floor, **significance** after correction for
everything that was looked at, and **persistence** over windows. Significance alone fails at large n (a
harmless shift of .02 sd is "significant" in every window of a million rows), effect alone at small n, and
fresh p-values every day alarm surely in the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from everloop.domain.names import checked_name
from everloop.domain.times import EPOCH
from everloop.errors import InvalidDefinition, nearest

DAY = timedelta(days=1)


class Measure(StrEnum):
    """What a monitor measures in a window."""

    DRIFT = "drift"
    """Distance of each feature, and of the prediction, from the reference: Wasserstein distance in reference
    standard deviations for numbers, total variation for categories."""
    MISSING = "missing"
    """Share of missing values of each feature above the reference's share."""
    CATEGORIES = "categories"
    """Share of rows whose value of a categorical feature the reference never held."""
    EXCESS_LOSS = "excess_loss"
    """Log loss minus the entropy of the model's own prediction, in day blocks, above the reference's. The raw
    loss moves with the rate of the outcome; the excess does not."""
    DAILY_AUC = "daily_auc"
    """AUC within a day, below the reference's."""
    CALIBRATION = "calibration"
    """Absolute gap between mean prediction and observed rate, in day blocks, above the reference's own
    gap."""
    ESTIMATED = "estimated"
    """AUC expected from the predictions alone (CBPE) below the reference's: before labels, and blind to
    concept drift."""
    LATENCY = "latency"
    """Seconds within which 95 % of the answers came."""
    ERRORS = "errors"
    """Share of requests that failed."""
    GROUP_GAP = "group_gap"
    """Largest difference between groups in the rate of positive decisions."""


class Family(StrEnum):
    """Monitors whose alarms mean the same to whoever is called: they share one alert."""

    INPUTS = "inputs"
    PERFORMANCE = "performance"
    SERVICE = "service"
    FAIRNESS = "fairness"


class Severity(StrEnum):
    """What follows when a monitor's rule is met."""

    ALERT = "alert"
    """Someone is called."""
    NOTE = "note"
    """It is written down, and shown beside the next alert. Nobody is called."""


class Rule(msgspec.Struct, frozen=True):
    """effect: the smallest change that matters, in the unit of the measure; a column's own wander over the
    reference's days can raise it. significance: bound on p after correction. persistence: windows in a row.
    trailing: day blocks a test looks back on; 0 tests each window by itself."""

    family: Family
    effect: float
    significance: float
    persistence: int
    trailing: int
    severity: Severity


RULES: dict[Measure, Rule] = {
    # One false alert a month of daily windows: q = 1/30. Drift is no harm by itself, so it is noted.
    Measure.DRIFT: Rule(Family.INPUTS, 0.1, 1 / 30, 2, 0, Severity.NOTE),
    Measure.MISSING: Rule(Family.INPUTS, 0.1, 1 / 30, 2, 0, Severity.ALERT),
    Measure.CATEGORIES: Rule(Family.INPUTS, 0.05, 1 / 30, 2, 0, Severity.ALERT),
    # Overlapping looks at trailing blocks are nearly one look: a stricter bound instead of a longer run.
    Measure.EXCESS_LOSS: Rule(Family.PERFORMANCE, 0.01, 0.005, 3, 21, Severity.ALERT),
    Measure.DAILY_AUC: Rule(Family.PERFORMANCE, 0.02, 0.005, 3, 21, Severity.ALERT),
    Measure.CALIBRATION: Rule(Family.PERFORMANCE, 0.05, 0.005, 3, 21, Severity.NOTE),
    Measure.ESTIMATED: Rule(Family.PERFORMANCE, 0.03, 0.005, 3, 21, Severity.NOTE),
    Measure.LATENCY: Rule(Family.SERVICE, 0.1, 0.01, 2, 0, Severity.ALERT),
    Measure.ERRORS: Rule(Family.SERVICE, 0.01, 0.01, 2, 0, Severity.ALERT),
    Measure.GROUP_GAP: Rule(Family.FAIRNESS, 0.1, 1 / 30, 2, 0, Severity.ALERT),
}
"""The rule of each measure where a monitor does not say otherwise."""


class Monitor(msgspec.Struct, frozen=True):
    """One declared monitor of one endpoint. `columns` empty: all of them. `group`: the column that fairness
    is judged by."""

    name: str
    endpoint: str
    measure: Measure
    effect: float
    significance: float
    persistence: int
    trailing: int
    severity: Severity
    columns: tuple[str, ...] = ()
    group: str = ""

    @property
    def family(self) -> Family:
        return RULES[self.measure].family

    @property
    def needs_labels(self) -> bool:
        """Whether a window waits for the truth before this can be judged."""
        return self.measure in {Measure.EXCESS_LOSS, Measure.DAILY_AUC, Measure.CALIBRATION}


def monitor(
    name: str,
    *,
    endpoint: str,
    measure: Measure | str,
    columns: Sequence[str] = (),
    group: str = "",
    effect: float | None = None,
    significance: float | None = None,
    persistence: int | None = None,
    trailing: int | None = None,
    severity: Severity | str | None = None,
) -> Monitor:
    """Declare a monitor (``ev.monitor``). What is not given comes from the measure's rule in `RULES`.

    Raises InvalidDefinition for an unknown measure or a number that cannot be a rule.

    >>> monitor("lateness", endpoint="delay", measure="excess_loss", trailing=14).effect
    0.01
    >>> monitor("x", endpoint="delay", measure="dirft")
    Traceback (most recent call last):
    everloop.errors.InvalidDefinition: monitor 'x': there is no measure 'dirft'
    """
    checked_name(name, "monitor name")
    checked_name(endpoint, "endpoint name", folders=False)
    measures = [str(each) for each in Measure]
    if str(measure) not in measures:
        raise InvalidDefinition(
            f"monitor '{name}': there is no measure '{measure}'",
            hint=nearest(str(measure), measures) or f"measures are {', '.join(measures)}",
        )
    which = Measure(str(measure))
    rule = RULES[which]
    declared = Monitor(
        name=name,
        endpoint=endpoint,
        measure=which,
        effect=rule.effect if effect is None else float(effect),
        significance=rule.significance if significance is None else float(significance),
        persistence=rule.persistence if persistence is None else persistence,
        trailing=rule.trailing if trailing is None else trailing,
        severity=rule.severity if severity is None else Severity(str(severity)),
        columns=tuple(columns),
        group=group,
    )
    if (
        declared.effect < 0
        or not 0 < declared.significance < 1
        or declared.persistence < 1
        or declared.trailing < 0
    ):
        raise InvalidDefinition(
            f"monitor '{name}': effect must be >= 0, significance within (0, 1), persistence >= 1, trailing >= 0",
            hint="leave them out to take the measure's rule",
        )
    if which is Measure.GROUP_GAP and not group:
        raise InvalidDefinition(f"monitor '{name}': group_gap needs a group", hint="give group='<column>'")
    return declared


class Outcome(msgspec.Struct, frozen=True):
    """How the truth of an endpoint arrives, and where its days begin.

    day_starts_at: hours after 00:00 UTC. coverage: share of a day's predictions that must have their label
    before the day is judged; wait_days: after this long it is judged with what has come (some outcomes never
    come: a cancelled flight does not land). minimum_rows: a day with fewer labelled rows says nothing by
    itself. positive_above: the score from which a prediction counts as a positive decision.
    """

    endpoint: str
    day_starts_at: float = 0.0
    coverage: float = 0.95
    wait_days: float = 2.0
    minimum_rows: int = 100
    positive_above: float = 0.5
    lookback_days: int = 31


def outcome(
    endpoint: str,
    *,
    day_starts_at: float = 0.0,
    coverage: float = 0.95,
    wait_days: float = 2.0,
    minimum_rows: int = 100,
    positive_above: float = 0.5,
    lookback_days: int = 31,
) -> Outcome:
    """Declare how an endpoint's labels arrive (``ev.outcome``); an endpoint without it has these defaults. lookback_days: how far
    back their predictions are looked for at once, before the older parts of the log are.

    >>> outcome("delay", day_starts_at=5).wait_days
    2.0
    """
    checked_name(endpoint, "endpoint name", folders=False)
    if not 0 < coverage <= 1 or wait_days < 0 or not 0 <= day_starts_at < 24 or lookback_days < 1:
        raise InvalidDefinition(
            f"outcome of '{endpoint}': coverage within (0, 1], wait_days >= 0, day_starts_at within [0, 24), lookback_days >= 1",
            hint="leave out what you do not know",
        )
    return Outcome(endpoint, day_starts_at, coverage, wait_days, minimum_rows, positive_above, lookback_days)


class Reading(msgspec.Struct, frozen=True):
    """One measurement: of a column, or of the endpoint as a whole (`column` empty).

    `effect` is what the rule judges, in its unit and positive towards harm; `value` and `reference` are the
    two things compared; `low` and `high` the 95 % interval of the effect where there is one; `p` None where
    nothing was tested.
    """

    column: str
    effect: float
    floor: float
    p: float | None
    value: float | None = None
    reference: float | None = None
    low: float | None = None
    high: float | None = None
    rows: int = 0
    blocks: int = 0
    over: bool = False
    """Effect above the floor and significant after correction: set by the judge."""
    streak: int = 0
    """Windows in a row that this was over, this one included."""
    shock: bool = False
    """So far out that the last two days alone say it, without waiting for the trailing blocks."""


class Streak(msgspec.Struct, frozen=True):
    """Windows in a row that were over, and that were clear (well below the floor)."""

    over: int = 0
    clear: int = 0


CLEAR_SHARE = 0.7
"""Hysteresis: a monitor is clear below this share of its floor. Between clear and over nothing changes."""


def is_clear(readings: Sequence[Reading]) -> bool:
    """Whether all readings are well below their floors.

    >>> is_clear([Reading("temp", 0.06, 0.1, 0.2)]), is_clear([Reading("temp", 0.09, 0.1, 0.2)])
    (True, False)
    """
    return all(not each.over and each.effect < CLEAR_SHARE * each.floor for each in readings)


def next_streak(before: Streak, *, over: bool, clear: bool) -> Streak:
    """The streak after one more window.

    >>> next_streak(Streak(over=2), over=True, clear=False), next_streak(Streak(over=2), over=False, clear=True)
    (Streak(over=3, clear=0), Streak(over=0, clear=1))
    """
    return Streak(over=before.over + 1 if over else 0, clear=before.clear + 1 if clear else 0)


def window_start(moment: datetime, day_starts_at: float = 0.0) -> datetime:
    """The beginning of the day window that holds `moment`.

    >>> from datetime import UTC
    >>> window_start(datetime(2013, 6, 2, 3, tzinfo=UTC), day_starts_at=5).isoformat()
    '2013-06-01T05:00:00+00:00'
    """
    shift = timedelta(hours=day_starts_at)
    return moment - (moment - shift - EPOCH) % DAY
