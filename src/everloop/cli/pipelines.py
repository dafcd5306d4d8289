"""`run` and `reproduce`: pipelines from the command line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from everloop.cli.frame import answer_no, as_json, command, emit, human_number, say, table, workspace
from everloop.errors import InvalidInput

if TYPE_CHECKING:
    from everloop.domain.pipelines import Reproduction, StepRecord
    from everloop.pipelines.changed import StepChange
    from everloop.pipelines.outcome import PipelineRun
    from everloop.pipelines.reproduction.surroundings import Choice

MOST_LINES = 200
"""Of one diff, on the screen."""


@command()
@click.argument("pipeline")
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the pipeline; JSON or text.",
)
@click.option(
    "--executor",
    default="",
    help="local (worker processes), inline (this process), ray (a Ray cluster); the profile's by default.",
)
@click.option("--dry-run", is_flag=True, help="Say which steps would be executed and why; execute nothing.")
@click.option("--force", is_flag=True, help="Execute every step, whatever is stored.")
@click.option("--why", is_flag=True, help="Show the changes behind each executed step, line by line.")
def run(pipeline: str, params: tuple[str, ...], executor: str, dry_run: bool, force: bool, why: bool) -> None:
    """Run a pipeline: FILE.py:NAME, MODULE:NAME, dvc.yaml or MLproject. What did not change is not executed."""
    given = parameters(params)
    room = workspace(write=True).pipelines
    told = None if as_json() or dry_run else _say_step
    done = room.run(pipeline, given, executor=executor, dry_run=dry_run, force=force, on_step=told)
    if why:
        from everloop.pipelines.changed import step_changes

        changes = step_changes(room, done)
        emit(run_answer(done) | {"changes": changes}, lambda _: _told(done, changes))
    else:
        emit(run_answer(done), lambda _: _told(done))
    if done.status in {"failed", "interrupted"}:
        if as_json():
            say(done.error)
        answer_no()


@command()
@click.argument("reference")
@click.option(
    "--tolerance",
    default=1000.0,
    show_default=True,
    help="Largest difference, in units of eps x scale, that still passes.",
)
@click.option(
    "--environment",
    type=click.Choice(("auto", "rebuild", "same")),
    default="auto",
    show_default=True,
    help="rebuild: a clean one of the captured packages; same: this one; auto: rebuild where they differ.",
)
def reproduce(reference: str, tolerance: float, environment: Choice) -> None:
    """Rebuild a run, dataset version or model version elsewhere, and grade how equal it came out."""
    from msgspec import to_builtins

    here = workspace()
    if reference.startswith("model:"):  # an alias means what it means now
        reference = here.registry.version(reference).reference
    found = here.pipelines.reproduce(reference, tolerance=tolerance, environment=environment)
    emit(to_builtins(found), lambda _: _graded(found))
    if found.grade == "failed":
        answer_no()


def parameters(given: tuple[str, ...]) -> dict[str, Any]:
    """``NAME=VALUE`` with the value as JSON where it is JSON, else as text.

    >>> parameters(("rate=0.5", "recipe=fancy", 'months=[1, 2]'))
    {'rate': 0.5, 'recipe': 'fancy', 'months': [1, 2]}
    """
    import msgspec

    found: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not equals or not name:
            raise InvalidInput(f"'{each}' is not a parameter", hint="write --param NAME=VALUE")
        if name in found:
            raise InvalidInput(f"the parameter '{name}' is given twice", hint="give it once")
        try:
            found[name] = msgspec.json.decode(text)
        except msgspec.DecodeError:
            found[name] = text
    return found


def run_answer(done: PipelineRun) -> dict[str, Any]:
    """What `run` prints with ``--json``."""
    steps = [
        {
            "name": each.name,
            "status": each.status,
            "seconds": round(each.seconds, 6),
            "reason": each.reason,
            "run": each.run,
            "error": each.error,
        }
        for each in done.steps
    ]
    return {
        "run": done.run_id or None,
        "pipeline": done.pipeline,
        "status": done.status,
        "executed": done.executed,
        "seconds": round(done.seconds, 6),
        "resumed_from": done.resumed_from,
        "steps": steps,
        "notes": list(done.notes),
        "error": done.error,
    }


def _say_step(step: StepRecord) -> None:
    """A line for each step that was executed, when it is over: a run of an hour must not be silent."""
    if step.status in {"executed", "failed"}:
        say(f"{step.name} {step.status} in {step.seconds:.2f} s: {step.reason}")


def _told(done: PipelineRun, changes: Sequence[StepChange] = ()) -> Any:
    from rich.console import Group
    from rich.text import Text

    rows = [
        (each.name, each.status, f"{each.seconds:.2f}" if each.seconds else "", each.reason)
        for each in done.steps
    ]
    counts = ", ".join(
        f"{sum(each.status == status for each in done.steps)} {status}"
        for status in dict.fromkeys(each.status for each in done.steps)
    )
    parts: list[Any] = [table(("step", "status", "seconds", "why"), rows, right=("seconds",))]
    parts += [Text(line, overflow="fold") for each in changes for line in _change(each)]
    if done.run_id:
        parts.append(f"run:{done.run_id} {done.status} in {done.seconds:.2f} s: {counts or 'no steps'}")
    parts += [f"note: {note}" for note in done.notes]
    if done.error:
        parts.append(Text(done.error))
    return Group(*parts)


def _change(change: StepChange) -> Iterator[str]:
    """What a change is and which steps it concerns, then its diff."""
    names = ", ".join(change.steps[:3]) + (
        f" and {len(change.steps) - 3:,} more" if len(change.steps) > 3 else ""
    )
    yield f"{names}: {change.said}, since {change.former}"
    lines = change.diff.splitlines()
    yield from lines[:MOST_LINES]
    if len(lines) > MOST_LINES:
        yield f"… {len(lines) - MOST_LINES:,} lines more: --json has them"


def _graded(found: Reproduction) -> Any:
    from rich.console import Group

    rows = [(each.step, each.grade, human_number(each.largest), each.detail) for each in found.comparisons]
    parts: list[Any] = [table(("step", "grade", "k", "detail"), rows, right=("k",))]
    parts += [f"- {line}" for line in found.evidence]
    said = f"{found.reference}: {found.grade} ({found.seconds:.1f} s; the original took {found.original_seconds:.1f} s)"
    parts.append(said + (f"; first divergence: {found.first_divergence}" if found.first_divergence else ""))
    return Group(*parts)
