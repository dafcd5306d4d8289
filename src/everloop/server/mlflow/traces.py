"""traces/…: what programs did step by step, recorded, read, searched, tagged and judged."""

import re
from datetime import UTC, datetime
from typing import Any

from everloop.domain.runs import ArtifactRecord
from everloop.domain.traces import Assessment, Trace
from everloop.server.mlflow.artifacts import BELOW, Below
from everloop.server.mlflow.codec import Answer, Asked, Int64
from everloop.server.mlflow.endpoints import Endpoints
from everloop.server.mlflow.faults import invalid
from everloop.server.mlflow.messages import experiment_number_in
from everloop.store.objects.contract import Stored
from everloop.workspace.workspace import Workspace

endpoints = Endpoints("3.0/mlflow")
older_endpoints = Endpoints("2.0/mlflow")
"""What newer clients still ask for under the older address."""

ARTIFACTS = "mlflow.artifactLocation"
"""The tag in which a client looks for where the steps of a trace are."""
STATES = ("STATE_UNSPECIFIED", "OK", "ERROR", "IN_PROGRESS")

_DURATION = re.compile(r"(\d{1,12})(?:\.(\d{1,9}))?s\Z")


class InExperiment(Answer, Asked, frozen=True):
    experiment_id: str = ""


class Location(Answer, Asked, frozen=True, omit_defaults=False):
    type: str = "MLFLOW_EXPERIMENT"
    mlflow_experiment: InExperiment = InExperiment()


class TraceInfo(Answer, Asked, frozen=True):
    trace_id: str
    trace_location: Location
    request_time: str = ""
    execution_duration: str = ""
    state: str | int = "STATE_UNSPECIFIED"
    client_request_id: str = ""
    request: str = ""
    response: str = ""
    request_preview: str = ""
    response_preview: str = ""
    trace_metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    assessments: list[dict[str, Any]] = []


class TraceMessage(Answer, Asked, frozen=True):
    trace_info: TraceInfo


class StartTrace(Asked, frozen=True):
    trace: TraceMessage


class OfTrace(Asked, frozen=True):
    trace_id: str


class BatchGet(Asked, frozen=True):
    trace_ids: list[str] = []


class Search(Asked, frozen=True):
    locations: list[Location] = []
    filter: str = ""
    max_results: Int64 = 100
    order_by: list[str] = []
    page_token: str = ""


class SetTag(Asked, frozen=True):
    trace_id: str
    key: str
    value: str = ""


class DeleteTag(Asked, frozen=True):
    trace_id: str
    key: str


class Delete(Asked, frozen=True):
    experiment_id: str
    request_ids: list[str] = []
    max_timestamp_millis: Int64 | None = None
    max_traces: Int64 | None = None


class Assess(Asked, frozen=True):
    trace_id: str
    assessment: dict[str, Any]


class OfAssessment(Asked, frozen=True):
    trace_id: str
    assessment_id: str


class Reassess(Asked, frozen=True):
    trace_id: str
    assessment_id: str
    assessment: dict[str, Any] = {}
    update_mask: str | dict[str, Any] = ""


class TraceAnswer(Answer, frozen=True):
    trace: TraceMessage


class InfosAnswer(Answer, frozen=True):
    trace_infos: list[TraceInfo] = []


class TracesAnswer(Answer, frozen=True):
    traces: list[TraceInfo] = []
    next_page_token: str = ""


class Deleted(Answer, frozen=True, omit_defaults=False):
    traces_deleted: int


class AssessmentAnswer(Answer, frozen=True):
    assessment: dict[str, Any]


class TraceFiles:
    """The files of a trace: its steps."""

    def __init__(self, workspace: Workspace, trace_id: str) -> None:
        self._tracking, self._trace_id = workspace.tracking, trace_id

    def keep(self, path: str, stored: Stored) -> None:
        self._tracking.add_trace_files(self._trace_id, [ArtifactRecord(path, stored.digest, stored.size)])

    def files(self, path: str) -> list[ArtifactRecord]:
        found: list[ArtifactRecord] = self._tracking.trace_files(self._trace_id, path)
        return found

    def remove(self, path: str) -> None:
        raise invalid("the steps of a trace go with the trace")


BELOW.append(Below(re.compile(r"\d+/traces/(?P<id>[\w\-]+)/artifacts"), TraceFiles))


@endpoints.post("traces")
def start(workspace: Workspace, asked: StartTrace) -> TraceAnswer:
    """Keep a trace; newer clients say it when it has ended."""
    info = asked.trace.trace_info
    number = experiment_number_in(info.trace_location.mlflow_experiment.experiment_id)
    now = workspace.clock()
    made = Trace(
        id=info.trace_id,
        experiment_id=number,
        time=_time(info.request_time) if info.request_time else now,
        state=state_in(info.state),
        duration=_duration(info.execution_duration),
        request_id=info.client_request_id,
        request=info.request_preview or info.request,
        response=info.response_preview or info.response,
        facts=info.trace_metadata,
        tags=files_tag(number, info.trace_id) | info.tags,
        assessments=[
            Assessment(str(each.get("assessment_id") or f"a-{workspace.ids()}"), now, now, each)
            for each in info.assessments
        ],
    )
    return TraceAnswer(trace=TraceMessage(trace_info=trace_info(workspace.tracking.record_trace(made))))


@endpoints.get("traces/{trace_id}")
def get(workspace: Workspace, asked: OfTrace) -> TraceAnswer:
    found = trace_info(workspace.tracking.trace(asked.trace_id))
    return TraceAnswer(trace=TraceMessage(trace_info=found))


@endpoints.post("traces/batchGetInfos")
def batch_get(workspace: Workspace, asked: BatchGet) -> InfosAnswer:
    return InfosAnswer(trace_infos=[trace_info(each) for each in workspace.tracking.traces(asked.trace_ids)])


@endpoints.post("traces/search")
def search(workspace: Workspace, asked: Search) -> TracesAnswer:
    page = workspace.tracking.search_traces(
        [str(experiment_number_in(each.mlflow_experiment.experiment_id)) for each in asked.locations],
        asked.filter,
        asked.order_by,
        asked.max_results,
        asked.page_token,
    )
    return TracesAnswer(
        traces=[trace_info(each) for each in page.traces], next_page_token=page.next_page or ""
    )


@older_endpoints.patch("traces/{trace_id}/tags")
@endpoints.patch("traces/{trace_id}/tags")
def set_tag(workspace: Workspace, asked: SetTag) -> None:
    workspace.tracking.tag_trace(asked.trace_id, {asked.key: asked.value})


@older_endpoints.delete("traces/{trace_id}/tags")
@endpoints.delete("traces/{trace_id}/tags")
def delete_tag(workspace: Workspace, asked: DeleteTag) -> None:
    workspace.tracking.tag_trace(asked.trace_id, remove_tags=[asked.key])


@older_endpoints.post("traces/delete-traces")
@endpoints.post("traces/delete-traces")
def delete(workspace: Workspace, asked: Delete) -> Deleted:
    """Forget the traces named, or those from before a time, the oldest first."""
    number = str(experiment_number_in(asked.experiment_id))
    if bool(asked.request_ids) == (asked.max_timestamp_millis is not None):
        raise invalid("Name either request_ids or max_timestamp_millis.")
    ids = asked.request_ids
    if asked.max_timestamp_millis is not None:
        limit = asked.max_traces or 1_000
        where = f"timestamp <= {asked.max_timestamp_millis}"
        oldest = workspace.tracking.search_traces([number], where, ["timestamp ASC"], limit)
        ids = [each.id for each in oldest.traces]
    return Deleted(traces_deleted=workspace.tracking.delete_traces(number, ids))


@endpoints.post("traces/{trace_id}/assessments")
def assess(workspace: Workspace, asked: Assess) -> AssessmentAnswer:
    said = workspace.tracking.assess_trace(asked.trace_id, asked.assessment)
    return AssessmentAnswer(assessment=_said(asked.trace_id, said))


@endpoints.get("traces/{trace_id}/assessments/{assessment_id}")
def get_assessment(workspace: Workspace, asked: OfAssessment) -> AssessmentAnswer:
    said = workspace.tracking.assessment(asked.trace_id, asked.assessment_id)
    return AssessmentAnswer(assessment=_said(asked.trace_id, said))


@endpoints.patch("traces/{trace_id}/assessments/{assessment_id}")
def reassess(workspace: Workspace, asked: Reassess) -> AssessmentAnswer:
    changed = workspace.tracking.assess_trace(asked.trace_id, asked.assessment, asked.assessment_id)
    return AssessmentAnswer(assessment=_said(asked.trace_id, changed))


@endpoints.delete("traces/{trace_id}/assessments/{assessment_id}")
def delete_assessment(workspace: Workspace, asked: OfAssessment) -> None:
    workspace.tracking.remove_assessment(asked.trace_id, asked.assessment_id)


def files_tag(experiment: int, trace_id: str) -> dict[str, str]:
    """The tag that says where the steps of a trace are."""
    return {ARTIFACTS: f"mlflow-artifacts:/{experiment}/traces/{trace_id}/artifacts"}


def trace_info(trace: Trace) -> TraceInfo:
    """A trace as MLflow writes it."""
    return TraceInfo(
        trace_id=trace.id,
        trace_location=Location(mlflow_experiment=InExperiment(experiment_id=str(trace.experiment_id))),
        request_time=_iso(trace.time),
        execution_duration="" if trace.duration is None else f"{trace.duration / 1_000_000:.6f}s",
        state=trace.state,
        client_request_id=trace.request_id,
        request_preview=trace.request,
        response_preview=trace.response,
        trace_metadata=trace.facts,
        tags=trace.tags,
        assessments=[_said(trace.id, each) for each in trace.assessments],
    )


def _said(trace_id: str, found: Assessment) -> dict[str, Any]:
    return found.said | {
        "assessment_id": found.id,
        "trace_id": trace_id,
        "create_time": _iso(found.created),
        "last_update_time": _iso(found.updated),
    }


def _iso(moment: datetime) -> str:
    """
    >>> _iso(datetime(2026, 1, 31, 12, 0, 0, 2500, tzinfo=UTC))
    '2026-01-31T12:00:00.002500Z'
    """
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    except ValueError:
        raise invalid(f"Invalid time {text!r}: write 2026-01-31T12:00:00Z.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _duration(text: str) -> int | None:
    """Microseconds of a duration.

    >>> _duration("1.5s"), _duration("0.001s"), _duration("")
    (1500000, 1000, None)
    """
    if not text:
        return None
    found = _DURATION.match(text)
    if found is None:
        raise invalid(f"Invalid duration {text!r}: write 0.5s.")
    return int(found[1]) * 1_000_000 + int((found[2] or "").ljust(6, "0")[:6])


def state_in(given: str | int) -> str:
    """Our word for the state of a trace, given by its name or number."""
    text = STATES[given] if isinstance(given, int) and 0 <= given < len(STATES) else str(given)
    if text not in STATES:
        raise invalid(f"Invalid state {given!r}: it is one of {', '.join(STATES)}.")
    return text
