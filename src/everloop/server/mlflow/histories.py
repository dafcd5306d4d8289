"""metrics/get-history and its relatives for charts: the points of a metric, in pages or thinned."""

import base64
import binascii
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from everloop.server.mlflow.codec import Answer, Asked, Int64, Number, number
from everloop.server.mlflow.endpoints import Endpoints
from everloop.server.mlflow.faults import invalid
from everloop.server.mlflow.messages import Metric, required, run_id_in
from everloop.workspace.workspace import Workspace

endpoints = Endpoints("2.0/mlflow")

PAGE = 25_000
"""Points of a page; clients that ask for no pages get all."""
MOST_RUNS = 100
MOST_THINNED = 2_500


class GetHistory(Asked, frozen=True):
    metric_key: str
    run_id: str = ""
    run_uuid: str = ""
    page_token: str = ""
    max_results: Int64 | None = None


class History(Answer, frozen=True):
    metrics: list[Metric] = []
    next_page_token: str = ""


class GetThinned(Asked, frozen=True):
    metric_key: str
    run_ids: list[str]
    start_step: Int64 | None = None
    end_step: Int64 | None = None
    max_results: Int64 = MOST_THINNED


class GetBulk(Asked, frozen=True):
    metric_key: str
    run_id: list[str]
    max_results: Int64 = PAGE


class MetricOfRun(Answer, frozen=True, omit_defaults=False):
    key: str
    value: Number
    timestamp: int
    step: int
    run_id: str


class HistoryOfRuns(Answer, frozen=True):
    metrics: list[MetricOfRun] = []


class Points(NamedTuple):
    """Columns: steps, milliseconds since 1970, values."""

    steps: NDArray[np.int64]
    times: NDArray[np.int64]
    values: NDArray[np.float64]

    def taken(self, wanted: NDArray[np.int64] | slice) -> "Points":
        return Points(self.steps[wanted], self.times[wanted], self.values[wanted])


@endpoints.get("metrics/get-history")
def get_history(workspace: Workspace, asked: GetHistory) -> History:
    """The points in order of time, step and value. A point that was sent twice is one point."""
    key = required(asked.metric_key, "metric_key")
    points = _points(workspace, run_id_in(asked.run_id, asked.run_uuid), key)
    start = _offset(asked.page_token)
    if asked.max_results is not None and asked.max_results < 1:
        raise invalid(f"Invalid value {asked.max_results} for parameter 'max_results': it must be positive.")
    size = len(points.steps) if asked.max_results is None else min(asked.max_results, PAGE)
    page = points.taken(slice(start, start + size))
    metrics = [
        Metric(key=asked.metric_key, value=number(value), timestamp=time, step=step)
        for step, time, value in zip(*(column.tolist() for column in page), strict=True)
    ]
    more = start + size < len(points.steps)
    return History(metrics=metrics, next_page_token=_token(start + size) if more else "")


@endpoints.get("metrics/get-history-bulk-interval")
def get_thinned(workspace: Workspace, asked: GetThinned) -> HistoryOfRuns:
    """At most `max_results` points of each run, evenly over the steps; the first and the last stay."""
    if not 1 <= asked.max_results <= MOST_THINNED:
        raise invalid(
            f"Invalid value {asked.max_results} for parameter 'max_results': it is 1 to {MOST_THINNED}."
        )
    if (asked.start_step is None) != (asked.end_step is None):
        raise invalid("If either start_step or end_step is specified, both must be specified.")
    found: list[MetricOfRun] = []
    for run_id in _checked(asked.run_ids):
        points = _by_step(_points(workspace, run_id, asked.metric_key))
        if asked.start_step is not None and asked.end_step is not None:
            if asked.start_step > asked.end_step:
                raise invalid("end_step must be greater than start_step.")
            inside = (points.steps >= asked.start_step) & (points.steps <= asked.end_step)
            points = points.taken(np.flatnonzero(inside))
        found += _of_run(
            run_id, asked.metric_key, points.taken(_spread(len(points.steps), asked.max_results))
        )
    return HistoryOfRuns(metrics=found)


@endpoints.get("metrics/get-history-bulk")
def get_bulk(workspace: Workspace, asked: GetBulk) -> HistoryOfRuns:
    """The points of several runs, one run after the other, `max_results` in all."""
    found: list[MetricOfRun] = []
    for run_id in _checked(asked.run_id):
        points = _points(workspace, run_id, asked.metric_key)
        found += _of_run(
            run_id, asked.metric_key, points.taken(slice(0, max(0, asked.max_results - len(found))))
        )
    return HistoryOfRuns(metrics=found)


def _points(workspace: Workspace, run_id: str, key: str) -> Points:
    found = workspace.tracking.history(run_id, key)
    steps = np.frombuffer(found.steps, "<i8")
    times = np.frombuffer(found.times, "<i8") // 1000
    values = np.frombuffer(found.values, "<f8")
    order = np.lexsort(
        (np.where(np.isnan(values), 0.0, values), steps, times)
    )  # NaN counts as 0 (as it does in MLflow)
    points = Points(steps, times, values).taken(order)
    bits = points.values.view("<i8")
    new = np.ones(len(bits), bool)
    new[1:] = (np.diff(points.steps) != 0) | (np.diff(points.times) != 0) | (bits[1:] != bits[:-1])
    return points.taken(np.flatnonzero(new))


def _by_step(points: Points) -> Points:
    return points.taken(np.lexsort((points.times, points.steps)))


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """The places of at most `most` of `count` points, evenly, with the first and the last.

    >>> _spread(3, 5).tolist(), _spread(10, 4).tolist()
    ([0, 1, 2], [0, 3, 6, 9])
    """
    if count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, most).round().astype(np.int64))


def _of_run(run_id: str, key: str, points: Points) -> list[MetricOfRun]:
    return [
        MetricOfRun(key=key, value=number(value), timestamp=time, step=step, run_id=run_id)
        for step, time, value in zip(*(column.tolist() for column in points), strict=True)
    ]


def _checked(run_ids: Sequence[str]) -> list[str]:
    if not run_ids:
        raise invalid("Missing value for required parameter 'run_ids'.")
    if len(run_ids) > MOST_RUNS:
        raise invalid(f"{len(run_ids)} runs are asked for at once: at most {MOST_RUNS}.")
    return [run_id_in(each, "") for each in run_ids]


def _token(offset: int) -> str:
    return base64.urlsafe_b64encode(str(offset).encode()).decode()


def _offset(token: str) -> int:
    """Where a page begins; the first one has no token."""
    if not token:
        return 0
    try:
        text = base64.urlsafe_b64decode(token.encode()).decode()
        if text.isascii() and text.isdigit() and len(text) < 16:
            return int(text)
    except (binascii.Error, ValueError):
        pass
    raise invalid("Invalid page token: it is not one that a page before gave.")
