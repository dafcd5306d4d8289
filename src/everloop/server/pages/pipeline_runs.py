"""What a run's page shows of a run of a pipeline: the graph, when each step was at work, why it ran, and what is printed now."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import BaseRoute

from everloop.domain.pipeline_history import StepMoment
from everloop.domain.pipelines import PipelineRunRecord
from everloop.domain.runs import RUNNING, RunRecord
from everloop.errors import NotFound
from everloop.server.pages import pipelines, step_graph
from everloop.server.pages.rendering import Pages, Told
from everloop.workspace.workspace import Workspace

MOST_AT_WORK = 6
"""Steps at work whose output is shown at once."""
TAIL = 4_000
TAIL_LINES = 12
"""Characters and lines of it."""


class AtWork(msgspec.Struct, frozen=True):
    """A step that is at work, and the end of what it has printed."""

    moment: StepMoment
    tail: str


class Steps(msgspec.Struct, frozen=True):
    """What is shown of a run of a pipeline. failed: the steps that failed, with their errors. stopping: why it was asked to
    stop, while it still runs."""

    record: PipelineRunRecord
    count: int
    moments: list[StepMoment]
    failed: list[StepMoment]
    counts: dict[str, int]
    graph: dict[str, Any] | None
    chart: step_graph.Chart | None
    rerun: str
    stopping: str = ""


def routes(pages: Pages) -> list[BaseRoute]:
    return [pages.page("/runs/{run}/at-work", "pipelines/at_work.html", at_work, active="runs")]


def steps_of(workspace: Workspace, run: RunRecord, now: datetime) -> Steps | None:
    """The steps of a run; None for a run that is not one of a pipeline."""
    try:
        record: PipelineRunRecord = workspace.pipelines.pipeline_run(run.run_id)
    except NotFound:
        return None
    moments = workspace.pipelines.timeline(run.run_id)
    counts: dict[str, int] = {}
    for each in moments:
        counts[each.status] = counts.get(each.status, 0) + 1
    return Steps(
        record=record,
        count=len(moments),
        moments=pipelines.table_of(pipelines.in_order(moments)),
        failed=[each for each in moments if each.status == "failed"][:5],
        counts=counts,
        graph=step_graph.step_graph(moments, run.run_id),
        chart=step_graph.time_line(moments, run.start_time, run.end_time or now, run.run_id),
        rerun=pipelines.run_command(record.source, record.params),
        stopping=workspace.pipelines.asked_to_stop(run.run_id) if run.status == RUNNING else "",
    )


def at_work(request: Request, workspace: Workspace) -> dict[str, Any]:
    """A part of the run's page, asked for every few seconds while the run goes on."""
    run: RunRecord = workspace.tracking.run(request.path_params["run"])
    going = [each for each in workspace.pipelines.timeline(run.run_id) if each.status == RUNNING]
    return {
        "run": run,
        "going": [
            AtWork(each, tail_of(workspace, each.run) if each.run else "") for each in going[:MOST_AT_WORK]
        ],
        "more": max(0, len(going) - MOST_AT_WORK),
    }


def cancel(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> Told:
    """Ask a run to stop."""
    workspace.pipelines.cancel(request.path_params["run"])
    return Told("It was asked to stop: within seconds its steps are killed, and it ends as interrupted.")


def tail_of(workspace: Workspace, run_id: str) -> str:
    """The end of what a run has printed until now."""
    text, after = "", -1
    while some := workspace.tracking.output(run_id, after):
        text = (text + "".join(each.text for each in some))[-TAIL:]
        after = some[-1].record
    return "\n".join(text.splitlines()[-TAIL_LINES:])
