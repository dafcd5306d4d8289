"""Rebuilding a result elsewhere: captured code, the same data and settings, a fresh folder and process; then a grade."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.domain.pipelines import (
    Comparison,
    PipelineRunRecord,
    Reproduction,
    StepRecord,
    strongest_common,
)
from everloop.domain.references import Kind, Reference
from everloop.domain.runs import RunDetail
from everloop.engine.here import HereExecutor
from everloop.engine.here import environment as environment_of
from everloop.engine.processes import THREAD_VARIABLES
from everloop.errors import Failed, InvalidInput, NotFound
from everloop.governance.rooms import Context
from everloop.pipelines.comparing import compare_outputs
from everloop.pipelines.rebuild import MARK, Rebuild, Rebuilt, opened_beside, read_rebuilt
from everloop.store.objects import Objects, open_objects
from everloop.tracking.capture import THREADS, Environment, capture, restore
from everloop.tracking.tracking import Tracking

if TYPE_CHECKING:
    from everloop.pipelines.pipelines import Pipelines


def reproduce(room: Pipelines, reference: str, *, tolerance: float) -> Reproduction:
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
        environment = msgspec.json.decode(context.objects.read(detail.captured.environment), type=Environment)
        evidence += _environment_evidence(environment, _environment_here(context))
        versions = _versions(tracking, detail)
        evidence.append(
            f"data: {', '.join(f'{name}@v{number}' for name, number in sorted(versions.items())) or 'none read'}, by digest"
        )
        rebuilt = _run_child(context, original, project, environment, versions)
        if rebuilt.status != "finished":
            evidence.append(f"the rebuild failed: {rebuilt.error}")
        stores = (context.objects, open_objects(project / ".everloop" / "objects"))
        before = [each for each in room.steps(original.run) if only is None or each.name in only]
        comparisons = _compare(before, rebuilt, stores, tolerance)
        comparisons += _compare_models(context, before, project, rebuilt, stores, tolerance)
        grade = strongest_common(each.grade for each in comparisons) if comparisons else "failed"
        diverging = next((each for each in comparisons if each.grade != "bits"), None)
        if grade == "tolerance":
            largest = max((each.largest or 0.0) for each in comparisons)
            evidence.append(
                f"largest difference k = {largest:.3g} units of eps x scale; up to {tolerance:g} is tolerated"
            )
        report = Reproduction(
            reference=wanted,
            run=original.run,
            grade=grade,
            comparisons=tuple(comparisons),
            evidence=tuple(evidence),
            first_divergence=None if diverging is None else f"{diverging.step}: {diverging.detail}",
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
        if parsed.kind is not Kind.MODEL:
            raise InvalidInput(f"a {parsed.kind} cannot be reproduced", hint="name a run or a model version")
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


def _run_child(
    context: Context,
    original: PipelineRunRecord,
    project: Path,
    environment: Environment,
    versions: dict[str, int],
) -> Rebuilt:
    """Run the pipeline in a process of its own, in the restored project."""
    if not original.source:
        raise InvalidInput(
            "the pipeline was not defined in a file, so it cannot be run again", hint="define it in a module"
        )
    folder = project / ".everloop"
    folder.mkdir(parents=True)
    (project / "everloop.toml").touch()
    task = Rebuild(context.location, original.source, original.params, original.executor, versions)
    (folder / MARK).write_bytes(msgspec.json.encode(task))
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
    done = subprocess.run(
        [sys.executable, "-m", "everloop.pipelines.rebuild", str(project)],
        cwd=project,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    answer = folder / "rebuilt.json"
    if not answer.is_file():
        last = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise Failed(
            f"the rebuild could not be started (exit code {done.returncode}): {last}",
            hint="is the captured code whole?",
        )
    rebuilt: Rebuilt = read_rebuilt(answer.read_bytes())
    return rebuilt


def _environment_here(context: Context) -> Environment:
    here = capture(context.objects, project=context.project, seeds={}, leave_out=[context.folder])
    return msgspec.json.decode(context.objects.read(here.environment), type=Environment)


def _environment_evidence(then: Environment, now: Environment) -> list[str]:
    """What is the same and what is not, said openly: the rebuild runs on what is installed now."""
    lines = []
    was, is_now = ({each.partition("==")[0]: each for each in env.packages} for env in (then, now))
    different = sorted(name for name in was.keys() | is_now.keys() if was.get(name) != is_now.get(name))
    if different or then.python != now.python:
        shown = [
            f"{was.get(name, f'no {name}')} -> {is_now.get(name, f'no {name}')}" for name in different[:5]
        ]
        more = f" and {len(different) - 5} more" if len(different) > 5 else ""
        python = [f"Python {then.python} -> {now.python}"] if then.python != now.python else []
        lines.append(
            f"environment: NOT the captured one ({', '.join([*python, *shown])}{more}); this interpreter was used all the same"
        )
    else:
        lines.append(f"environment: Python {now.python} and all {len(now.packages)} packages as captured")
    same = then.cpu == now.cpu and then.platform == now.platform
    lines.append(
        f"machine: {'the same kind' if same else f'{then.cpu} on {then.platform} -> {now.cpu} on {now.platform}'}"
    )
    lines.append(
        f"threads: {', '.join(f'{name}={value}' for name, value in sorted(then.threads.items())) or 'as each step declares'}"
    )
    return lines


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


def _compare(
    before: Sequence[StepRecord], rebuilt: Rebuilt, stores: tuple[Objects, Objects], tolerance: float
) -> list[Comparison]:
    after = {each.name: each for each in rebuilt.steps}
    comparisons = []
    for each in before:
        if each.value is None:
            continue
        twin = after.get(each.name)
        if twin is None or twin.value is None:
            said = "it was not reached" if twin is None else (twin.error.partition("\n")[0] or twin.reason)
            comparisons.append(Comparison(each.name, "failed", said, each.value.digest, ""))
        else:
            comparisons.append(compare_outputs(each.name, each.value, twin.value, stores, tolerance))
    return comparisons


def _compare_models(
    context: Context,
    before: Sequence[StepRecord],
    project: Path,
    rebuilt: Rebuilt,
    stores: tuple[Objects, Objects],
    tolerance: float,
) -> list[Comparison]:
    """Models that steps logged: by canonical digest, else by their answers to the rows stored with the original."""
    tracking = context.room(Tracking)
    after = {each.name: each.run for each in rebuilt.steps}
    comparisons: list[Comparison] = []
    with opened_beside(project) as other:
        for step in before:
            twin = after.get(step.name)
            if step.run is None:
                continue
            for path, files in _models_of(tracking, step.run).items():
                label = f"{step.name}: {path}"
                mine = _models_of(other.room(Tracking), twin).get(path) if twin else None
                if mine is None:
                    comparisons.append(
                        Comparison(label, "failed", "the rebuild logged no such model", "", "")
                    )
                    continue
                comparisons.append(_compare_model(label, files, mine, stores, tolerance))
    return comparisons


def _models_of(tracking: Tracking, run: str) -> dict[str, dict[str, str]]:
    """Folders of a run that hold a model: path -> file -> object."""
    listed = tracking.artifacts(run)
    folders = [each.path.removesuffix("/model.json") for each in listed if each.path.endswith("/model.json")]
    return {
        folder: {
            each.path[len(folder) + 1 :]: each.digest for each in listed if each.path.startswith(f"{folder}/")
        }
        for folder in folders
    }


def _compare_model(
    label: str,
    before: dict[str, str],
    after: dict[str, str],
    stores: tuple[Objects, Objects],
    tolerance: float,
) -> Comparison:
    from everloop.stats.exactness import compare_predictions
    from everloop.tracking.formats import read_model_file

    one, two = (
        read_model_file(store.read(files["model.json"]))
        for files, store in zip((before, after), stores, strict=True)
    )
    if one.content == two.content:
        return Comparison(
            label, "bits", "equal canonical content of the model", one.content, two.content, 0.0
        )
    if "probe.json" not in before:
        return Comparison(
            label, "failed", "the model differs, and no rows were stored to ask it", one.content, two.content
        )
    with tempfile.TemporaryDirectory(prefix="everloop-") as top:
        models = [
            _loaded(Path(top, name), files, store)
            for name, files, store in zip("ab", (before, after), stores, strict=True)
        ]
        inputs, _ = models[0].probe()
        answers = [each.answer(inputs) for each in models]
    name = models[0].signature.score or models[0].signature.outputs[0].name
    found = compare_predictions(answers[0][name], answers[1][name], tolerance=tolerance)
    detail = f"the stored probe of {one.probe_rows} rows: {found.reason}"
    return Comparison(label, found.grade, detail, one.content, two.content, found.k)


def _loaded(folder: Path, files: dict[str, str], store: Objects) -> Any:
    from everloop.tracking.formats import load_model

    for name, digest in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.read(digest))
    return load_model(folder)


def _original_seconds(room: Pipelines, steps: Sequence[StepRecord]) -> float:
    computed = {each.key: each.seconds for each in room.results([step.key for step in steps if step.key])}
    return sum(computed.get(each.key, each.seconds) for each in steps)
