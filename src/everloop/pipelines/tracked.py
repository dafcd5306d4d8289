"""Runs of tracking for pipelines: one for the whole, one for each step that uses Everloop, and the code they ran."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from everloop.domain.canonical import canonical
from everloop.domain.runs import MAX_PARAM, Captured, HeldObject, flat_params
from everloop.errors import Conflict, NotFound
from everloop.governance.rooms import Context
from everloop.pipelines.kinds.cells import stripped
from everloop.store.objects import Objects
from everloop.tracking.capture import Code, CodeFile, capture, forget_stored
from everloop.tracking.places import this_process
from everloop.tracking.run import Run
from everloop.tracking.tracking import Tracking

KEPT = frozenset(
    {
        ".py",
        ".toml",
        ".sql",
        ".json",
        ".yaml",
        ".yml",
        ".txt",
        ".cfg",
        ".ini",
        ".j2",
        ".html",
        ".sh",
        ".ipynb",
    }
)
"""Endings of the project's files that are kept with a run: its code and settings. Data belongs into datasets."""
LARGEST = 512 * 1024
_NOT_PROJECT = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})


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
        _kept.clear()
        captured = _captured(context, root, source or name)
        record = tracking.create_run(**arguments, captured=captured)
    return Run(tracking, record).begin(), captured


def _captured(context: Context, root: Path, source: str) -> Captured:
    objects = context.objects
    captured = capture(objects, project=root, seeds={}, leave_out=[context.folder])
    code = keep_code(objects, root)
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


_kept: dict[tuple[int, str, int, int, int], HeldObject] = {}


def keep_code(objects: Objects, root: Path) -> list[HeldObject]:
    """Store the project's code and settings; the first object is the record that `everloop.tracking.capture.restore` reads."""
    files, skipped, new = [], [], []
    for path in _files(root):
        status = path.stat()
        if status.st_size > LARGEST and path.suffix != ".ipynb":
            skipped.append(path.relative_to(root).as_posix())
            continue
        key = (id(objects), str(path), status.st_size, status.st_mtime_ns, status.st_ino)
        mode = "100755" if status.st_mode & 0o100 else "100644"
        files.append((path, key, mode))
        if key not in _kept:
            new.append((path, key))
    if new:
        with objects.writer() as writer:
            stored = [(key, writer.add(_content(path))) for path, key in new]
        _kept.update({key: HeldObject(each.digest, each.size) for key, each in stored})
    entries = [
        CodeFile(path.relative_to(root).as_posix(), _kept[key].digest, _kept[key].size, mode)
        for path, key, mode in files
    ]
    record = objects.put(canonical(Code("", "", entries, [], skipped)))
    return [HeldObject(record.digest, record.size), *(HeldObject(each.digest, each.size) for each in entries)]


def _content(path: Path) -> Path | bytes:
    """What is kept of a file: of a notebook, not what running it has left in it."""
    if path.suffix != ".ipynb":
        return path
    try:
        return stripped(path.read_bytes())
    except (ValueError, KeyError, TypeError, AttributeError):  # not a notebook, whatever its name says
        return path


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


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            each
            for each in folders
            if not each.startswith(".")
            and each not in _NOT_PROJECT
            and not os.path.exists(os.path.join(folder, each, "pyvenv.cfg"))
        )
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix in KEPT and path.is_file() and not path.is_symlink():
                yield path
