"""The alarm rule: an effect above its floor, significant among all columns, in two windows in a row.

Significance alone alarms on harmless shifts once windows are large; effect alone alarms on noise while they
are small; and a fresh test every day alarms surely in the end. The three together keep false alarms at about
one a month of daily windows (simulated in the tests).
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import msgspec
import numpy as np

from everloop.stats.drift.distances import (
    chi2,
    js_distance,
    js_floor,
    ks,
    missing_difference,
    new_difference,
    wasserstein,
)
from everloop.stats.drift.states import CategoricalState, ColumnState, NumericState, merge

# Effects below these are nobody's business, however significant: .05 sd of shift (a JS distance of .03 is
# about .1 sd, since JS is near shift / sqrt(8)), and one row in a hundred missing or new.
PRACTICAL_FLOORS = {"wasserstein": 0.05, "js": 0.03, "missing": 0.01, "new": 0.01}


class Measurement(msgspec.Struct, frozen=True):
    """One thing measured on one column: ``measure`` is wasserstein, js, missing or new; ``aspect`` what it is of.

    ``effect`` is in the measure's unit: standard deviations, JS distance beyond noise, or difference of rates.
    """

    column: str
    aspect: str
    measure: str
    effect: float
    p: float

    @property
    def name(self) -> str:
        """``column.aspect``, by which floors and streaks are kept."""
        return f"{self.column}.{self.aspect}"


class Finding(msgspec.Struct, frozen=True):
    """A measurement judged: its floor, its p adjusted for all others, and for how many windows in a row."""

    measurement: Measurement
    floor: float
    p_adjusted: float
    streak: int
    drifted: bool


class DriftVerdict(msgspec.Struct, frozen=True):
    """``findings`` by effect over floor times importance, largest first; ``drifted`` names columns in that order.

    Store ``streaks`` and hand it to the next window's `decide`.
    """

    drifted: tuple[str, ...]
    findings: tuple[Finding, ...]
    streaks: dict[str, int]


def measure(column: str, reference: ColumnState, current: ColumnState) -> tuple[Measurement, ...]:
    """All measurements of a column: its distribution, its missing rate and, for categories, its new values.

    Numeric: Wasserstein distance over the reference's sd, p from KS. Categorical: JS distance beyond the noise
    floor, p from the two-sample chi-square test. A window without any value says nothing of its distribution,
    and one without rows nothing at all.

    >>> from everloop.stats.drift.states import CategoricalBins
    >>> bins = CategoricalBins.fit(["AA", "UA"])
    >>> before, now = bins.count({"AA": 500, "UA": 500}), bins.count({"AA": 500, "XX": 490, None: 10})
    >>> [(m.aspect, round(m.effect, 2)) for m in measure("carrier", before, now)]
    [('missing', 0.01), ('distribution', 0.56), ('new', 0.49)]
    """
    found: list[Measurement] = []
    if reference.rows and current.rows:
        missing = missing_difference(reference, current)
        found.append(Measurement(column, "missing", "missing", abs(missing.effect), missing.p))
    if not (reference.n and current.n):
        return tuple(found)
    if isinstance(reference, NumericState) and isinstance(current, NumericState):
        distance = wasserstein(reference, current)
        found.append(Measurement(column, "distribution", "wasserstein", distance, ks(reference, current).p))
    elif isinstance(reference, CategoricalState) and isinstance(current, CategoricalState):
        filled = int(((reference.counts + current.counts) > 0).sum())
        excess = max(0.0, js_distance(reference, current) - js_floor(filled, reference.n, current.n))
        found.append(Measurement(column, "distribution", "js", excess, chi2(reference, current).p))
        if reference.bins.complete:
            new = new_difference(reference, current)
            found.append(Measurement(column, "new", "new", max(0.0, new.effect), new.p))
    else:
        raise ValueError(f"{column}: one window is numeric, the other categorical")
    return tuple(found)


def benjamini_hochberg(p_values: Sequence[float], *, any_dependence: bool = False) -> list[float]:
    """Adjusted p-values: rejecting those at or below q keeps the false discovery rate at q.

    Without any drift that is the chance of any alarm at all. Source: Benjamini & Hochberg 1995; for any
    dependence the harmonic factor of Benjamini & Yekutieli 2001.

    >>> benjamini_hochberg([0.01, 0.04, 0.9])
    [0.03, 0.06, 0.9]
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.size == 0:
        return []
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p-values must lie in [0, 1]")
    ranks = np.arange(1, p.size + 1)
    factor = float((1 / ranks).sum()) if any_dependence else 1.0
    order = np.argsort(p)
    steps = np.minimum.accumulate((p[order] * p.size * factor / ranks)[::-1])[::-1]
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return [float(value) for value in adjusted]


def leave_one_out(column: str, windows: Sequence[ColumnState]) -> dict[str, list[float]]:
    """Effects of each reference window against all the others, by measurement name: what is normal here.

    Use windows of the size and calendar kind (weekday, hour band) that will be judged. Needs at least three.

    >>> from everloop.stats.drift.states import NumericBins
    >>> rng = np.random.default_rng(0)
    >>> bins = NumericBins.fit(rng.normal(size=1000))
    >>> effects = leave_one_out("temp", [bins.count(rng.normal(size=1000)) for _ in range(5)])
    >>> len(effects["temp.distribution"]), max(effects["temp.distribution"]) < 0.1
    (5, True)
    """
    if len(windows) < 3:
        raise ValueError(f"{column}: a floor needs at least 3 reference windows, not {len(windows)}")
    before, after = _running(windows), _running(windows[::-1])[::-1]
    effects: dict[str, list[float]] = {}
    for i, window in enumerate(windows):
        parts = ([before[i - 1]] if i else []) + ([after[i + 1]] if i + 1 < len(windows) else [])
        for found in measure(column, _merged(parts), window):
            effects.setdefault(found.name, []).append(found.effect)
    return effects


def floors(
    reference: Mapping[str, Sequence[ColumnState]],
    *,
    spread: float = 5.0,
    practical: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """A floor for each measurement: mean + ``spread`` sd of its effects in reference windows left out in turn.

    The sd is pooled over all columns that share a measure, for a single column's, from a few windows, is too
    uncertain; never below the practical floor. ``reference`` has the windows of each column.

    >>> from everloop.stats.drift.states import NumericBins
    >>> rng = np.random.default_rng(0)
    >>> bins = NumericBins.fit(rng.normal(size=1000))
    >>> floors({"temp": [bins.count(rng.normal(size=9000)) for _ in range(9)]})["temp.distribution"]
    0.05
    """
    if spread < 0:
        raise ValueError(f"spread must not be negative, not {spread}")
    least = {**PRACTICAL_FLOORS, **(practical or {})}
    effects: dict[str, list[float]] = {}
    measures: dict[str, str] = {}
    for column, windows in reference.items():
        effects |= leave_one_out(column, windows)
        measures |= {found.name: found.measure for found in measure(column, _merged(windows), windows[0])}
    found_floors: dict[str, float] = {}
    for kind in set(measures.values()):
        names = [name for name, its in measures.items() if its == kind and name in effects]
        sd = float(np.sqrt(np.mean([np.var(effects[name], ddof=1) for name in names])))
        for name in names:
            found_floors[name] = max(least[kind], float(np.mean(effects[name])) + spread * sd)
    return found_floors


def decide(
    measurements: Sequence[Measurement],
    *,
    floors: Mapping[str, float] | None = None,
    streaks: Mapping[str, int] | None = None,
    importance: Mapping[str, float] | None = None,
    q: float = 1 / 30,
    in_a_row: int = 2,
    any_dependence: bool = False,
) -> DriftVerdict:
    """Judge all measurements of one window together.

    A measurement *exceeds* if its effect is above its floor (the practical one of its measure where ``floors``
    has none) and its p among all measurements is at most ``q``, the false alerts allowed a window (1/30: one a
    month of daily windows). It has drifted once it exceeds ``in_a_row`` windows running.

    Args:
        streaks: what the verdict of the window before carried, none for the first.
        importance: weight of each column (1 where absent), for the order of findings only.

    Raises:
        ValueError: q outside (0, 1), in_a_row below 1, the same measurement twice.

    >>> shifted = [Measurement("temp", "distribution", "wasserstein", 0.4, 1e-9)]
    >>> first = decide(shifted)
    >>> first.drifted, first.streaks
    ((), {'temp.distribution': 1})
    >>> decide(shifted, streaks=first.streaks).drifted
    ('temp',)
    """
    if not 0 < q < 1:
        raise ValueError(f"q must lie strictly between 0 and 1, not {q}")
    if in_a_row < 1:
        raise ValueError(f"in_a_row must be at least 1, not {in_a_row}")
    if len({m.name for m in measurements}) < len(measurements):
        raise ValueError("a measurement occurs twice")
    adjusted = benjamini_hochberg([m.p for m in measurements], any_dependence=any_dependence)
    findings: list[Finding] = []
    running: dict[str, int] = {}
    for found, p in zip(measurements, adjusted, strict=True):
        floor = (floors or {}).get(found.name, PRACTICAL_FLOORS[found.measure])
        exceeds = found.effect > floor and p <= q
        streak = (streaks or {}).get(found.name, 0) + 1 if exceeds else 0
        if streak:
            running[found.name] = streak
        findings.append(Finding(found, floor, p, streak, streak >= in_a_row))
    weights = importance or {}
    findings.sort(
        key=lambda f: f.measurement.effect / max(f.floor, 1e-9) * weights.get(f.measurement.column, 1.0),
        reverse=True,
    )
    drifted = dict.fromkeys(f.measurement.column for f in findings if f.drifted)
    return DriftVerdict(tuple(drifted), tuple(findings), running)


def _merged(windows: Sequence[ColumnState]) -> ColumnState:
    return _running(windows)[-1]


def _running(windows: Sequence[ColumnState]) -> list[ColumnState]:
    """Each window merged with all before it."""
    return list(accumulate(windows, merge))
