"""traces/…: what programs did step by step, recorded, read, searched, tagged and linked."""

import re

from everloop.domain.runs import ArtifactRecord
from everloop.domain.traces import Assessment, Trace
from everloop.server.mlflow.artifacts import BELOW, Below
from everloop.server.mlflow.codec import Answer, Asked, Int64
from everloop.server.mlflow.endpoints import Endpoints
from everloop.server.mlflow.faults import invalid
from everloop.server.mlflow.messages import experiment_number_in, required, run_id_in
from everloop.server.mlflow.spans import Span, spans_of
from everloop.server.mlflow.trace_messages import (
    Filtered,
    Location,
    TraceInfo,
    duration_in,
    files_tag,
    found_by,
    state_in,
    time_in,
    trace_info,
)
from everloop.store.objects.contract import Stored
from everloop.tracking.trace_steps import FILE
from everloop.workspace.workspace import Workspace

endpoints = Endpoints("3.0/mlflow")
older_endpoints = Endpoints("2.0/mlflow")
"""What newer clients still ask for under the older address."""

SPANS_HERE = {"mlflow.trace.spansLocation": "TRACKING_STORE"}
"""The tag that tells a client to ask for traces with their steps, ten in a call, rather than to fetch a file for each."""
MOST_LINKED = 100
"""Traces that are linked at once."""


class TraceMessage(Answer, Asked, frozen=True):
    trace_info: TraceInfo
    spans: list[Span] = []


class StartTrace(Asked, frozen=True):
    trace: TraceMessage


class OfTrace(Asked, frozen=True):
    trace_id: str


class GetWhole(OfTrace, frozen=True):
    allow_partial: bool = False


class BatchGet(Asked, frozen=True):
    trace_ids: list[str] = []
    experiment_ids: list[str] = []


class Search(Filtered, frozen=True):
    locations: list[Location] = []


class LinkToRun(Asked, frozen=True):
    trace_ids: list[str] = []
    run_id: str = ""


class PromptVersion(Asked, frozen=True):
    name: str
    version: str


class LinkPrompts(Asked, frozen=True):
    trace_id: str
    prompt_versions: list[PromptVersion] = []


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


class TraceAnswer(Answer, frozen=True):
    trace: TraceMessage


class WholeAnswer(Answer, frozen=True):
    traces: list[TraceMessage] = []


class InfosAnswer(Answer, frozen=True):
    trace_infos: list[TraceInfo] = []


class TracesAnswer(Answer, frozen=True):
    traces: list[TraceInfo] = []
    next_page_token: str = ""


class Deleted(Answer, frozen=True, omit_defaults=False):
    traces_deleted: int


class TraceFiles:
    """The files of a trace: its steps."""

    def __init__(self, workspace: Workspace, trace_id: str) -> None:
        self._workspace, self._tracking, self._trace_id = workspace, workspace.tracking, trace_id

    def keep(self, path: str, stored: Stored) -> None:
        self._tracking.add_trace_files(self._trace_id, [ArtifactRecord(path, stored.digest, stored.size)])
        if path == FILE and spans_of(self._workspace, self._trace_id):
            self._tracking.tag_trace(self._trace_id, SPANS_HERE)

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
        time=time_in(info.request_time) if info.request_time else now,
        state=state_in(info.state),
        duration=duration_in(info.execution_duration),
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


@endpoints.get("traces/get")
def get_whole(workspace: Workspace, asked: GetWhole) -> TraceAnswer:
    """A trace with its steps."""
    return TraceAnswer(
        trace=_whole(workspace, workspace.tracking.trace(required(asked.trace_id, "trace_id")))
    )


@endpoints.get("traces/batchGet")
def batch_get(workspace: Workspace, asked: BatchGet) -> WholeAnswer:
    """Traces with their steps; those that are not there are left out."""
    return WholeAnswer(traces=[_whole(workspace, each) for each in _asked_for(workspace, asked)])


@endpoints.post("traces/batchGetInfos")
def batch_get_infos(workspace: Workspace, asked: BatchGet) -> InfosAnswer:
    return InfosAnswer(trace_infos=[trace_info(each) for each in _asked_for(workspace, asked)])


@endpoints.post("traces/search")
def search(workspace: Workspace, asked: Search) -> TracesAnswer:
    if not asked.locations:
        raise invalid("Missing value for required parameter 'locations'.")
    page = found_by(workspace, asked, [each.mlflow_experiment.experiment_id for each in asked.locations])
    return TracesAnswer(
        traces=[trace_info(each) for each in page.traces], next_page_token=page.next_page or ""
    )


@older_endpoints.post("traces/link-to-run")
def link_to_run(workspace: Workspace, asked: LinkToRun) -> None:
    if len(asked.trace_ids) > MOST_LINKED:
        raise invalid(
            f"Cannot link more than {MOST_LINKED} traces to a run in a single request. Provided {len(asked.trace_ids)} traces."
        )
    if asked.trace_ids:
        workspace.tracking.link_traces(asked.trace_ids, run=run_id_in(asked.run_id, ""))


@older_endpoints.post("traces/link-prompts")
def link_prompts(workspace: Workspace, asked: LinkPrompts) -> None:
    found = workspace.tracking.trace(asked.trace_id)
    prompts = [f"{each.name}/{each.version}" for each in asked.prompt_versions]
    workspace.tracking.link_traces([found.id], prompts=prompts)


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


def _asked_for(workspace: Workspace, asked: BatchGet) -> list[Trace]:
    """In the order asked for, from the experiments named or any."""
    known: dict[str, Trace] = {each.id: each for each in workspace.tracking.traces(asked.trace_ids)}
    here = {experiment_number_in(each) for each in asked.experiment_ids}
    found = [known[each] for each in dict.fromkeys(asked.trace_ids) if each in known]
    return [each for each in found if not here or each.experiment_id in here]


def _whole(workspace: Workspace, trace: Trace) -> TraceMessage:
    return TraceMessage(trace_info=trace_info(trace), spans=spans_of(workspace, trace.id))
