"""From the values of windows to readings: pure, so that every alarm can be computed again from what is
stored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from everloop.domain.monitors import Measure, Monitor, Reading
from everloop.stats.blocks import BlockMeans, mean_above
from everloop.stats.distributions import normal_sf
from everloop.stats.drift import Measurement, benjamini_hochberg
from everloop.stats.drift import decide as decide_drift
from everloop.stats.fairness import MINIMUM_ROWS, GroupCounts
from everloop.stats.intervals import mean_of_blocks, wilson

MINIMUM_BLOCKS = 7
"""Day blocks before a trailing test may speak: a t test on fewer leans on the day values being normal, which
they are not."""

SHOCK_SDS = 5.0
"""A day further than this many standard deviations of the reference's days from their mean is not a matter of
trailing means: two of them in a row are enough. Mean + 5 sd, twice in a row, is the rule measured best for
windows that wander."""

MINIMUM_REQUESTS = 20


class DayValue(msgspec.Struct, frozen=True):
    """One value of one day, with the rows behind it."""

    start: str
    rows: int
    value: float


def trailing_reading(
    monitor: Monitor, days: Sequence[DayValue], reference: BlockMeans, minimum_rows: int
) -> Reading | None:
    """Judge the last `monitor.trailing` days of a value against the reference's days; None before there is
    anything to say.

    The effect is positive towards harm: higher loss, lower AUC, a gap that moved either way.
    """
    kept = [day for day in days if day.rows >= minimum_rows][-monitor.trailing :]
    if len(kept) < 2 or len(reference.means) < 2:
        return None
    sign = -1.0 if monitor.measure in {Measure.DAILY_AUC, Measure.ESTIMATED} else 1.0
    current = BlockMeans(
        tuple(day.start for day in kept),
        tuple(day.rows for day in kept),
        tuple(sign * day.value for day in kept),
    )
    base = BlockMeans(reference.keys, reference.rows, tuple(sign * mean for mean in reference.means))
    test = mean_above(current, base)
    if test is None:
        return None
    effect, p, low, high = test.difference, test.p, test.low, test.high
    if monitor.measure is Measure.CALIBRATION:
        p = min(1.0, 2 * min(p, 1 - p))
        if effect < 0:
            effect, low, high = -effect, -high, -low
    enough = len(kept) >= min(MINIMUM_BLOCKS, monitor.trailing)
    shock = monitor.measure is not Measure.CALIBRATION and _shock(current, base, monitor.effect)
    return Reading(
        column="",
        effect=effect,
        floor=monitor.effect,
        p=p if enough else None,
        value=sign * _mean(current),
        reference=sign * _mean(base),
        low=low,
        high=high,
        rows=sum(current.rows),
        blocks=len(kept),
        over=shock or (enough and effect >= monitor.effect and p <= monitor.significance),
        shock=shock,
    )


ASPECTS: dict[Measure, str] = {
    Measure.DRIFT: "distribution",
    Measure.MISSING: "missing",
    Measure.CATEGORIES: "new",
}
"""Which aspect of a column each measure judges."""


def column_readings(
    monitor: Monitor,
    measured: Sequence[Measurement],
    floors: Mapping[str, float],
    streaks: Mapping[str, int],
    rows: int,
) -> list[Reading]:
    """Judge the columns of a window together, furthest over its floor first.

    floors: what the reference's own days do, by measurement; the monitor's effect is the least. streaks:
    windows in a row that each column was over before this one. A category's distance is a JS distance, which
    is near shift / sqrt(8) of a shift in sd.
    """
    aspect = ASPECTS[monitor.measure]
    wanted = [
        each
        for each in measured
        if each.aspect == aspect and (not monitor.columns or each.column in monitor.columns)
    ]
    least = {
        each.name: max(
            monitor.effect / math.sqrt(8) if each.measure == "js" else monitor.effect,
            floors.get(each.name, 0.0),
        )
        for each in wanted
    }
    verdict = decide_drift(
        wanted,
        floors=least,
        streaks={f"{column}.{aspect}": run for column, run in streaks.items()},
        q=monitor.significance,
        in_a_row=monitor.persistence,
    )
    return [
        Reading(
            column=found.measurement.column,
            effect=found.measurement.effect,
            floor=found.floor,
            p=found.p_adjusted,
            rows=rows,
            over=found.streak > 0,
            streak=found.streak,
        )
        for found in verdict.findings
    ]


def group_readings(
    monitor: Monitor,
    reference: Mapping[str, GroupCounts],
    current: Mapping[str, GroupCounts],
    streaks: Mapping[str, int],
) -> list[Reading]:
    """Judge each group's rate of positive decisions: how far its distance from everybody else's has moved
    since the reference.

    A rate that rises for all (a bad month) moves nobody's distance. z test on the difference of the two
    distances, corrected over the groups (Benjamini-Hochberg); groups of fewer than `MINIMUM_ROWS` rows in
    either period are not judged.
    """
    before_all, now_all = _sum(reference.values()), _sum(current.values())
    found: list[tuple[str, float, float, GroupCounts]] = []
    for name, now in current.items():
        before = reference.get(name)
        if before is None or min(before.rows, now.rows) < MINIMUM_ROWS:
            continue
        distance_before, variance_before = _distance(before, before_all)
        distance_now, variance_now = _distance(now, now_all)
        moved = abs(distance_now - distance_before)
        z = moved / max(math.sqrt(variance_before + variance_now), 1e-12)
        found.append((name, moved, 2 * normal_sf(z), now))
    adjusted = benjamini_hochberg([p for _, _, p, _ in found])
    readings = []
    for (name, moved, _, now), p in zip(found, adjusted, strict=True):
        over = moved >= monitor.effect and p <= monitor.significance
        streak = streaks.get(name, 0) + 1 if over else 0
        readings.append(
            Reading(
                f"{monitor.group}={name}",
                moved,
                monitor.effect,
                p,
                value=now.selected / now.rows,
                rows=now.rows,
                over=over,
                streak=streak,
            )
        )
    return sorted(readings, key=lambda reading: -reading.effect)


def rate_reading(monitor: Monitor, count: int, rows: int) -> Reading | None:
    """Judge a rate (of failed requests) against its floor: over when the rate is above it beyond doubt."""
    if rows < MINIMUM_REQUESTS:
        return None
    interval = wilson(count, rows, level=1 - 2 * monitor.significance)
    return Reading(
        column="",
        effect=interval.estimate,
        floor=monitor.effect,
        p=None,
        value=interval.estimate,
        low=interval.low,
        high=interval.high,
        rows=rows,
        over=interval.low >= monitor.effect,
    )


def limit_reading(monitor: Monitor, value: float | None, rows: int) -> Reading | None:
    """Judge a value (the 95th percentile of latency) against a fixed limit."""
    if value is None or rows < MINIMUM_REQUESTS:
        return None
    return Reading("", value, monitor.effect, None, value=value, rows=rows, over=value >= monitor.effect)


def current_values(days: Sequence[DayValue], last: int) -> dict[str, float] | None:
    """Mean and 95 % interval of the last days of a value, each day counting once; None without days."""
    kept = [day.value for day in days][-last:]
    if not kept:
        return None
    interval = mean_of_blocks(kept)
    found = {"value": sum(kept) / len(kept), "days": float(len(kept))}
    if interval is not None:
        found |= {"low": interval.low, "high": interval.high}
    return found


def _sum(groups: Iterable[GroupCounts]) -> GroupCounts:
    return sum(groups, start=GroupCounts(0, 0))


def _distance(group: GroupCounts, everybody: GroupCounts) -> tuple[float, float]:
    """A group's rate minus that of all others, with the variance of that difference."""
    others = GroupCounts(everybody.rows - group.rows, everybody.selected - group.selected)
    if others.rows == 0:
        return 0.0, 0.0
    one, two = group.selected / group.rows, others.selected / others.rows
    return one - two, one * (1 - one) / group.rows + two * (1 - two) / others.rows


def _shock(current: BlockMeans, reference: BlockMeans, effect: float) -> bool:
    mean = _mean(reference)
    sd = (sum((each - mean) ** 2 for each in reference.means) / (len(reference.means) - 1)) ** 0.5
    far = mean + max(SHOCK_SDS * sd, effect)
    return len(current.means) >= 2 and min(current.means[-2:]) > far


def _mean(blocks: BlockMeans) -> float:
    return sum(blocks.means) / len(blocks.means)
