"""One run: what it was given, what it measured, what it left, on what it ran, what it came from and went into."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import BaseRoute

from everloop.domain.pipelines import PipelineRunRecord, StepRecord
from everloop.domain.runs import Captured, RunDetail
from everloop.errors import EverloopError, NotFound
from everloop.server.pages import lineage, run_plots
from everloop.server.pages.addresses import Address
from everloop.server.pages.rendering import Pages
from everloop.tracking.capture import Code, Environment
from everloop.workspace.workspace import Workspace

MOST_ARTIFACTS = 200
MOST_CHILDREN = 50


def routes(pages: Pages) -> list[BaseRoute]:
    return [
        pages.page("/runs/{run}", "runs/run.html", show, active="runs"),
        pages.action("/runs/{run}/delete", delete),
        pages.action("/runs/{run}/restore", restore),
    ]


def show(request: Request, workspace: Workspace) -> dict[str, Any]:
    here = Address.of(request)
    detail: RunDetail = workspace.tracking.describe(request.path_params["run"])
    run = detail.run
    by_time = here.get("x") == "time"
    children = [workspace.tracking.run(each) for each in detail.children[:MOST_CHILDREN]]
    return {
        "crumbs": [("Runs", "/runs"), (run.name, None)],
        "here": here,
        "subject": run.reference,
        "run": run,
        "metrics": detail.metrics,
        "artifacts": detail.artifacts[:MOST_ARTIFACTS],
        "artifact_count": len(detail.artifacts),
        "checkpoints": detail.checkpoints,
        "captured": detail.captured,
        "pipeline": pipeline_of(workspace, run.run_id),
        "children": children,
        "child_count": len(detail.children),
        "parent": workspace.tracking.run(run.parent) if run.parent else None,
        "tags": {key: value for key, value in run.tags.items() if not key.startswith("mlflow.")},
        "environment": environment(workspace, detail.captured),
        "code": code(workspace, detail.captured),
        "by_time": by_time,
        "charts": run_plots.run_curves(workspace, run, detail.metrics, by_time=by_time),
        "graph": lineage.graph(workspace, run.reference),
        "command": f"everloop runs show {run.run_id}",
    }


def pipeline_of(workspace: Workspace, run_id: str) -> tuple[PipelineRunRecord, list[StepRecord]] | None:
    """The pipeline that this run is a run of, with its steps."""
    try:
        return workspace.pipelines.pipeline_run(run_id), workspace.pipelines.steps(run_id)
    except NotFound:
        return None


def delete(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> str:
    run_id = workspace.tracking.delete_runs([request.path_params["run"]])[0]
    return f"/runs/{run_id}"


def restore(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> str:
    run_id = workspace.tracking.restore_runs([request.path_params["run"]])[0]
    return f"/runs/{run_id}"


def environment(workspace: Workspace, captured: Captured) -> Environment | None:
    """What the run ran on, where it was captured and is still kept."""
    return _stored(workspace, captured.environment, Environment)


def code(workspace: Workspace, captured: Captured) -> Code | None:
    """The work tree as it was."""
    return _stored(workspace, captured.code, Code)


def _stored(workspace: Workspace, digest: str, kind: Any) -> Any:
    if not digest:
        return None
    try:
        return msgspec.json.decode(workspace.objects.read(digest), type=kind)
    except (
        EverloopError,
        msgspec.MsgspecError,
    ):  # a run reads well without it; `audit verify` names the fault
        return None
