"""What a version's table holds, as the page about the version shows it: facts, notes and plots of a profile."""

from __future__ import annotations

from typing import Any

from everloop.domain.profiles import ColumnProfile, Correlations, Histogram, Profile, ProfileComparison
from everloop.server.pages.plots import Spec

PLOTTED = 8
"""Columns whose plots are shown at once."""
MOST_CORRELATED = 24
MOST_MISSING = 30
MOST_TOP = 12
LABEL = 24


def plotted(profile: Profile, first: int) -> list[dict[str, Any]]:
    """Some columns from `first` on, each with its plot (None where there is nothing to draw) and what is said beside it."""
    return [
        {"column": column, "plot": plot_of(column), "said": said(column)}
        for column in profile.columns[first : first + PLOTTED]
    ]


def plot_of(column: ColumnProfile) -> Spec | None:
    """The distribution of a column: steps of numbers, times and lengths of texts; bars where few values are frequent."""
    often = bool(column.top) and (column.distinct <= MOST_TOP or column.kind in ("boolean", "other"))
    if column.kind in ("text", "boolean", "other") and column.top and (often or column.top[0].count > 1):
        return bars(column)
    if column.number is not None and column.number.histogram is not None:
        return steps(column.name, column.number.histogram, {"name": column.name})
    if column.time is not None and column.time.histogram is not None:
        edges = [edge / 1000 for edge in column.time.histogram.edges]
        moved = Histogram(edges, column.time.histogram.counts)
        return steps(column.name, moved, {"name": "UTC", "type": "time"})
    if column.text is not None and column.text.histogram is not None:
        return steps(column.name, column.text.histogram, {"name": "characters"})
    return None


def steps(name: str, found: Histogram, x: dict[str, Any]) -> Spec:
    """A histogram as steps."""
    return {
        "kind": "steps",
        "name": name,
        "x": x,
        "y": {"name": "rows", "zero": True},
        "edges": found.edges,
        "series": [{"name": "rows", "values": found.counts}],
    }


def bars(column: ColumnProfile) -> Spec:
    """The most frequent values, and all others together."""
    top = column.top[:MOST_TOP]
    names = [_label(each.value) for each in top]
    counts = [each.count for each in top]
    others = column.rows - column.nulls - column.nans - sum(counts)
    if others > 0:
        names, counts = [*names, "(others)"], [*counts, others]
    return {
        "kind": "bar",
        "name": column.name,
        "x": {"name": column.name, "categories": names},
        "y": {"name": "rows"},
        "series": [{"name": "rows", "values": counts}],
    }


def missing(profile: Profile) -> Spec | None:
    """The share of rows without a value by column, where there is any: null and NaN apart."""
    some = sorted((each for each in profile.columns if each.missing), key=lambda each: -each.missing)[
        :MOST_MISSING
    ]
    if not some:
        return None
    series = [{"name": "null", "values": [100 * each.nulls / each.rows for each in some]}]
    if any(each.nans for each in some):
        series.append({"name": "NaN", "values": [100 * each.nans / each.rows for each in some]})
    return {
        "kind": "bar",
        "name": "missing",
        "x": {"name": "column", "categories": [_label(each.name) for each in some]},
        "y": {"name": "rows without a value", "unit": "%"},
        "series": series,
    }


def correlations(found: Correlations) -> Spec | None:
    """How numeric columns go together, as a heat map."""
    if len(found.columns) < 2:
        return None
    names = [_label(name) for name in found.columns[:MOST_CORRELATED]]
    return {
        "kind": "heatmap",
        "name": "correlations",
        "x": {"name": "", "categories": names},
        "y": {"name": "column", "categories": names},
        "value": {"name": "correlation", "min": -1, "max": 1},
        "numbers": len(names) <= 8,
        "values": [
            # With itself each goes together wholly: that would outshine the rest.
            [
                None if value is None or at == row else round(value, 2) + 0.0
                for at, value in enumerate(values[:MOST_CORRELATED])
            ]
            for row, values in enumerate(found.values[:MOST_CORRELATED])
        ],
    }


def strongest(found: Correlations, most: int = 5) -> list[tuple[str, str, float]]:
    """The pairs that go together most, for those who cannot see the heat map."""
    pairs = [
        (first, second, value)
        for row, first in enumerate(found.columns)
        for second, value in zip(found.columns[:row], found.values[row][:row], strict=True)
        if value is not None
    ]
    return sorted(pairs, key=lambda pair: -abs(pair[2]))[:most]


def shifted(found: ProfileComparison, most: int = 6) -> list[tuple[str, str, Spec]]:
    """Columns that shifted, each with what is said of it and both distributions as overlaid steps or bars."""
    shown = []
    for name in found.columns[:most]:
        words = "; ".join(each.said for each in found.shifts if each.column == name and each.shifted)
        both = found.steps.get(name)
        if both is None:
            continue
        shares = [[round(100 * share, 4) for share in values] for values in (both.first, both.second)]
        versions = [each.partition(":")[2] for each in (found.first, found.second)]
        y = {"name": "share of values", "unit": "%", "zero": True}
        spec: Spec = {"name": name, "y": y}
        if both.categories:
            series: list[Spec] = [
                {"name": each, "values": values} for each, values in zip(versions, shares, strict=True)
            ]
            spec |= {"kind": "bar", "x": {"name": name, "categories": both.categories}, "series": series}
        else:
            series = [
                {"name": versions[0], "values": shares[0], "dashed": True},
                {"name": versions[1], "values": shares[1]},
            ]
            spec |= {"kind": "steps", "x": {"name": name}, "edges": both.edges, "series": series}
        shown.append((name, words, spec))
    return shown


def said(column: ColumnProfile) -> str:
    """What matters most of a column, in one line under its plot's name."""
    parts = []
    if column.constant:
        parts.append("one value only" if column.distinct else "no value")
    elif column.unique:
        parts.append("every value once")
    else:
        parts.append(f"{'about ' if column.distinct_error else ''}{column.distinct:,} different")
    if column.missing:
        parts.append(f"{column.missing:.2%} missing".replace(".00%", "%").replace("%", " %"))
    outside = column.number.histogram if column.number is not None else None
    if outside is not None and outside.below + outside.above:
        parts.append(f"{outside.below + outside.above:,} far outside not drawn")
    if column.number is not None and column.number.infinite:
        parts.append(f"{column.number.infinite:,} infinite")
    if column.time is not None and column.time.gap_count:
        longest = column.time.gaps[0]
        gaps = f"{column.time.gap_count:,} gaps, the longest of {longest.missing:,} {column.time.unit}s"
        parts.append(
            gaps if column.time.gap_count > 1 else f"a gap of {longest.missing:,} {column.time.unit}s"
        )
    if column.text is not None and column.text.reads_as:
        parts.append(f"every text reads as a {column.text.reads_as}")
    return ", ".join(parts)


def _label(value: object) -> str:
    text = str(value) if value != "" else "(empty)"
    return text if len(text) <= LABEL else text[: LABEL - 1] + "…"
