"""Rebuilding a result elsewhere: captured code, the same data and settings, a fresh folder and process; then a grade."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from everloop.data.data import Data
from everloop.domain.pipelines import (
    PipelineRunRecord,
    Reproduction,
    StepRecord,
    strongest_common,
)
from everloop.domain.references import Kind, Reference
from everloop.domain.runs import RunDetail
from everloop.engine.forks import programs
from everloop.engine.here import HereExecutor
from everloop.engine.here import environment as environment_of
from everloop.engine.processes import THREAD_VARIABLES
from everloop.errors import Failed, InvalidInput, NotFound
from everloop.governance.rooms import Context
from everloop.pipelines.rebuild import MARK, Rebuild, Rebuilt, read_rebuilt
from everloop.pipelines.reproduction.compared import Compared
from everloop.pipelines.reproduction.surroundings import Choice, surroundings
from everloop.tracking.capture import THREADS, Environment, capture, restore
from everloop.tracking.tracking import Tracking

if TYPE_CHECKING:
    from everloop.pipelines.pipelines import Pipelines


def reproduce(
    room: Pipelines, reference: str, *, tolerance: float, environment: Choice = "auto"
) -> Reproduction:
    """See `Pipelines.reproduce`."""
    context = room.context
    begun = time.perf_counter()
    wanted, original, only = _original(room, reference)
    tracking = context.room(Tracking)
    detail = tracking.describe(original.run)
    evidence = [f"code: the project as captured with run {original.run}"]
    folder = Path(tempfile.mkdtemp(prefix="everloop-rebuild-"))
    try:
        project = folder / "project"
        restore(context.objects, detail.captured.code, project, repository=context.project)
        captured = msgspec.json.decode(context.objects.read(detail.captured.environment), type=Environment)
        now = _environment_here(context)
        chosen = surroundings(context.folder, captured, now, environment)
        evidence += [chosen.evidence, *_machine_evidence(captured, now)]
        versions = _versions(tracking, detail)
        evidence.append(
            f"data: {', '.join(f'{name}@v{number}' for name, number in sorted(versions.items())) or 'none read'}, by digest"
        )
        child = _Child(room, original, project, captured, chosen.python)
        rebuilt = child.run(versions)
        if rebuilt.status != "finished":
            evidence.append(f"the rebuild failed: {rebuilt.error}")
        before = [each for each in room.steps(original.run) if only is None or each.name in only]
        compared = Compared(context, project, tolerance)
        comparisons = compared.all(before, rebuilt)
        grade = strongest_common(each.grade for each in comparisons) if comparisons else "failed"
        diverging = next((each for each in comparisons if each.grade != "bits"), None)
        if grade == "tolerance":
            largest = max((each.largest or 0.0) for each in comparisons)
            evidence.append(
                f"largest difference k = {largest:.3g} units of eps x scale; up to {tolerance:g} is tolerated"
            )
        first = None
        if diverging is not None:
            first = f"{diverging.step}: {diverging.detail}"
            if rebuilt.status == "finished":
                first += _looked_into(child, compared, rebuilt, diverging.step.partition(": ")[0])
        report = Reproduction(
            reference=wanted,
            run=original.run,
            grade=grade,
            comparisons=tuple(comparisons),
            evidence=tuple(evidence),
            first_divergence=first,
            seconds=time.perf_counter() - begun,
            original_seconds=_original_seconds(room, before),
            time=context.clock(),
        )
        room.record_reproduction(report)
        tracking.log(original.run, tags={"everloop.reproduced": grade})
        return report
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _original(room: Pipelines, reference: str) -> tuple[str, PipelineRunRecord, set[str] | None]:
    """What is meant, the pipeline's run behind it, and the steps that count (None: all)."""
    if ":" in reference and not reference.startswith("run:"):
        parsed = Reference.parse(reference)
        if parsed.kind not in (Kind.MODEL, Kind.DATA):
            raise InvalidInput(
                f"{parsed.kind.one} cannot be reproduced",
                hint="name a run, a dataset version or a model version",
            )
        if parsed.version is None and parsed.kind is Kind.DATA:
            parsed = Reference.parse(room.context.room(Data).version(str(parsed)).reference)
        if parsed.version is None:
            raise InvalidInput(f"{reference} names no version", hint=f"write {parsed.kind}:{parsed.name}@v1")
        run = room.producer_of(str(parsed))
        wanted = str(parsed)
    else:
        run = room.context.room(Tracking).resolve(reference)
        wanted = f"run:{run}"
    found = room.step_of(run)
    if found is not None:
        parent, step = found
        return wanted, room.pipeline_run(parent), _upstream(room.steps(parent), step.name)
    try:
        return wanted, room.pipeline_run(run), None
    except NotFound:
        raise InvalidInput(
            f"{wanted} was not made by a pipeline, so its steps are not known",
            hint="only runs of pipelines can be reproduced",
        ) from None


def _upstream(steps: Sequence[StepRecord], name: str) -> set[str]:
    """A step and all whose results went into it."""
    inputs = {each.name: each.inputs for each in steps}
    found: set[str] = set()
    waiting = [name]
    while waiting:
        each = waiting.pop()
        if each in found:
            continue
        found.add(each)
        # A map is named by its inputs, its parts have records.
        waiting += [*inputs.get(each, ()), *(part for part in inputs if part.startswith(f"{each}["))]
    return found


class _Child:
    """The process in which the pipeline runs again, in the restored project."""

    def __init__(
        self,
        room: Pipelines,
        original: PipelineRunRecord,
        project: Path,
        environment: Environment,
        python: str,
    ) -> None:
        if not original.source:
            raise InvalidInput(
                "the pipeline was not defined in a file, so it cannot be run again",
                hint="define it in a module",
            )
        self._room, self._original, self._project = room, original, project
        self._python = python or sys.executable
        variables = {
            name: value
            for name, value in os.environ.items()
            if name not in {*THREADS, *THREAD_VARIABLES, "EVERLOOP_WORKSPACE"}
        }
        variables |= environment.threads
        if original.executor == HereExecutor.name:
            variables = environment_of(variables)
        if "PYTHONHASHSEED" in environment.variables:
            variables["PYTHONHASHSEED"] = environment.variables["PYTHONHASHSEED"]
        self._variables = variables

    def run(self, versions: dict[str, int]) -> Rebuilt:
        """The whole pipeline, every step of it."""
        folder = self._project / ".everloop"
        folder.mkdir(parents=True)
        (self._project / "everloop.toml").touch()
        original = self._original
        task = Rebuild(
            self._room.context.location, original.source, original.params, original.executor, versions
        )
        (folder / MARK).write_bytes(msgspec.json.encode(task))
        return self._call("rebuilt.json")

    def again(self, step: str) -> Rebuilt:
        """One step once more, from the same inputs."""
        return self._call("again.json", step)

    def _call(self, answer: str, *arguments: str) -> Rebuilt:
        # Only the first run shares loaded libraries with others: one that is to show whether chance is at work must draw anew.
        packages = () if arguments else self._room.packages_reached(run=self._original.run)
        done = programs.run(
            programs.Program(
                "everloop.pipelines.rebuild",
                [str(self._project), *arguments],
                self._variables,
                self._project,
                purpose="to prove",
                python=self._python,
                packages=packages,
            )
        )
        file = self._project / ".everloop" / answer
        if not file.is_file():
            last = "\n".join(done.err.decode(errors="replace").strip().splitlines()[-5:])
            raise Failed(
                f"the rebuild could not be started (exit code {done.code}): {last}",
                hint="is the captured code whole?",
            )
        rebuilt: Rebuilt = read_rebuilt(file.read_bytes())
        return rebuilt


def _looked_into(child: _Child, compared: Compared, rebuilt: Rebuilt, step: str) -> str:
    """Whether a step that came out otherwise gives something else each time, and what in its code may be why."""
    try:
        again = child.again(step)
    except Failed:
        return ""
    twice = compared.twice(step, rebuilt, again)
    if twice is None:
        return ""
    if twice == "bits":
        return "; run twice here it gives the same result, so it is not chance: look at the machine, packages and threads"
    found = compared.suspects(step, rebuilt)
    shown = ", ".join(str(each) for each in found[:3])
    return f"; this step gives another result each time: {shown or 'what is random in it was not found in its code'}"


def _environment_here(context: Context) -> Environment:
    here = capture(context.objects, project=context.project, seeds={}, leave_out=[context.folder])
    return msgspec.json.decode(context.objects.read(here.environment), type=Environment)


def _machine_evidence(then: Environment, now: Environment) -> list[str]:
    """What is the same of the machine and what is not."""
    same = then.cpu == now.cpu and then.platform == now.platform
    threads = ", ".join(f"{name}={value}" for name, value in sorted(then.threads.items()))
    return [
        f"machine: {'the same kind' if same else f'{then.cpu} on {then.platform} -> {now.cpu} on {now.platform}'}",
        f"threads: {threads or 'as each step declares'}",
    ]


def _versions(tracking: Tracking, detail: RunDetail) -> dict[str, int]:
    """The dataset versions that the run and its steps read; of several of one dataset the latest, which was the newest then."""
    references = {*detail.consumed}
    for child in detail.children:
        references |= {*tracking.describe(child).consumed}
    found: dict[str, int] = {}
    for each in references:
        parsed = Reference.parse(each)
        if parsed.kind is Kind.DATA and parsed.version is not None:
            found[parsed.name] = max(found.get(parsed.name, 0), parsed.version)
    return found


def _original_seconds(room: Pipelines, steps: Sequence[StepRecord]) -> float:
    computed = {each.key: each.seconds for each in room.results([step.key for step in steps if step.key])}
    return sum(computed.get(each.key, each.seconds) for each in steps)
