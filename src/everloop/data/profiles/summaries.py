"""Profiles for people, of the sketches of a table."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

import numpy as np

from everloop.data.profiles.profiling import DAY, instant
from everloop.domain.datasets import VersionRecord
from everloop.domain.personal import find_personal, masked
from everloop.domain.profiles import (
    SHARES,
    ColumnProfile,
    Correlations,
    Histogram,
    NumberFacts,
    Profile,
    TextFacts,
    TimeFacts,
    TimeGap,
    TopValue,
)
from everloop.stats.sketches import ColumnSketch, QuantileSketch, TableSketch
from everloop.stats.sketches.columns import CORRELATED

TOP = 20
BINS = 40
LONGEST = 100
"""Characters of a frequent value that are shown."""
GAPS = 5

_NUMBER = re.compile(r"\s*[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?\s*%?")
_DATE = re.compile(r"\s*(\d{4}-\d{1,2}-\d{1,2}([T ]\d{1,2}:\d{2}.*)?|\d{1,2}[./]\d{1,2}[./]\d{2,4})\s*")
_NEARLY_ALL = 0.95


def summarise(
    state: TableSketch, record: VersionRecord, *, stored: str, parts: int, reused: int, made: datetime
) -> Profile:
    """The profile of a version. `stored`: the object that holds the state."""
    types = {column.name: column.type for column in record.columns}
    columns = [column_profile(name, types.get(name, ""), sketch) for name, sketch in state.columns.items()]
    return Profile(
        reference=record.reference,
        digest=record.digest,
        rows=state.rows,
        duplicates=state.row_hashes.repeated,
        duplicates_exact=state.row_hashes.exact,
        columns=columns,
        correlations=_correlations(state),
        state=stored,
        parts=parts,
        parts_reused=reused,
        made=made,
    )


def column_profile(name: str, type_: str, sketch: ColumnSketch) -> ColumnProfile:
    sample = sketch.sample.values if sketch.sample is not None else []
    personal = find_personal(name, sample, integers=sketch.kind == "number")
    hides = any(each.matching and each.confidence != "low" for each in personal)
    distinct = sketch.distinct
    top = [
        TopValue(masked(_short(value)) if hides and isinstance(value, str | int) else _short(value), count)
        for value, count in sketch.frequent.top(TOP)
        if (count > 1 or distinct.distinct <= TOP)
        and not (isinstance(value, float) and not math.isfinite(value))
    ]
    return ColumnProfile(
        name=name,
        type=type_,
        kind=sketch.kind,
        rows=sketch.rows,
        nulls=sketch.nulls,
        nans=sketch.nans,
        distinct=distinct.distinct,
        distinct_error=distinct.relative_error,
        constant=sketch.rows > 0
        and distinct.exact
        and distinct.distinct <= 1
        and (distinct.distinct == 0 or not _missing(sketch)),
        unique=sketch.values > 1 and distinct.repeated == 0,
        top=top,
        top_missed=sketch.frequent.missed,
        masked=hides,
        number=_number(sketch) if sketch.kind == "number" else None,
        text=_text(sketch) if sketch.kind == "text" else None,
        time=_time(sketch, days_only=type_.startswith("date")) if sketch.kind == "time" else None,
        personal=personal,
    )


def _missing(sketch: ColumnSketch) -> int:
    return sketch.nulls + sketch.nans


def _short(value: Any) -> Any:
    return value if not isinstance(value, str) or len(value) <= LONGEST else value[: LONGEST - 1] + "…"


def _number(sketch: ColumnSketch) -> NumberFacts | None:
    if sketch.quantiles is None or sketch.moments is None:
        return None
    moments, ranks = sketch.moments, sketch.quantiles
    return NumberFacts(
        low=_finite(ranks.low),
        high=_finite(ranks.high),
        mean=_finite(moments.mean) if moments.n else None,
        sd=moments.sd,
        zeros=sketch.zeros,
        negative=sketch.negative,
        infinite=sketch.infinite,
        quantiles=_quantiles(ranks),
        rank_error=ranks.relative_error,
        histogram=histogram(ranks),
    )


def _text(sketch: ColumnSketch) -> TextFacts | None:
    if sketch.quantiles is None or sketch.moments is None:
        return None
    ranks = sketch.quantiles
    return TextFacts(
        shortest=None if ranks.low is None else int(ranks.low),
        longest=None if ranks.high is None else int(ranks.high),
        mean_length=sketch.moments.mean if sketch.moments.n else None,
        lengths=_quantiles(ranks),
        empty=sketch.empty,
        blank=sketch.blank,
        reads_as=reads_as(sketch.sample.values if sketch.sample is not None else []),
        histogram=histogram(ranks),
    )


def _time(sketch: ColumnSketch, *, days_only: bool) -> TimeFacts | None:
    if sketch.quantiles is None or sketch.calendar is None:
        return None
    ranks, calendar = sketch.quantiles, sketch.calendar
    gaps = calendar.gaps()
    ends = [None if end is None else instant(end, days_only=days_only) for end in (ranks.low, ranks.high)]
    return TimeFacts(
        low=ends[0],
        high=ends[1],
        quantiles={share: instant(at, days_only=days_only) for share, at in _quantiles(ranks).items()},
        unit=calendar.unit,
        spanned=int(calendar.at[-1] - calendar.at[0]) + 1 if calendar.at.size else 0,
        covered=int(calendar.at.size),
        gap_count=len(gaps),
        gaps=[
            TimeGap(calendar.label(gap.after), calendar.label(gap.before), gap.missing) for gap in gaps[:GAPS]
        ],
        histogram=histogram(ranks, step=DAY if days_only else 0),
    )


def _quantiles(ranks: QuantileSketch) -> dict[str, float]:
    found = zip(SHARES, ranks.quantiles(SHARES), strict=False)
    return {str(share): value for share, value in found if math.isfinite(value)}


def histogram(ranks: QuantileSketch, *, bins: int = BINS, step: float = 0) -> Histogram | None:
    """About forty bins over nearly all values. Few whole numbers get a bin each; with `step`, all edges are multiples of it.

    >>> histogram(QuantileSketch.of([1.0, 2.0, 2.0, 4.0])).counts
    [1, 2, 0, 1]
    """
    values, weights = ranks.weighted()
    inside = np.isfinite(values)
    if not inside.any():
        return None
    values, weights = values[inside], weights[inside]
    whole = step or (1.0 if bool((values == np.floor(values)).all()) else 0.0)
    low, high = float(values[0]), float(values[-1])
    near = np.cumsum(weights) / weights.sum()
    ends = np.minimum(np.searchsorted(near, [0.005, 0.995]), values.size - 1)
    inner_low, inner_high = values[ends].tolist()
    spread = inner_high - inner_low
    if spread > 0 and high - low > 3 * spread:
        low, high = max(low, inner_low - spread / 2), min(high, inner_high + spread / 2)
    if whole:
        low, high = math.floor(low / whole) * whole, math.floor(high / whole) * whole + whole
        width = whole * max(1, math.ceil((high - low) / whole / bins))
        edges = low + width * np.arange(math.ceil((high - low) / width) + 1)
    elif low == high:
        edges = np.array([low, np.nextafter(low, np.inf)])
    else:
        edges = np.linspace(low, high, bins + 1, dtype=np.float64)
    if not (np.isfinite(edges).all() and (np.diff(edges) > 0).all()):
        return None  # a range beyond what floats can divide
    return Histogram(
        edges=edges.tolist(),
        counts=ranks.histogram(edges.astype(np.float64)),
        below=int(weights[values < edges[0]].sum()),
        above=int(weights[values > edges[-1]].sum()),
    )


def _correlations(state: TableSketch) -> Correlations:
    found = state.comoments.correlations()
    left_out = {}
    numeric = [name for name, column in state.columns.items() if column.kind in ("number", "boolean")]
    for name in state.columns:
        if name not in numeric:
            left_out[name] = f"it holds no numbers ({state.columns[name].kind})"
        elif name not in state.correlated:
            left_out[name] = f"only the first {CORRELATED} numeric columns are correlated"
    undefined = [bool(np.isnan(row).all()) for row in found] if state.correlated else []
    for name, nothing in zip(state.correlated, undefined, strict=True):
        if nothing:
            left_out[name] = "it has one value only, or none"
    kept = [place for place, nothing in enumerate(undefined) if not nothing]
    values = [
        [None if math.isnan(found[row, column]) else round(float(found[row, column]), 6) for column in kept]
        for row in kept
    ]
    return Correlations([state.correlated[place] for place in kept], values, left_out)


def reads_as(sample: list[str]) -> str:
    """What nearly all texts of a sample could be read as.

    >>> reads_as(["1", "2.5", "-3e4"]), reads_as(["2013-01-01", "2013-01-02T10:00"]), reads_as(["a", "1"])
    ('number', 'date', '')
    """
    filled = [value for value in sample if value.strip()]
    for what, pattern in (("number", _NUMBER), ("date", _DATE)):
        if filled and sum(pattern.fullmatch(value) is not None for value in filled) >= _NEARLY_ALL * len(
            filled
        ):
            return what
    return ""


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
