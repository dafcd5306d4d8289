"""Pipelines: which there are, what ran when, step by step, how long it took, and why each step was executed or not."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import BaseRoute

from everloop.domain.pipeline_history import PastRun, StepMoment, StepTotal, whole_name
from everloop.errors import NotFound, nearest
from everloop.server.pages import plots, step_graph, triggers
from everloop.server.pages.addresses import Address
from everloop.server.pages.rendering import Pages
from everloop.workspace.workspace import Workspace

COLUMNS = 24
"""Runs in the grid."""
DRAWN = 200
"""Runs in the plot of durations."""
MOST_STEPS = 200
"""Rows in a table of steps; what failed or is at work comes first then."""


class Cell(msgspec.Struct, frozen=True):
    """A step in one run: its worst status, the count of each, and where it is told of."""

    status: str
    words: str
    href: str


class Row(msgspec.Struct, frozen=True):
    """A step over the runs of the grid, None where a run did not have it."""

    name: str
    step: str
    cells: list[Cell | None]


def routes(pages: Pages) -> list[BaseRoute]:
    one, shown = "/pipelines/{name:path}", "pipelines/pipeline.html"
    return [
        pages.page("/pipelines", "pipelines/list.html", pipelines, active="pipelines"),
        *(
            pages.deed(one, word, act, shown, pipeline, active="pipelines")
            for word, act in triggers.DEEDS.items()
        ),
        pages.page(one, shown, pipeline, active="pipelines"),
    ]


def pipelines(request: Request, workspace: Workspace) -> dict[str, Any]:
    return {
        "crumbs": [("Pipelines", None)],
        "pipelines": workspace.pipelines.overview(),
        "sweeps": len(workspace.pipelines.sweeps()),
        "schedules": triggers.schedules(workspace),
        "triggers": workspace.loop.triggers(),
        "command": "everloop runs list",
    }


def pipeline(request: Request, workspace: Workspace) -> dict[str, Any]:
    here, name = Address.of(request), request.path_params["name"]
    past: list[PastRun] = workspace.pipelines.past_runs(name, limit=DRAWN)
    if not past:
        known = [each.pipeline for each in workspace.pipelines.overview(recent=1)]
        raise NotFound(
            f"no pipeline '{name}' has run here",
            hint=nearest(name, known) or "run it: everloop run FILE.py:NAME",
        )
    shown = past[:COLUMNS]
    wanted = here.get("run")
    chosen = next((run for run in shown if wanted and run.run.startswith(wanted)), shown[0])
    moments = workspace.pipelines.timeline(chosen.run)
    record = workspace.pipelines.pipeline_run(chosen.run)
    own = triggers.triggers_of(workspace, name, past[0].source)
    return {
        "crumbs": [("Pipelines", "/pipelines"), (name, None)],
        "here": here,
        "subject": f"pipeline:{name}",
        "name": name,
        "runs": shown[::-1],
        "rows": grid(
            shown[::-1],
            workspace.pipelines.step_totals([each.run for each in shown]),
            [each.step for each in in_order(moments)],
        ),
        "chosen": chosen,
        "params": record.params,
        "resumed_from": record.resumed_from,
        "steps": table_of(in_order(moments)),
        "step_count": len(moments),
        "graph": step_graph.step_graph(moments, chosen.run),
        "durations": durations(past),
        "triggers": own,
        "firings": triggers.firings_of(workspace, own),
        "tones": step_graph.STATES,
        "step_address": step_graph.step_address,
        "command": run_command(chosen.source or name, record.params),
    }


def in_order(moments: Sequence[StepMoment]) -> list[StepMoment]:
    """Steps so that each comes after what went into it; the parts of a map are called last, and belong in between."""
    graph = step_graph.step_graph(moments, "")
    if graph is None:
        return list(moments)
    column = {node["id"]: node["column"] for node in graph["nodes"]}
    folded = step_graph.folded(moments)
    return sorted(moments, key=lambda each: (column[folded[each.name]], each.position))


def grid(runs: Sequence[PastRun], totals: Sequence[StepTotal], order: Sequence[str]) -> list[Row]:
    """Steps over runs from old to new, in this order; others, which only other runs had, after them."""
    by_step: dict[str, dict[str, list[StepTotal]]] = {each: {} for each in order}
    for run in reversed(runs):
        for each in sorted((each for each in totals if each.of == run.run), key=lambda each: each.position):
            by_step.setdefault(each.step, {}).setdefault(run.run, []).append(each)
    rows = []
    for step, of_run in ((step, of_run) for step, of_run in by_step.items() if of_run):
        newest = next(iter(of_run.values()))
        name = whole_name(newest[0].name).partition("#")[0]
        rows.append(Row(name, step, [_cell(of_run.get(run.run, [])) for run in runs]))
    return rows


def _cell(some: Sequence[StepTotal]) -> Cell | None:
    if not some:
        return None
    worst = step_graph.worst_of([each.status for each in some])
    told = next(each for each in some if each.status == worst)
    count = sum(each.count for each in some)
    words = f"{worst}: {told.reason}"
    if count > 1:
        words = ", ".join(f"{each.count:,} {each.status}" for each in some)
    return Cell(worst, words, f"/runs/{told.of}/steps/{told.position}")


def table_of(moments: Sequence[StepMoment]) -> list[StepMoment]:
    """The steps that a table has room for: all of them, or first those that failed, are at work or were executed."""
    if len(moments) <= MOST_STEPS:
        return list(moments)
    order = {"failed": 0, "killed": 0, "running": 1, "executed": 2}
    ranked = sorted(moments, key=lambda each: (order.get(each.status, 3), each.position))[:MOST_STEPS]
    return sorted(ranked, key=lambda each: (order.get(each.status, 3) > 1, each.position))


def durations(past: Sequence[PastRun]) -> plots.Spec | None:
    """How long runs took, over the time they began; None for a single one."""
    over = [each for each in reversed(past) if each.seconds is not None]
    if len(over) < 2:
        return None
    series = []
    for title, wanted in (("finished", True), ("failed or stopped", False)):
        some = [each for each in over if (each.status == "finished") is wanted]
        series.append(
            plots.cloud(
                title,
                [[each.started.isoformat(), each.seconds] for each in some],
                [f"{each.run[:12]}, {each.status}" for each in some],
                [f"/runs/{each.run}" for each in some],
            )
        )
    took = {"name": "Took", "unit": "s", "zero": True}
    return plots.scatter("durations", series, x={"name": "Began", "type": "time"}, y=took)


def run_command(source: str, params: Mapping[str, Any]) -> str:
    """The command that runs a pipeline with these parameters.

    >>> run_command("train.py:train", {"rows": 80, "name": "a b"})
    "everloop run train.py:train --param rows=80 --param 'name=a b'"
    """
    given = [f"--param {shlex.quote(f'{name}={_as_argument(value)}')}" for name, value in params.items()]
    return " ".join(["everloop run", shlex.quote(source), *given])


def _as_argument(value: Any) -> str:
    """JSON, or text as it is where it cannot be taken for JSON."""
    if isinstance(value, str):
        try:
            msgspec.json.decode(value)
        except msgspec.DecodeError:
            return value
    return msgspec.json.encode(value).decode()
