"""Runs side by side: what differs comes first."""

from collections.abc import Callable, Sequence

from everloop.domain.runs import Comparison, Difference, RunRecord

_ATTRIBUTES = ("name", "status", "user", "source", "version", "experiment")


def compare(runs: Sequence[RunRecord]) -> Comparison:
    """Parameters, metrics, tags and attributes of runs as rows of values, one a run."""
    return Comparison(
        runs=list(runs),
        attributes=_rows(_ATTRIBUTES, lambda key: [str(getattr(run, key)) for run in runs]),
        params=_rows(_keys([run.params for run in runs]), lambda key: [run.params.get(key) for run in runs]),
        metrics=_rows(
            _keys([run.metrics for run in runs]), lambda key: [_number(run.metrics.get(key)) for run in runs]
        ),
        tags=_rows(_keys([run.tags for run in runs]), lambda key: [run.tags.get(key) for run in runs]),
    )


def _keys(found: Sequence[dict[str, str]] | Sequence[dict[str, float]]) -> list[str]:
    return sorted({key for each in found for key in each})


def _rows(keys: Sequence[str], values: Callable[[str], list[str | None]]) -> list[Difference]:
    rows = [Difference(key, row := values(key), len(set(row)) > 1) for key in keys]
    return sorted(rows, key=lambda row: not row.differs)


def _number(value: float | None) -> str | None:
    return None if value is None else repr(value)
