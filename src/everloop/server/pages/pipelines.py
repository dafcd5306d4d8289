"""Pipelines: what ran when, step by step, and why each step was executed or not."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import BaseRoute

from everloop.domain.pipelines import PipelineRunRecord, StepRecord
from everloop.errors import NotFound, nearest
from everloop.server.pages.addresses import Address
from everloop.server.pages.rendering import Pages
from everloop.workspace.workspace import Workspace

COLUMNS = 24
"""Runs in the grid."""
LOOKED_AT = 1000


class Row(msgspec.Struct, frozen=True):
    """A step over the runs of the grid: its record in each of them, None where a run did not have it."""

    name: str
    cells: list[StepRecord | None]


def routes(pages: Pages) -> list[BaseRoute]:
    return [
        pages.page("/pipelines", "pipelines/list.html", pipelines, active="pipelines"),
        pages.page("/pipelines/{name:path}", "pipelines/pipeline.html", pipeline, active="pipelines"),
    ]


def pipelines(request: Request, workspace: Workspace) -> dict[str, Any]:
    runs: list[PipelineRunRecord] = workspace.pipelines.runs(limit=LOOKED_AT)
    newest: dict[str, PipelineRunRecord] = {}
    counts: dict[str, int] = {}
    for run in runs:
        newest.setdefault(run.pipeline, run)
        counts[run.pipeline] = counts.get(run.pipeline, 0) + 1
    return {
        "crumbs": [("Pipelines", None)],
        "pipelines": newest,
        "counts": counts,
        "capped": len(runs) == LOOKED_AT,
        "recent": {name: [run for run in runs if run.pipeline == name][:12] for name in newest},
        "command": "everloop runs list",
    }


def pipeline(request: Request, workspace: Workspace) -> dict[str, Any]:
    here, name = Address.of(request), request.path_params["name"]
    runs: list[PipelineRunRecord] = workspace.pipelines.runs(name, limit=COLUMNS)
    if not runs:
        known = {each.pipeline for each in workspace.pipelines.runs(limit=LOOKED_AT)}
        raise NotFound(f"no pipeline '{name}' has run here", hint=nearest(name, known))
    steps = {run.run: workspace.pipelines.steps(run.run) for run in runs}
    wanted = here.get("run")
    chosen = next((run for run in runs if wanted and run.run.startswith(wanted)), runs[0])
    return {
        "crumbs": [("Pipelines", "/pipelines"), (name, None)],
        "here": here,
        "subject": f"pipeline:{name}",
        "name": name,
        "runs": list(reversed(runs)),
        "rows": grid(list(reversed(runs)), steps),
        "chosen": chosen,
        "steps": steps[chosen.run],
        "chosen_run": workspace.tracking.run(chosen.run),
        "command": f"everloop run {chosen.source or name}",
    }


def grid(runs: list[PipelineRunRecord], steps: dict[str, list[StepRecord]]) -> list[Row]:
    """Steps by name, in the order of the newest run that had them, over runs from old to new."""
    names: dict[str, None] = {}
    for run in reversed(runs):
        names |= {each.name: None for each in steps[run.run]}
    found = {run.run: {each.name: each for each in steps[run.run]} for run in runs}
    return [Row(name, [found[run.run].get(name) for run in runs]) for name in names]
