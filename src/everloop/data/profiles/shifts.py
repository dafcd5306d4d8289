"""What shifted from one version to another: the sketches of both, measured as monitoring measures drift."""

from __future__ import annotations

import math

import numpy as np

from everloop.domain.profiles import ProfileComparison, Shift, Steps
from everloop.stats.drift import (
    CategoricalBins,
    ColumnState,
    Measurement,
    NumericBins,
    NumericState,
    benjamini_hochberg,
    measure,
)
from everloop.stats.drift.alarm import PRACTICAL_FLOORS
from everloop.stats.sketches import ColumnSketch, QuantileSketch, TableSketch

SIGNIFICANT = 0.01
STEPS = 30
CATEGORIES = 12
BINS = 64
"""Coarser than the bins of monitors: the sketches' own error must stay small beside a bin."""

OTHERS = "(others)"


def compare(
    first: TableSketch, second: TableSketch, names: tuple[str, str], only: frozenset[str] | None = None
) -> ProfileComparison:
    """Columns of both versions, those that moved furthest first; `only` these, if they are named."""
    measured: list[Measurement] = []
    pairs: dict[str, tuple[ColumnState, ColumnState]] = {}
    not_compared: dict[str, str] = {}
    for name in {**first.columns, **second.columns}:
        if only is not None and name not in only:
            continue
        a, b = first.columns.get(name), second.columns.get(name)
        if a is None or b is None:
            not_compared[name] = f"only {names[0] if b is None else names[1]} has it"
        elif a.kind != b.kind:
            not_compared[name] = f"it was of kind {a.kind}, and is of kind {b.kind}"
        elif not a.values:
            not_compared[name] = f"it has no value in {names[0]}"
        else:
            pairs[name] = _states(a, b)
            measured += measure(name, *pairs[name])
    adjusted = dict(enumerate(benjamini_hochberg([each.p for each in measured])))
    shifts = [_shift(each, adjusted[at], first.columns[each.column].kind) for at, each in enumerate(measured)]
    shifts.sort(key=lambda each: (not each.shifted, -each.effect / each.floor, each.column))
    shifted = list(dict.fromkeys(each.column for each in shifts if each.shifted))
    steps = {name: _steps(first.columns[name], second.columns[name]) for name in shifted}
    return ProfileComparison(
        first=names[0],
        second=names[1],
        columns=shifted,
        shifts=shifts,
        not_compared=not_compared,
        steps={name: each for name, each in steps.items() if each is not None},
    )


def _states(a: ColumnSketch, b: ColumnSketch) -> tuple[ColumnState, ColumnState]:
    """Both in the bins of the first. Numbers by rank; texts that are few by value, else by their lengths; times by rank."""
    if a.kind in ("boolean", "other") or a.quantiles is None or b.quantiles is None or _few(a):
        bins = CategoricalBins.fit({str(value): count for value, count in a.frequent.top()} or {"": 1})
        return _counted(bins, a), _counted(bins, b)
    shares = np.linspace(0, 1, 2001)
    finite = np.array([value for value in a.quantiles.quantiles(list(shares)) if math.isfinite(value)])
    fitted = NumericBins.fit(finite if finite.size else [0.0], bins=BINS)
    return _ranked(fitted, a, a.quantiles), _ranked(fitted, b, b.quantiles)


def _few(sketch: ColumnSketch) -> bool:
    return sketch.kind == "text" and sketch.frequent.exact


def _counted(bins: CategoricalBins, sketch: ColumnSketch) -> ColumnState:
    counts: dict[str | None, int] = {}
    for value, count in sketch.frequent.top():
        counts[str(value)] = counts.get(str(value), 0) + count
    uncounted = sketch.values - sum(counts.values())
    if uncounted > 0:
        counts[OTHERS] = uncounted
    counts[None] = sketch.nulls + sketch.nans
    return bins.count(counts)


def _ranked(bins: NumericBins, sketch: ColumnSketch, ranks: QuantileSketch) -> NumericState:
    """A state in bins, of the values a sketch kept and what each stands for."""
    values, weights = ranks.weighted()
    inside = np.isfinite(values)
    values, weights = values[inside], weights[inside]
    which = np.searchsorted(bins.edges, values, side="right")
    scaled = (values - bins.centre) / bins.scale
    return NumericState(
        bins=bins,
        rows=sketch.rows,
        missing=sketch.nulls + sketch.nans,
        infinite=sketch.rows - sketch.nulls - sketch.nans - int(weights.sum()),
        low=float(values[0]) if values.size else None,
        high=float(values[-1]) if values.size else None,
        squares=float((scaled * scaled * weights).sum()),
        counts=np.bincount(which, weights=weights, minlength=bins.size).astype(np.int64),
        sums=np.bincount(which, weights=scaled * weights, minlength=bins.size).astype(np.float64),
    )


def _shift(found: Measurement, p: float, kind: str) -> Shift:
    floor = PRACTICAL_FLOORS[found.measure]
    of = " of its lengths" if kind == "text" and found.measure == "wasserstein" else ""
    said = {
        "wasserstein": f"values moved by {found.effect:.3g} standard deviations{of}",
        "js": f"shares moved by a JS distance of {found.effect:.3g} beyond noise",
        "missing": f"{found.effect:.2%} of the rows more or fewer have no value",
        "new": f"{found.effect:.2%} of the values were unknown before",
    }[found.measure]
    return Shift(
        column=found.column,
        aspect=found.aspect,
        measure=found.measure,
        effect=found.effect,
        floor=floor,
        p_adjusted=p,
        shifted=found.effect > floor and p < SIGNIFICANT,
        said=said,
    )


def _steps(a: ColumnSketch, b: ColumnSketch) -> Steps | None:
    if a.quantiles is None or b.quantiles is None or _few(a):
        return _shares(a, b)
    both = a.quantiles.merge(b.quantiles)
    low, high = (value for value in both.quantiles([0.005, 0.995]))
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return None
    edges = np.linspace(low, high, STEPS + 1)
    first, second = (
        [count / max(1, ranks.n) for count in ranks.histogram(edges)] for ranks in (a.quantiles, b.quantiles)
    )
    return Steps(edges.tolist(), [], first, second)


def _shares(a: ColumnSketch, b: ColumnSketch) -> Steps | None:
    if not (a.values and b.values):
        return None
    before, after = (dict(each.frequent.top()) for each in (a, b))
    often = sorted({**before, **after}, key=lambda value: -(before.get(value, 0) + after.get(value, 0)))
    names = often[:CATEGORIES]
    first, second = (
        [each.get(name, 0) / n for name in names] for each, n in ((before, a.values), (after, b.values))
    )
    if len(often) > CATEGORIES:
        first, second = [*first, max(0.0, 1 - sum(first))], [*second, max(0.0, 1 - sum(second))]
        return Steps([], [*(str(name)[:40] for name in names), OTHERS], first, second)
    return Steps([], [str(name)[:40] for name in names], first, second)
