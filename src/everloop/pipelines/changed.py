"""What changed since a step was last computed, with the text of the code: then as it was captured, now as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from everloop.domain.pipelines import ChangedComponent, Component, KeysBefore, StepRecord, changed
from everloop.errors import NotFound
from everloop.pipelines.code.passages import difference
from everloop.pipelines.kept_code import ENDINGS, LARGEST
from everloop.pipelines.outcome import PipelineRun
from everloop.store.objects import Objects
from everloop.tracking.capture import Code
from everloop.tracking.tracking import Tracking

if TYPE_CHECKING:
    from everloop.pipelines.pipelines import Pipelines

Content = Callable[[str], bytes | None]
"""A file of the project by its path, as it was at one moment; None where it was not there, or was not kept."""
NAMES_AT_ONCE = 500
_WHOLE = frozenset({"project file", "file", "script", "SQL", "notebook"})
"""Kinds whose names are files."""


class StepChange(msgspec.Struct, frozen=True):
    """One thing that is not as it was when the former results of some steps were computed.

    steps: their names in this run. kind, name: of the component of their keys. said: the change in words, as in a step's reason.
    former: the run in which the former results were computed, or used last. diff: unified; empty where there is no text to show,
    and where another change shows it.
    """

    steps: tuple[str, ...]
    kind: str
    name: str
    said: str
    former: str
    diff: str


def step_changes(room: Pipelines, done: PipelineRun) -> list[StepChange]:
    """What changed for each step that was executed (or, in a dry run, would be); steps with the same change together."""
    steps = [each for each in done.steps if _is_told(done, each)]
    now = _captured(room, done.run_id) if done.run_id else _on_disk(done.root)
    found: dict[tuple[ChangedComponent, str], list[str]] = {}
    for step, run, was, is_now in _pairs(room, done, steps):
        for each in changed(was, is_now):
            found.setdefault((each, run), []).append(step.name)
    before = {run: _captured(room, run) for run in {run for _, run in found}}
    changes: list[StepChange] = []
    shown: set[tuple[str, str]] = set()
    for (each, run), names in found.items():
        diff = _diff(each, before[run], now)
        if (run, diff) in shown:  # a constant changes as text and as a value in memory
            diff = ""
        shown.add((run, diff))
        changes.append(StepChange(tuple(names), each.kind, each.one.name, each.said, f"run:{run}", diff))
    return changes


def _is_told(done: PipelineRun, step: StepRecord) -> bool:
    return step.key in done.parts and (
        step.status in {"executed", "failed"} or (done.status == "planned" and step.status == "skipped")
    )


def _pairs(
    room: Pipelines, done: PipelineRun, steps: list[StepRecord]
) -> Iterator[tuple[StepRecord, str, tuple[Component, ...], tuple[Component, ...]]]:
    """Each step that has a former result: the run that had it, and what its key was made from then and now."""
    labels: dict[str, list[StepRecord]] = {}
    for step in steps:
        labels.setdefault(step.step, []).append(step)
    for label, those in labels.items():
        for start in range(0, len(those), NAMES_AT_ONCE):
            some = those[start : start + NAMES_AT_ONCE]
            known = room.keys_before(label, [each.name for each in some], besides=done.run_id)
            for step in some:
                was = known.components(step.name)
                parts = done.parts[step.key]
                if was is not None:
                    yield step, _run_of(known, step), was, (*parts.other_components, *parts.code_components)


def _run_of(known: KeysBefore, step: StepRecord) -> str:
    return known.runs[known.names.get(step.name, known.newest)]


def _diff(each: ChangedComponent, before: Content | None, now: Content | None) -> str:
    file, inner, part = each.one.name.partition("::")
    if before is None or now is None or (not inner and each.kind not in _WHOLE):
        return ""
    was, is_now = before(file), now(file)
    if (each.was is not None and was is None) or (each.now is not None and is_now is None):
        return ""  # it was there, and its text is not known
    return difference(file, part, was, is_now)


def _on_disk(root: Path) -> Content:
    """The project as it is, as far as it would be captured."""

    def read(file: str) -> bytes | None:
        path = root / file
        try:
            kept = path.suffix in ENDINGS and path.stat().st_size <= LARGEST
            return path.read_bytes() if kept else None
        except OSError:
            return None

    return read


def _captured(room: Pipelines, run: str) -> Content | None:
    """The project as it was captured when a run began; None when that is not known any more, as of a run that was purged."""
    objects: Objects = room.context.objects
    try:
        captured = room.context.room(Tracking).describe(run).captured
        code = msgspec.json.decode(objects.read(captured.code), type=Code)
    except NotFound:
        return None
    files = {each.path: each.digest for each in code.files}

    def read(file: str) -> bytes | None:
        try:
            return objects.read(files[file]) if file in files else None
        except NotFound:
            return None

    return read
