"""Rates by group, with intervals; what a group is too small or too one-sided to tell is None.

A group without positives has no true-positive rate: calling it 0, as is common, invents a difference.
"""

from collections.abc import Iterable, Mapping

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from everloop.stats.arrays import binary, labels_of
from everloop.stats.intervals import Interval, wilson

MINIMUM_ROWS = 30
FOUR_FIFTHS = 0.8


class GroupCounts(msgspec.Struct, frozen=True):
    """Counts of one group; the last four only over rows with a label. Addition merges windows.

    >>> GroupCounts(rows=2, selected=1) + GroupCounts(rows=3, selected=0)
    GroupCounts(rows=5, selected=1, tp=0, fp=0, fn=0, tn=0)
    """

    rows: int
    selected: int
    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def __add__(self, other: "GroupCounts") -> "GroupCounts":
        return GroupCounts(
            self.rows + other.rows,
            self.selected + other.selected,
            self.tp + other.tp,
            self.fp + other.fp,
            self.fn + other.fn,
            self.tn + other.tn,
        )


class GroupRates(msgspec.Struct, frozen=True):
    """Rates of one group with 95 % Wilson intervals; None where fewer than the minimum of rows bear on a rate."""

    group: str
    counts: GroupCounts
    selection: Interval | None
    true_positive: Interval | None
    false_positive: Interval | None


class FairnessReport(msgspec.Struct, frozen=True):
    """Groups in order of name and their spread; a spread is None below two groups that can be told.

    - ``demographic_parity_difference``: largest minus smallest selection rate, 0 at best
    - ``demographic_parity_ratio``: smallest over largest, 1 at best
    - ``equal_opportunity_difference``: largest gap of true-positive rates
    - ``equalized_odds_difference``: the larger of the gaps of true- and false-positive rates
    - ``four_fifths``: whether the ratio is at least .8 (EEOC 1978)
    - ``too_small``: groups whose selection rate could not be told
    """

    groups: tuple[GroupRates, ...]
    demographic_parity_difference: float | None
    demographic_parity_ratio: float | None
    equal_opportunity_difference: float | None
    equalized_odds_difference: float | None
    four_fifths: bool | None
    too_small: tuple[str, ...]


def count_groups(
    groups: ArrayLike, predictions: ArrayLike, labels: ArrayLike | None = None
) -> dict[str, GroupCounts]:
    """Counts by group from decisions 0/1 (n,) and, where they have landed, labels 0/1 (n,; NaN: none yet).

    A missing group value is a group of its own, ``(missing)``: those rows are people too.

    >>> count_groups(["a", "a", "b"], [1, 0, 1], [1, 0, float("nan")])["a"]
    GroupCounts(rows=2, selected=1, tp=1, fp=0, fn=0, tn=1)
    """
    decisions = binary("predictions", predictions).astype(np.int64)
    raw = np.asarray(groups)
    if raw.dtype.kind in "Of":
        raw = np.array(["(missing)" if v is None or v != v else str(v) for v in raw.tolist()])
    names, codes = np.unique(labels_of("groups", raw, length=decisions.size), return_inverse=True)
    # Label class: 0 or 1, or 2 for a label that has not landed.
    known = np.full(decisions.size, 2, dtype=np.int64)
    if labels is not None:
        late = np.asarray(labels, dtype=np.float64)
        if late.shape != decisions.shape:
            raise ValueError(f"labels has shape {late.shape}, expected {decisions.shape}")
        landed = ~np.isnan(late)
        if landed.any():
            known[landed] = binary("labels", late[landed]).astype(np.int64)
    cells = np.bincount((codes * 3 + known) * 2 + decisions, minlength=names.size * 6).reshape(
        names.size, 3, 2
    )
    return {
        str(name): GroupCounts(
            rows=int(cell.sum()),
            selected=int(cell[:, 1].sum()),
            tp=int(cell[1, 1]),
            fp=int(cell[0, 1]),
            fn=int(cell[1, 0]),
            tn=int(cell[0, 0]),
        )
        for name, cell in zip(names.tolist(), cells, strict=True)
    }


def merge_counts(windows: Iterable[Mapping[str, GroupCounts]]) -> dict[str, GroupCounts]:
    """Counts of several windows as one.

    >>> merge_counts([{"a": GroupCounts(2, 1)}, {"a": GroupCounts(1, 1), "b": GroupCounts(4, 0)}])["a"].rows
    3
    """
    merged: dict[str, GroupCounts] = {}
    for window in windows:
        for group, counts in window.items():
            merged[group] = merged[group] + counts if group in merged else counts
    return merged


def report(counts: Mapping[str, GroupCounts], *, minimum_rows: int = MINIMUM_ROWS) -> FairnessReport:
    """Rates and their spread; a rate needs ``minimum_rows`` rows that bear on it (positives for the TPR).

    Definitions: Hardt, Price & Srebro 2016 (equalized odds, equal opportunity); Feldman et al. 2015 (ratio).

    >>> found = report({"a": GroupCounts(100, 60), "b": GroupCounts(100, 30), "c": GroupCounts(5, 5)})
    >>> found.demographic_parity_difference, found.demographic_parity_ratio, found.four_fifths, found.too_small
    (0.3, 0.5, False, ('c',))
    >>> found.equalized_odds_difference is None
    True
    """
    if minimum_rows < 1:
        raise ValueError(f"minimum_rows must be at least 1, not {minimum_rows}")
    groups = tuple(
        GroupRates(
            group=name,
            counts=c,
            selection=_rate(c.selected, c.rows, minimum_rows),
            true_positive=_rate(c.tp, c.tp + c.fn, minimum_rows),
            false_positive=_rate(c.fp, c.fp + c.tn, minimum_rows),
        )
        for name, c in sorted(counts.items())
    )
    selection = [g.selection.estimate for g in groups if g.selection is not None]
    true_gap = _spread([g.true_positive.estimate for g in groups if g.true_positive is not None])
    false_gap = _spread([g.false_positive.estimate for g in groups if g.false_positive is not None])
    ratio = min(selection) / max(selection) if len(selection) > 1 and max(selection) > 0 else None
    return FairnessReport(
        groups=groups,
        demographic_parity_difference=_spread(selection),
        demographic_parity_ratio=ratio,
        equal_opportunity_difference=true_gap,
        equalized_odds_difference=None if true_gap is None or false_gap is None else max(true_gap, false_gap),
        four_fifths=None if ratio is None else ratio >= FOUR_FIFTHS,
        too_small=tuple(g.group for g in groups if g.selection is None),
    )


def _rate(successes: int, n: int, minimum_rows: int) -> Interval | None:
    return wilson(successes, n) if n >= minimum_rows else None


def _spread(rates: list[float]) -> float | None:
    return max(rates) - min(rates) if len(rates) > 1 else None
