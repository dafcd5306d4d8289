"""One run: what it was given, what it measured, what it left and printed, on what it ran, what people say about it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.routing import BaseRoute

from everloop.domain.runs import NOTE, OF_THE_MACHINE, ArtifactRecord, OutputPiece, RunDetail
from everloop.governance.identity import Permission, current_actor, permits
from everloop.server.pages import artifacts, captured, lineage, markdown, pipeline_runs, run_plots, step_graph
from everloop.server.pages.addresses import Address
from everloop.server.pages.rendering import Pages
from everloop.tracking.differences import code_of, environment_of
from everloop.workspace.workspace import Workspace

T = TypeVar("T")

MOST_ARTIFACTS = 200
MOST_CHILDREN = 50
MOST_ROWS = 500
"""Parameters and metrics in the page: a run may have ten thousand keys, which the CSV of the table has."""
MOST_PIECES, MOST_CHARACTERS = 2_000, 200_000
"""How much of the end of what a run printed is shown."""
MOST_MATRICES = 4
STEP_TAG, SWEEP_TAG = "everloop.step", "everloop.sweep"
"""Tags of the runs of steps and of sweeps."""

_STEPPED = re.compile(
    r"(?P<key>.+?)(?:/0*(?P<step>\d+)|%step%(?P<mlstep>-?\d+)%.*)\.(?:png|jpe?g|gif|webp)\Z"
)


class Picture(msgspec.Struct, frozen=True):
    """A picture of one step."""

    path: str
    step: int


def routes(pages: Pages) -> list[BaseRoute]:
    return [
        pages.page("/runs/{run}", "runs/run.html", show, active="runs"),
        pages.deed("/runs/{run}", "cancel", pipeline_runs.cancel, "runs/run.html", show, active="runs"),
        pages.action("/runs/{run}/delete", delete),
        pages.action("/runs/{run}/restore", restore),
        pages.action("/runs/{run}/rename", rename),
        pages.action("/runs/{run}/note", write_note),
        pages.action("/runs/{run}/tag", set_tag),
        pages.action("/runs/{run}/comment", comment),
        pages.action("/runs/{run}/comment/{comment}", change_comment),
    ]


def show(request: Request, workspace: Workspace) -> dict[str, Any]:
    here = Address.of(request)
    detail: RunDetail = workspace.tracking.describe(request.path_params["run"])
    run = detail.run
    axis = here.choice("x", run_plots.AXES)
    own = [each for each in detail.metrics if not each.key.startswith(OF_THE_MACHINE)]
    machine = [each for each in detail.metrics if each.key.startswith(OF_THE_MACHINE)]
    metrics = _found(own, lambda each: each.key, here.get("metric"))
    params = _found(sorted(run.params.items()), lambda each: each[0], here.get("param"))
    children = [workspace.tracking.run(each) for each in detail.children[:MOST_CHILDREN]]
    code = code_of(detail.captured, workspace.objects)
    note = run.tags.get(NOTE, "")
    return {
        "crumbs": [("Runs", "/runs"), (run.name, None)],
        "here": here,
        "subject": run.reference,
        "run": run,
        "params": params[:MOST_ROWS],
        "params_found": len(params),
        "metrics": metrics[:MOST_ROWS],
        "metrics_found": len(metrics),
        "metric_count": len(own),
        "artifacts": detail.artifacts[:MOST_ARTIFACTS],
        "artifact_count": len(detail.artifacts),
        "pictures": stepped_pictures(detail.artifacts),
        "raw": lambda path: f"/runs/{run.run_id}/raw/{quote(path)}",
        "matrices": matrices(workspace, detail.artifacts),
        "checkpoints": detail.checkpoints,
        "datasets": detail.datasets[:MOST_ROWS],
        "dataset_count": len(detail.datasets),
        "captured": detail.captured,
        "pipeline": pipeline_runs.steps_of(workspace, run, workspace.clock()),
        "step_of": workspace.pipelines.step_of(run.run_id) if STEP_TAG in run.tags else None,
        "is_sweep": SWEEP_TAG in run.tags,
        "firing": next(iter(workspace.loop.firings(run=run.run_id, limit=1)), None),
        "tones": step_graph.STATES,
        "children": children,
        "child_count": len(detail.children),
        "parent": workspace.tracking.run(run.parent) if run.parent else None,
        "tags": {key: value for key, value in run.tags.items() if not key.startswith("mlflow.")},
        "note": note,
        "note_html": markdown.render(note),
        "comments": workspace.tracking.comments(run.run_id),
        "markdown": markdown.render,
        "environment": environment_of(detail.captured, workspace.objects),
        "code": code,
        "changes": captured.since_commit(workspace, code) if code is not None else [],
        "axis": axis,
        "axes": run_plots.AXIS_NAMES,
        "smooth": here.get("smooth") or "0",
        "charts": run_plots.run_curves(workspace, run, metrics, axis=axis),
        "machine": run_plots.run_curves(workspace, run, machine, axis=axis),
        "output": output_of(workspace, run.run_id),
        "graph": lineage.graph(workspace, run.reference),
        "may_purge": permits(current_actor().role, Permission.ADMIN),
        "command": f"everloop runs show {run.run_id}",
    }


def _found(rows: Sequence[T], key: Callable[[T], str], part: str) -> Sequence[T]:
    """Those whose key contains a part, whatever its case."""
    wanted = part.strip().lower()
    return [each for each in rows if wanted in key(each).lower()] if wanted else rows


def stepped_pictures(found: Sequence[ArtifactRecord]) -> dict[str, list[Picture]]:
    """Pictures that show how something develops, by what they show, in the order of their steps.

    >>> paths = ["images/samples/00000010.png", "images/samples/00000002.png", "roc.png"]
    >>> stepped_pictures([ArtifactRecord(path, "", 0) for path in paths])
    {'samples': [Picture(path='images/samples/00000002.png', step=2), Picture(path='images/samples/00000010.png', step=10)]}
    """
    pictures: dict[str, list[Picture]] = defaultdict(list)
    for each in found:
        match = _STEPPED.match(each.path)
        if match is not None:
            key = match["key"].removeprefix("images/")
            pictures[key].append(Picture(each.path, int(match["step"] or match["mlstep"])))
    return {key: sorted(some, key=lambda each: each.step) for key, some in sorted(pictures.items())}


def matrices(workspace: Workspace, found: Sequence[ArtifactRecord]) -> list[tuple[str, dict[str, Any]]]:
    """Confusion matrices that were kept as tables, as pictures."""
    drawn: list[tuple[str, dict[str, Any]]] = []
    for each in found:
        if "confusion" in each.path.lower() and len(drawn) < MOST_MATRICES:
            rows = artifacts.table_of(workspace, each)
            spec = run_plots.confusion(each.path, rows["header"], rows["rows"]) if rows else None
            if spec is not None:
                drawn.append((each.path, spec))
    return drawn


def output_of(workspace: Workspace, run_id: str) -> list[OutputPiece]:
    """The end of what a run printed."""
    pieces: list[OutputPiece] = []
    after = -1
    while True:
        some = workspace.tracking.output(run_id, after)
        pieces = (pieces + some)[-MOST_PIECES:]
        if not some:
            break
        after = some[-1].record
    left, kept = MOST_CHARACTERS, []
    for piece in reversed(pieces):
        if left <= 0:
            break
        kept.append(msgspec.structs.replace(piece, text=piece.text[-left:]))
        left -= len(piece.text)
    return kept[::-1]


def delete(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> str:
    run_id = workspace.tracking.delete_runs([request.path_params["run"]])[0]
    return f"/runs/{run_id}"


def restore(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> str:
    run_id = workspace.tracking.restore_runs([request.path_params["run"]])[0]
    return f"/runs/{run_id}"


def rename(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> str:
    run_id = workspace.tracking.resolve(request.path_params["run"])
    workspace.tracking.log(run_id, name=_field(form, "name").strip())
    return f"/runs/{run_id}"


def write_note(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> str:
    run_id = workspace.tracking.resolve(request.path_params["run"])
    text = _field(form, "note").replace("\r\n", "\n").strip()
    if text:
        workspace.tracking.log(run_id, tags={NOTE: text})
    elif NOTE in workspace.tracking.run(run_id).tags:
        workspace.tracking.log(run_id, remove_tags=[NOTE])
    return f"/runs/{run_id}#note"


def set_tag(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> str:
    run_id = workspace.tracking.resolve(request.path_params["run"])
    key = _field(form, "key").strip()
    if "remove" in form:
        workspace.tracking.log(run_id, remove_tags=[key])
    else:
        workspace.tracking.log(run_id, tags={key: _field(form, "value")})
    return f"/runs/{run_id}#tags"


def comment(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> str:
    run_id = workspace.tracking.resolve(request.path_params["run"])
    said = workspace.tracking.comment(run_id, _field(form, "text").replace("\r\n", "\n"))
    return f"/runs/{run_id}#comment-{said.id}"


def change_comment(request: Request, workspace: Workspace, form: dict[str, list[str]]) -> str:
    run_id = workspace.tracking.resolve(request.path_params["run"])
    number = request.path_params["comment"]
    if "remove" in form:
        workspace.tracking.delete_comment(number)
        return f"/runs/{run_id}#comments"
    workspace.tracking.edit_comment(number, _field(form, "text").replace("\r\n", "\n"))
    return f"/runs/{run_id}#comment-{number}"


def _field(form: dict[str, list[str]], name: str) -> str:
    return form.get(name, [""])[0]
