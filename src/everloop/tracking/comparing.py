"""Runs side by side: what differs comes first, and what repeated runs say about the difference."""

import math
from collections.abc import Callable, Sequence

from everloop.domain.repeats import Delta, Repeats, configuration
from everloop.domain.runs import Comparison, Difference, RunRecord
from everloop.tracking.grouping import LEVEL, mean_of

_ATTRIBUTES = ("name", "status", "user", "source", "version", "experiment")


def compare(runs: Sequence[RunRecord]) -> Comparison:
    """Parameters, metrics, tags and attributes of runs as rows of values, one a run; runs that repeat each other as groups, and
    how the metrics of each group differ from those of the first."""
    params = _rows(_keys([run.params for run in runs]), lambda key: [run.params.get(key) for run in runs])
    groups = _repeats(runs, [row.key for row in params if row.differs])
    return Comparison(
        runs=list(runs),
        attributes=_rows(_ATTRIBUTES, lambda key: [str(getattr(run, key)) for run in runs]),
        params=params,
        metrics=_rows(
            _keys([run.metrics for run in runs]), lambda key: [_number(run.metrics.get(key)) for run in runs]
        ),
        tags=_rows(_keys([run.tags for run in runs]), lambda key: [run.tags.get(key) for run in runs]),
        groups=groups,
        deltas=[delta for number in range(1, len(groups)) for delta in _deltas(runs, groups, number)],
    )


def _repeats(runs: Sequence[RunRecord], differing: Sequence[str]) -> list[Repeats]:
    """The runs by configuration, in the order of their first; with one configuration, each run for itself."""
    members: dict[object, list[int]] = {}
    for number, run in enumerate(runs):
        members.setdefault(configuration(run.params), []).append(number)
    if len(members) == 1:
        members = {number: [number] for number in range(len(runs))}
    found = []
    for places in members.values():
        of_group = [runs[place] for place in places]
        metrics = {
            key: mean
            for key in _keys([run.metrics for run in of_group])
            if (mean := mean_of(_values(of_group, key))) is not None
        }
        shared = {
            key: of_group[0].params.get(key)
            for key in differing
            if len({run.params.get(key) for run in of_group}) == 1
        }
        found.append(Repeats(places, shared, metrics))
    return found


def _deltas(runs: Sequence[RunRecord], groups: Sequence[Repeats], number: int) -> list[Delta]:
    from everloop.stats.repeats import difference_of_repeats

    first, other = groups[0], groups[number]
    found = []
    for key in sorted(first.metrics.keys() & other.metrics.keys()):
        delta = other.metrics[key].mean - first.metrics[key].mean
        values = [_values([runs[place] for place in each.runs], key) for each in (first, other)]
        interval = difference_of_repeats(*values, level=LEVEL)
        if interval is None:
            found.append(Delta(key, number, delta))
        else:
            found.append(Delta(key, number, delta, interval.low, interval.high, interval.contains(0)))
    return found


def _values(runs: Sequence[RunRecord], key: str) -> list[float]:
    """A metric of each of these runs that has a number for it."""
    return [run.metrics[key] for run in runs if math.isfinite(run.metrics.get(key, math.nan))]


def _keys(found: Sequence[dict[str, str]] | Sequence[dict[str, float]]) -> list[str]:
    return sorted({key for each in found for key in each})


def _rows(keys: Sequence[str], values: Callable[[str], list[str | None]]) -> list[Difference]:
    rows = [Difference(key, row := values(key), len(set(row)) > 1) for key in keys]
    return sorted(rows, key=lambda row: not row.differs)


def _number(value: float | None) -> str | None:
    return None if value is None else repr(value)
