"""2.0 traces: what clients from 2.14 to 2.22 say, who begin a trace, send its steps as a file, and end it."""

import msgspec

from everloop.domain.times import micros
from everloop.domain.traces import Trace
from everloop.server.mlflow.codec import Answer, Asked, Int64, milliseconds, moment
from everloop.server.mlflow.endpoints import Endpoints
from everloop.server.mlflow.faults import invalid
from everloop.server.mlflow.messages import Tag, experiment_number_in, pairs
from everloop.server.mlflow.trace_messages import STATES, Filtered, files_tag, found_by, state_in
from everloop.workspace.workspace import Workspace

endpoints = Endpoints("2.0/mlflow")

INPUTS, OUTPUTS = "mlflow.traceInputs", "mlflow.traceOutputs"
"""Metadata in which these clients say how request and response begin."""
UNSPECIFIED = "TRACE_STATUS_UNSPECIFIED"


class StartTrace(Asked, frozen=True):
    experiment_id: str
    timestamp_ms: Int64
    request_metadata: list[Tag] = []
    tags: list[Tag] = []


class EndTrace(Asked, frozen=True):
    request_id: str
    timestamp_ms: Int64
    status: str | int = UNSPECIFIED
    request_metadata: list[Tag] = []
    tags: list[Tag] = []


class OfTrace(Asked, frozen=True):
    request_id: str


class Search(Filtered, frozen=True):
    experiment_ids: list[str] = []


class TraceInfo(Answer, frozen=True):
    request_id: str
    experiment_id: str
    timestamp_ms: int
    status: str
    execution_time_ms: int | None = None
    request_metadata: list[Tag] = []
    tags: list[Tag] = []


class TraceAnswer(Answer, frozen=True):
    trace_info: TraceInfo


class TracesAnswer(Answer, frozen=True):
    traces: list[TraceInfo] = []
    next_page_token: str = ""


@endpoints.post("traces")
def start(workspace: Workspace, asked: StartTrace) -> TraceAnswer:
    """A trace begins; the client asks for its identifier."""
    number = experiment_number_in(asked.experiment_id)
    identifier = f"tr-{workspace.ids()}"
    begun = Trace(
        id=identifier,
        experiment_id=number,
        time=moment(asked.timestamp_ms, "timestamp_ms"),
        state="IN_PROGRESS",
        facts=_texts(asked.request_metadata),
        tags=files_tag(number, identifier) | _texts(asked.tags),
    )
    return TraceAnswer(trace_info=trace_info(workspace.tracking.record_trace(_described(begun))))


@endpoints.patch("traces/{request_id}")
def end(workspace: Workspace, asked: EndTrace) -> TraceAnswer:
    """It has ended: its state, how long it took, and what is known by now besides what was said when it began."""
    begun = workspace.tracking.trace(asked.request_id)
    took = micros(moment(asked.timestamp_ms, "timestamp_ms")) - micros(begun.time)
    if took < 0:
        raise invalid(f"Invalid value {asked.timestamp_ms} for parameter 'timestamp_ms': it began later.")
    ended = msgspec.structs.replace(
        begun,
        state=_state(asked.status),
        duration=took,
        facts=begun.facts | _texts(asked.request_metadata),
        tags=_texts(asked.tags),
        assessments=[],  # what is there stays
    )
    return TraceAnswer(trace_info=trace_info(workspace.tracking.record_trace(_described(ended))))


@endpoints.get("traces/{request_id}/info")
def get(workspace: Workspace, asked: OfTrace) -> TraceAnswer:
    return TraceAnswer(trace_info=trace_info(workspace.tracking.trace(asked.request_id)))


@endpoints.get("traces")
def search(workspace: Workspace, asked: Search) -> TracesAnswer:
    page = found_by(workspace, asked, asked.experiment_ids)
    return TracesAnswer(
        traces=[trace_info(each) for each in page.traces], next_page_token=page.next_page or ""
    )


def trace_info(trace: Trace) -> TraceInfo:
    """A trace as MLflow 2 writes it."""
    return TraceInfo(
        request_id=trace.id,
        experiment_id=str(trace.experiment_id),
        timestamp_ms=milliseconds(trace.time),
        status=UNSPECIFIED if trace.state == STATES[0] else trace.state,
        execution_time_ms=None if trace.duration is None else trace.duration // 1000,
        request_metadata=pairs(trace.facts),
        tags=pairs(trace.tags),
    )


def _described(trace: Trace) -> Trace:
    return msgspec.structs.replace(
        trace, request=trace.facts.get(INPUTS, ""), response=trace.facts.get(OUTPUTS, "")
    )


def _state(status: str | int) -> str:
    return STATES[0] if status == UNSPECIFIED else state_in(status)


def _texts(found: list[Tag]) -> dict[str, str]:
    return {each.key: each.value for each in found}
