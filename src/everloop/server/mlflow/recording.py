"""runs/log-metric, log-parameter, set-tag, delete-tag, log-batch: what a script sends in its loop."""

import sys
from array import array
from collections import defaultdict
from collections.abc import Sequence

from everloop.domain.direct import RunFacts
from everloop.domain.logged_models import MeasuredPoint
from everloop.domain.runs import MAX_PARAM, MAX_TAG
from everloop.domain.times import from_micros
from everloop.errors import NotFound
from everloop.server.mlflow.codec import Asked, Int64
from everloop.server.mlflow.endpoints import Endpoints
from everloop.server.mlflow.faults import invalid
from everloop.server.mlflow.messages import PARENT, RUN_NAME, Tag, facts_in, required, run_id_in, unique
from everloop.tracking import records
from everloop.workspace.workspace import Workspace

endpoints = Endpoints("2.0/mlflow")

MOST_METRICS, MOST_PARAMS, MOST_TAGS, MOST_ENTRIES = 1_000, 100, 100, 1_000


class Point(Asked, frozen=True):
    """A point of a metric, as part of a batch."""

    key: str
    value: float
    timestamp: Int64
    step: Int64 = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class LogMetric(Point, frozen=True):
    run_id: str = ""
    run_uuid: str = ""


class LogParameter(Asked, frozen=True):
    key: str
    value: str = ""
    run_id: str = ""
    run_uuid: str = ""


class SetTag(Asked, frozen=True):
    key: str
    value: str = ""
    run_id: str = ""
    run_uuid: str = ""


class DeleteTag(Asked, frozen=True):
    run_id: str
    key: str


class LogBatch(Asked, frozen=True):
    run_id: str
    metrics: list[Point] = []
    params: list[Tag] = []
    tags: list[Tag] = []


@endpoints.post("runs/log-metric")
def log_metric(workspace: Workspace, asked: LogMetric) -> None:
    run_id = run_id_in(asked.run_id, asked.run_uuid)
    _record(workspace, run_id, [asked])


@endpoints.post("runs/log-parameter")
def log_parameter(workspace: Workspace, asked: LogParameter) -> None:
    _record(workspace, run_id_in(asked.run_id, asked.run_uuid), [], {asked.key: asked.value})


@endpoints.post("runs/set-tag")
def set_tag(workspace: Workspace, asked: SetTag) -> None:
    run_id = run_id_in(asked.run_id, asked.run_uuid)
    _record(workspace, run_id, [], {}, {asked.key: asked.value})


@endpoints.post("runs/delete-tag")
def delete_tag(workspace: Workspace, asked: DeleteTag) -> None:
    if required(asked.key, "key") == RUN_NAME:
        raise invalid("a run always has a name: the tag mlflow.runName cannot be deleted")
    workspace.tracking.record(run_id_in(asked.run_id, ""), remove_tags=[asked.key])


@endpoints.post("runs/log-batch")
def log_batch(workspace: Workspace, asked: LogBatch) -> None:
    run_id = run_id_in(asked.run_id, "")
    counts = (
        ("metrics", len(asked.metrics), MOST_METRICS),
        ("params", len(asked.params), MOST_PARAMS),
        ("tags", len(asked.tags), MOST_TAGS),
    )
    for what, count, most in counts:
        if count > most:
            raise invalid(f"A batch logging request can contain at most {most} {what}. Got {count} {what}.")
    total = sum(count for _, count, _ in counts)
    if total > MOST_ENTRIES:
        raise invalid(
            "A batch logging request can contain at most "
            f"{MOST_ENTRIES} metrics, params, and tags in total. Got {total}."
        )
    tags = {each.key: each.value for each in asked.tags}  # said twice, a tag is what was said last
    _record(workspace, run_id, asked.metrics, unique(asked.params, "param"), tags)


def _record(
    workspace: Workspace,
    run_id: str,
    points: Sequence[Point],
    params: dict[str, str] | None = None,
    tags: dict[str, str] | None = None,
) -> None:
    """What is the run's in one transaction. Points that were measured on a logged model are kept for the model too; the run
    has them once, however often a client says them (log_model says all points of its run again)."""
    facts = RunFacts()
    if tags:
        facts, tags = _facts(workspace, tags)
    written = [records.encode(each) for each in _columns(points)]
    if params:
        written.append(records.encode((records.PARAMS, _cut(params, MAX_PARAM))))
    if tags:
        written.append(records.encode((records.TAGS, _cut(tags, MAX_TAG))))
    measured = [_measured(run_id, each) for each in points if each.model_id]
    if measured:  # first: where there is no such model, the run keeps nothing either
        workspace.tracking.measure_models(measured)
    workspace.tracking.record(run_id, records.batch(written), facts, once=bool(measured))


def _cut(texts: dict[str, str], limit: int) -> dict[str, str]:
    """Texts without what is too much of them, as MLflow's server keeps them: a long one does not stop a training."""
    return {key: text[:limit] for key, text in texts.items()}


def _facts(workspace: Workspace, tags: dict[str, str]) -> tuple[RunFacts, dict[str, str]]:
    """What tags mean; a parent that is not here is a tag like any other."""
    facts, kept = facts_in(tags)
    if facts.parent:
        try:
            workspace.tracking.exact_runs([facts.parent])
        except NotFound:
            facts, kept = facts_in({key: value for key, value in tags.items() if key != PARENT})
            return facts, kept | {PARENT: tags[PARENT]}
    return facts, kept


def _columns(points: Sequence[Point]) -> list[tuple[object, ...]]:
    """Points as records, one for each metric."""
    if len(points) == 1:
        (point,) = points
        return [(records.POINT, point.key, point.value, point.step, _micros(point))]
    found: dict[str, list[Point]] = defaultdict(list)
    for point in points:
        found[point.key].append(point)
    return [_column(key, each) for key, each in found.items()]


def _column(key: str, points: list[Point]) -> tuple[object, ...]:
    if len(points) == 1:
        return (records.POINT, key, points[0].value, points[0].step, _micros(points[0]))
    steps = array("q", [point.step for point in points])
    times = array("q", [_micros(point) for point in points])
    values = array("d", [point.value for point in points])
    return (records.COLUMN, key, *(_little(column) for column in (steps, times, values)))


def _little(column: "array[int] | array[float]") -> bytes:
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def _micros(point: Point) -> int:
    if not 0 <= point.timestamp < 2**53:
        raise invalid(f"Invalid value {point.timestamp} for parameter 'timestamp' of metric {point.key!r}")
    return point.timestamp * 1000


def _measured(run_id: str, point: Point) -> MeasuredPoint:
    time = from_micros(_micros(point))
    return MeasuredPoint.of(
        point.key,
        point.value,
        point.step,
        time,
        point.model_id,
        run_id,
        point.dataset_name,
        point.dataset_digest,
    )
