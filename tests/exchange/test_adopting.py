"""Runs taken in at once are stored as if they had been logged one by one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.domain.adoption import AdoptedRun, MetricColumns, derived_id
from everloop.errors import Conflict, InvalidInput, NotFound
from everloop.exchange.points import metric_columns
from everloop.tracking.adopting import _summaries
from everloop.tracking.blocks import Points, Summary, encode, encode_each
from everloop.workspace.workspace import Workspace

INTEGERS = st.one_of(st.integers(-5, 5), st.integers(-(2**63), 2**63 - 1), st.integers(2**40, 2**40 + 2**20))
POINTS = st.lists(st.tuples(INTEGERS, INTEGERS, st.floats()), min_size=1, max_size=8)


@given(st.lists(POINTS, min_size=1, max_size=6))
def test_blocks_of_many_metrics_are_those_of_each(metrics: list[list[tuple[int, int, float]]]) -> None:
    steps, times, values = zip(*(point for metric in metrics for point in metric), strict=True)
    counts = np.array([len(metric) for metric in metrics])
    each = [encode(Points.of(*zip(*metric, strict=True))) for metric in metrics]  # type: ignore[arg-type]
    assert encode_each(Points.of(steps, times, values), counts) == each


STEADY = st.lists(
    st.tuples(st.integers(-3, 3), st.integers(0, 10**6), st.floats(-1e6, 1e6) | st.just(float("nan"))),
    min_size=1,
    max_size=6,
)


@given(st.lists(STEADY, min_size=1, max_size=5))
def test_summaries_of_many_metrics_are_those_of_each(metrics: list[list[tuple[int, int, float]]]) -> None:
    def nan_as_zero(point: tuple[int, int, float]) -> tuple[int, int, float]:
        return (point[0], point[1], 0.0 if point[2] != point[2] else point[2])

    ordered = [sorted(metric, key=nan_as_zero) for metric in metrics]
    columns = Points.of(*zip(*(point for metric in ordered for point in metric), strict=True))  # type: ignore[arg-type]
    counts = np.array([len(metric) for metric in ordered])
    owners = [("run", str(number)) for number in range(len(ordered))]
    rows = _summaries(
        owners, counts, np.cumsum(counts) - counts, columns.steps, columns.times, columns.values
    )
    for row, metric in zip(rows, ordered, strict=True):
        expected = Summary.of(Points.of(*zip(*metric, strict=True))).row()  # type: ignore[arg-type]
        mean, expected_mean = row.pop("mean"), expected.pop("mean")
        assert mean == (None if expected_mean is None else pytest.approx(expected_mean, rel=1e-9, abs=1e-6))
        assert {name: value for name, value in row.items() if name not in {"run", "key"}} == expected


def adopted(**changes: Any) -> AdoptedRun:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    facts: dict[str, Any] = {
        "run_id": derived_id("test"),
        "experiment": "0",
        "name": "one",
        "user": "ann",
        "status": "finished",
        "start_time": began,
        "end_time": began,
        "metrics": metric_columns({"loss": [(1, 5, 0.5), (0, 9, 1.0), (1, 4, 9.0)]}),
    }
    return AdoptedRun(**facts | changes)


class TestAdopting:
    def test_logging_may_go_on_afterwards(self, any_workspace: Workspace) -> None:
        tracking = any_workspace.tracking
        tracking.adopt_runs(found=[adopted()], origin="test")
        assert tracking.run(run_id=derived_id("test")).metrics == {"loss": 0.5}
        from everloop.tracking import records

        data = records.batch([records.encode((records.POINT, "loss", 0.25, 2, 6))])
        tracking.ship(run_id=derived_id("test"), first=1, records=data)
        assert tracking.history(run_id=derived_id("test"), key="loss").count == 4
        assert tracking.run(run_id=derived_id("test")).metrics == {"loss": 0.25}

    def test_what_is_here_is_left_alone(self, any_workspace: Workspace) -> None:
        tracking = any_workspace.tracking
        tracking.adopt_runs(found=[adopted()], origin="test")
        answer = tracking.adopt_runs(found=[adopted(name="other", status="failed")], origin="test")
        assert (answer.new, answer.replaced, answer.present) == (0, 0, 1)
        assert tracking.run(run_id=derived_id("test")).name == "one"

    @pytest.mark.parametrize(
        "changes",
        [
            {"run_id": "x"},
            {"parent": "x"},
            {"status": "well"},
            {"experiment": "none"},
            {"params": {"a=b": "1"}},
            {"tags": {"a": "x" * 9_000}},
            {"name": "a\0b"},
            {"metrics": MetricColumns(["a"], [2], bytes(24))},
            {"metrics": MetricColumns(["a"], [-1], b"")},
            {"metrics": MetricColumns(["a", "a"], [1, 1], bytes(48))},
            {"metrics": MetricColumns(["a"], [1], stored="0" * 64)},
            {"metrics": metric_columns({"a": [(0, 2**62, 0.0)]})},
        ],
    )
    def test_what_cannot_be_kept_is_refused_and_nothing_of_the_batch_stays(
        self, any_workspace: Workspace, changes: dict[str, Any]
    ) -> None:
        good = adopted(run_id=derived_id("good"))
        with pytest.raises((InvalidInput, NotFound, Conflict)):
            any_workspace.tracking.adopt_runs(found=[good, adopted(**changes)], origin="test")
        assert any_workspace.tracking.search(state="all").runs == []
