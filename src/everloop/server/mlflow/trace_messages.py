"""The messages of traces that both generations of clients share, and how ours and theirs become each other."""

import re
from datetime import UTC, datetime
from typing import Any

from everloop.domain.traces import Assessment, Trace, TracePage
from everloop.server.mlflow.codec import Answer, Asked, Int64
from everloop.server.mlflow.faults import invalid
from everloop.server.mlflow.messages import experiment_number_in
from everloop.workspace.workspace import Workspace

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


class Filtered(Asked, frozen=True):
    """What both generations say of a search."""

    filter: str = ""
    max_results: Int64 = 100
    order_by: list[str] = []
    page_token: str = ""


def found_by(workspace: Workspace, asked: Filtered, experiment_ids: list[str]) -> TracePage:
    """The page that a search asks for."""
    page: TracePage = workspace.tracking.search_traces(
        [str(experiment_number_in(each)) for each in experiment_ids],
        asked.filter,
        asked.order_by,
        asked.max_results,
        asked.page_token,
    )
    return page


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
        assessments=[said_message(trace.id, each) for each in trace.assessments],
    )


def said_message(trace_id: str, found: Assessment) -> dict[str, Any]:
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


def time_in(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    except ValueError:
        raise invalid(f"Invalid time {text!r}: write 2026-01-31T12:00:00Z.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def duration_in(text: str) -> int | None:
    """Microseconds of a duration.

    >>> duration_in("1.5s"), duration_in("0.001s"), duration_in("")
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
