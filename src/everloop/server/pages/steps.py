"""A step: in one run of a pipeline (why it ran, what it printed, how it failed, what its key is made of), and over all runs (when
its key changed and by what, how long it takes, who uses it)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from everloop.domain.pipeline_history import StepMoment, StepUse, whole_name
from everloop.domain.pipelines import Component, StepRecord, changes
from everloop.errors import NotFound
from everloop.server.pages import plots, step_graph
from everloop.server.pages.addresses import Address
from everloop.server.pages.rendering import Pages
from everloop.server.ranges import pieces
from everloop.workspace.workspace import Workspace

LOOKED_AT = 500
"""Records of a step."""
MOST_KEYS = 20
"""Keys that are taken apart."""
LOG_SHOWN = 200_000
"""Bytes of the end of a log."""
MOST_NAMES = 12


class KeyChange(msgspec.Struct, frozen=True):
    """A key that was new: the record in which it came, what changed from the key before (None for the first one that is known),
    in how many runs it has been used since, and its components."""

    moment: StepMoment
    changed: list[str] | None
    runs: int
    components: list[Component]


def routes(pages: Pages) -> list[BaseRoute]:
    return [
        pages.page("/runs/{run}/steps/{position:int}", "pipelines/run_step.html", of_run, active="runs"),
        pages.file("/runs/{run}/steps/{position:int}/log", log),
        pages.page("/steps/{step:path}", "pipelines/step.html", show, active="pipelines"),
    ]


def of_run(request: Request, workspace: Workspace) -> dict[str, Any]:
    """A step of one run."""
    run, step = _find(request, workspace)
    whole = workspace.tracking.run(run)
    moment = next(
        (each for each in workspace.pipelines.timeline(run) if each.position == step.position), None
    )
    text, size = tail_of(workspace, step.log) if step.log else ("", 0)
    components = components_of(workspace, step.key) if step.key else []
    before = key_before(workspace.pipelines.step_history(step.step, step.name, LOOKED_AT), run, step.key)
    return {
        "crumbs": [("Runs", "/runs"), (whole.name, f"/runs/{run}"), (step.name, None)],
        "subject": whole.reference,
        "run": whole,
        "step": step,
        "moment": moment,
        "notes": [],
        "log": text,
        "log_size": size,
        "log_cut": size > LOG_SHOWN,
        "components": sorted(components),
        "before": before,
        "changed": changes(components_of(workspace, before.key), components) if before and components else [],
        "link": step_link(step.step),
        "command": f"everloop runs show {run}",
    }


def show(request: Request, workspace: Workspace) -> dict[str, Any]:
    """A step over all runs."""
    here, step = Address.of(request), request.path_params["step"]
    use: StepUse = workspace.pipelines.step_use(step)
    name = here.get("name")
    if name not in use.names:
        name = next(iter(use.names))
    history = workspace.pipelines.step_history(step, name, LOOKED_AT)
    everything = workspace.pipelines.step_history(step, "", LOOKED_AT)
    newest = everything[0]
    executed = sorted(each.seconds for each in everything if each.status == "executed")
    return {
        "crumbs": [("Pipelines", "/pipelines"), (step, None)],
        "here": here,
        "step": step,
        "use": use,
        "name": name,
        "names": list(use.names)[:MOST_NAMES],
        "more_names": max(0, len(use.names) - MOST_NAMES),
        "newest": newest,
        "median": executed[len(executed) // 2] if executed else None,
        "executed": len(executed),
        "records": len(everything),
        "capped": len(everything) == LOOKED_AT,
        "keys": key_changes(workspace, history),
        "durations": durations(everything),
        "before": list(newest.inputs)[:MOST_NAMES],
        "after": used_by(workspace, newest),
        "tones": step_graph.STATES,
        "command": f"everloop runs show {newest.of}",
    }


def log(request: Request, workspace: Workspace) -> Response:
    """All that a step printed."""
    _, step = _find(request, workspace)
    if not step.log:
        raise NotFound(
            f"step {step.name} printed nothing that is kept", hint="its run's page shows what was printed"
        )
    stream = workspace.objects.open(step.log)
    size = stream.seek(0, 2)
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(step.name, safe='')}.log",
        "Content-Length": str(size),
    }
    return StreamingResponse(pieces(stream, 0, size), media_type="text/plain; charset=utf-8", headers=headers)


def step_link(step: str) -> str:
    """The address of a step's page.

    >>> step_link("flows/train.py::fit")
    '/steps/flows/train.py::fit'
    """
    return f"/steps/{quote(step, safe='/:')}"


def tail_of(workspace: Workspace, digest: str) -> tuple[str, int]:
    """The end of a log, from the beginning of a line on, and the size of all of it in bytes."""
    with workspace.objects.open(digest) as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - LOG_SHOWN))
        data = stream.read(LOG_SHOWN)
    text = data.decode("utf-8", "replace")
    return (text.partition("\n")[2] or text if size > LOG_SHOWN else text), size


def components_of(workspace: Workspace, key: str) -> list[Component]:
    """What a key was made from; nothing for one that is not kept (a step that failed before it was recorded)."""
    try:
        found: list[Component] = workspace.pipelines.components(key)
    except NotFound:
        return []
    return found


def key_before(history: Sequence[StepMoment], run: str, key: str) -> StepMoment | None:
    """The newest record with another key, before that of a run. `history`: newest first."""
    earlier = iter(history)
    for each in earlier:
        if each.of == run:
            break
    return next((each for each in earlier if each.key and each.key != key), None)


def key_changes(workspace: Workspace, history: Sequence[StepMoment]) -> list[KeyChange]:
    """Where the key of a step changed, newest first. `history`: newest first."""
    keyed = [each for each in history if each.key][::-1]
    changed: list[tuple[StepMoment, int]] = []
    for each in keyed:
        if changed and changed[-1][0].key == each.key:
            changed[-1] = (changed[-1][0], changed[-1][1] + 1)
        else:
            changed.append((each, 1))
    shown = changed[-MOST_KEYS:]
    known = {each.key: components_of(workspace, each.key) for each, _ in shown}
    found: list[KeyChange] = []
    for at, (each, runs) in enumerate(shown):
        words = changes(known[shown[at - 1][0].key], known[each.key]) if at else None
        found.append(KeyChange(each, words, runs, sorted(known[each.key])))
    return found[::-1]


def used_by(workspace: Workspace, moment: StepMoment) -> list[StepMoment]:
    """The steps that took the result of this one, in the run of `moment`."""
    own = {moment.name, whole_name(moment.name)}
    found: dict[str, StepMoment] = {}
    for each in workspace.pipelines.timeline(moment.of):
        if own & set(each.inputs):
            found.setdefault(each.step, each)
    return list(found.values())[:MOST_NAMES]


def durations(history: Sequence[StepMoment]) -> plots.Spec | None:
    """How long the step took, each time that it was executed; None when that was once or never."""
    series = []
    for status in ("executed", "failed"):
        some = [each for each in reversed(history) if each.status == status]
        series.append(
            plots.cloud(
                status,
                [[each.ended.isoformat(), each.seconds] for each in some if each.ended],
                [f"{each.name} of run {each.of[:12]}" for each in some if each.ended],
                [f"/runs/{each.of}/steps/{each.position}" for each in some if each.ended],
            )
        )
    if sum(len(each["points"]) for each in series) < 2:
        return None
    took = {"name": "Took", "unit": "s", "zero": True}
    return plots.scatter("durations", series, x={"name": "Ended", "type": "time"}, y=took)


def _find(request: Request, workspace: Workspace) -> tuple[str, StepRecord]:
    run = workspace.pipelines.pipeline_run(request.path_params["run"]).run
    position = request.path_params["position"]
    everything: list[StepRecord] = workspace.pipelines.steps(run)
    for each in everything:
        if each.position == position:
            return run, each
    named = ", ".join(f"{each.name} ({each.position})" for each in everything[:MOST_NAMES])
    raise NotFound(
        f"run {run[:12]} has no step {position}", hint=f"it has {named}" if named else "it has none yet"
    )
