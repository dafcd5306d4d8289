"""The runs that go along with results: who computed them, when, from which commit and in which environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from everloop.domain.adoption import AdoptedRun, MetricColumns

if TYPE_CHECKING:
    from everloop.domain.runs import RunDetail
    from everloop.tracking.tracking import Tracking

ORIGIN = "everloop.origin"
"""On a run that came along with results: the workspace that it was made in."""


def run_given(tracking: Tracking, run: str, origin: str, parent: str | None) -> AdoptedRun:
    """A run with all that it logged, as another workspace takes it in; its experiment by name. `parent`: where that goes, too."""
    detail = tracking.describe(run)
    record = detail.run
    return AdoptedRun(
        run_id=record.run_id,
        experiment=record.experiment,
        name=record.name,
        user=record.user,
        status=record.status,
        start_time=record.start_time,
        end_time=record.end_time,
        parent=parent,
        captured=detail.captured,
        params=record.params,
        tags={ORIGIN: origin} | record.tags,
        metrics=_metrics(tracking, detail),
        artifacts=detail.artifacts,
        datasets=detail.datasets,
    )


def in_experiment(run: AdoptedRun, number: str) -> AdoptedRun:
    """The same run in an experiment of another workspace."""
    return msgspec.structs.replace(run, experiment=number)


def _metrics(tracking: Tracking, detail: RunDetail) -> MetricColumns:
    found = [tracking.history(detail.run.run_id, each.key) for each in detail.metrics]
    points = b"".join(
        part for column in ("steps", "times", "values") for part in (getattr(each, column) for each in found)
    )
    return MetricColumns([each.key for each in found], [each.count for each in found], points)
