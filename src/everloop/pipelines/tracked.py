"""Runs of tracking for pipelines: one for the whole, one for each step that uses Everloop, and the code they ran."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from everloop.domain.runs import MAX_PARAM, Captured, flat_params
from everloop.errors import Conflict, NotFound
from everloop.governance.rooms import Context
from everloop.pipelines.kept_code import forget_kept, keep_code
from everloop.tracking.capture import capture, forget_stored
from everloop.tracking.places import this_process
from everloop.tracking.run import Run
from everloop.tracking.tracking import Tracking


class StepRun(msgspec.Struct, frozen=True):
    """The tracking run of a step, made by the process that computes it. `previous`: a run of the same step that was stopped."""

    run_id: str
    parent: str
    experiment: str
    name: str
    params: dict[str, str]
    captured: Captured
    previous: str | None = None


def begin_whole(
    context: Context,
    *,
    experiment: str,
    name: str,
    params: Mapping[str, Any],
    source: str,
    root: Path,
    resumed_from: str | None,
    parent: str | None = None,
    tags: Mapping[str, str] = {},
) -> tuple[Run, Captured]:
    """Start the tracking run of a pipeline's run, with the whole project's code and not only its entry."""
    tracking = context.room(Tracking)
    tracking.settle()
    arguments: dict[str, Any] = {
        "run_id": context.ids(),
        "experiment": experiment,
        "name": name,
        "start_time": context.clock(),
        "params": texts(params),
        "parent": parent,
        "tags": dict(tags) or {"everloop.pipeline": name},
        "owner": this_process(),
        "resumed_from": resumed_from,
    }
    captured = _captured(context, root, source or name)
    try:
        record = tracking.create_run(**arguments, captured=captured)
    except Conflict:
        # What this process stored for an earlier run may have gone with that run.
        forget_stored(tracking.objects)
        forget_kept(tracking.objects)
        captured = _captured(context, root, source or name)
        record = tracking.create_run(**arguments, captured=captured)
    return Run(tracking, record).begin(), captured


def _captured(context: Context, root: Path, source: str) -> Captured:
    objects = context.objects
    captured = capture(objects, project=root, seeds={}, leave_out=[context.folder])
    code = keep_code(objects, root, context.folder)
    commit, branch, dirty = _revision(root)
    return msgspec.structs.replace(
        captured,
        source=source,
        commit=commit,
        branch=branch,
        dirty=dirty,
        code=code[0].digest,
        holds=[*captured.holds[:1], *dict.fromkeys(code)],
    )


@contextmanager
def tracked(context: Context, step: StepRun | None) -> Iterator[None]:
    """Within the block, the active run is that of the step; one that was stopped before goes on from its checkpoint."""
    if step is None:
        yield
        return
    tracking = context.room(Tracking)
    checkpoint = None
    previous = step.previous
    if previous is not None:
        try:
            found = tracking.checkpoints(previous)
            checkpoint = found[-1].number if found else None
        except NotFound:
            previous = None
    record = tracking.create_run(
        run_id=step.run_id,
        experiment=step.experiment,
        name=step.name,
        start_time=context.clock(),
        parent=step.parent,
        params={} if previous else step.params,
        tags={"everloop.step": step.name},
        captured=msgspec.structs.replace(step.captured, holds=[]),
        owner=this_process(),
        resumed_from=previous,
        checkpoint=checkpoint,
    )
    with Run(tracking, record).begin():
        yield


def texts(params: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as tracking keeps them."""
    return {key: text[:MAX_PARAM] for key, text in flat_params(dict(params)).items()}


def _revision(root: Path) -> tuple[str, str, bool]:
    """Commit, branch and whether there are changes, of the project's repository: not of the one the command was started in."""
    command = ["git", "-C", str(root), "status", "--porcelain=v2", "--branch", "--", "."]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return "", "", False
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    facts = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# branch."))
    commit = facts.get("branch.oid", "")
    branch = facts.get("branch.head", "")
    changed = any(not line.startswith("#") for line in lines)
    return (
        ("", "", False)
        if commit in {"", "(initial)"}
        else (commit, "" if branch == "(detached)" else branch, changed)
    )
