"""`sweep`: a search over the parameters of a pipeline, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everloop.cli.frame import answer_no, as_json, command, counted, emit, human_number, say, table, workspace
from everloop.cli.pipelines import parameters
from everloop.errors import InvalidInput

if TYPE_CHECKING:
    from everloop.domain.sweeps import Objective, Repeat, SweepResult, Trial

MOST_SHOWN = 20


@command()
@click.argument("pipeline")
@click.option(
    "--space",
    "space_file",
    type=click.Path(path_type=Path),
    help="A TOML file: [space] with the parameters and their ranges, [objective] with metric and direction.",
)
@click.option(
    "--trials",
    type=int,
    help="How many trials in all. A grid is gone through without; a sweep that goes on has those it was begun with.",
)
@click.option("--metric", default="", help="What is looked for, when the file does not say.")
@click.option("--direction", default="", help="minimize or maximize.")
@click.option(
    "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter that stays the same."
)
@click.option("--sampler", default="", help="tpe (the default), random, grid, cmaes, nsga2.")
@click.option(
    "--pruner", default="", help="Stops hopeless trials: none (the default), median, halving, hyperband."
)
@click.option("--seed", type=int, help="The same seed asks for the same trials.")
@click.option(
    "--repeat", default="", metavar="NAME=V1,V2,…", help="Run each trial once for each value, such as seeds."
)
@click.option(
    "--folds",
    default="",
    metavar="NAME=K",
    help="Cross-validation: run each trial once for each of K folds, the parameter being 0 to K-1.",
)
@click.option("--executor", default="", help="As for run.")
@click.option(
    "--jobs", type=int, default=1, help="How many trials run at a time, each in a process of its own."
)
@click.option("--budget", default="", metavar="TIME", help="Begin no trial after this time, such as 30min.")
@click.option(
    "--resume", "resumed", default="", metavar="RUN", help="Go on with a sweep, or give it more trials."
)
def sweep(
    pipeline: str,
    space_file: Path | None,
    trials: int | None,
    metric: str,
    direction: str,
    params: tuple[str, ...],
    sampler: str,
    pruner: str,
    seed: int | None,
    repeat: str,
    folds: str,
    executor: str,
    jobs: int,
    budget: str,
    resumed: str,
) -> None:
    """Search for the parameters with which a pipeline (FILE.py:NAME or MODULE:NAME) comes out best."""
    from everloop.domain.durations import duration
    from everloop.domain.sweeps import cells_of
    from everloop.pipelines.sweeps.spaces import read_space

    seconds = duration(budget).total_seconds() if budget else None
    room = workspace(write=True).pipelines
    told = None if as_json() else _say_trial
    if resumed:
        given = {
            "--space": space_file,
            "--param": params,
            "--metric": metric,
            "--direction": direction,
            "--sampler": sampler,
            "--pruner": pruner,
            "--seed": seed is not None,
            "--repeat": repeat,
            "--folds": folds,
        }
        changed = next((name for name, value in given.items() if value), None)
        if changed is not None:
            raise InvalidInput(
                f"a sweep that goes on keeps what it was begun with, also {changed}",
                hint="with --resume come --trials, --jobs, --budget and --executor; anything else is a new sweep",
            )
        result = room.resume_sweep(
            resumed, trials=trials, executor=executor, jobs=jobs, told=told, budget=seconds
        )
    else:
        if space_file is None:
            raise _incomplete("--space")
        found = read_space(space_file)
        sampler = sampler or found.sampler
        if trials is None:
            if sampler != "grid":
                raise _incomplete("--trials")
            trials = cells_of(found.space)
        result = room.sweep(
            pipeline,
            found.space,
            trials=trials,
            objective=_objectives(found.objectives, metric, direction),
            params=parameters(params),
            sampler=sampler,
            pruner=pruner or found.pruner,
            seed=seed if seed is not None else found.seed,
            repeat=_repeat(repeat, folds) if repeat or folds else found.repeat,
            executor=executor,
            jobs=jobs,
            told=told,
            budget=seconds if seconds is not None else found.budget,
        )
    emit(sweep_answer(result), lambda _: _told(result))
    if not result.found:
        answer_no()


def _incomplete(missing: str) -> InvalidInput:
    return InvalidInput(
        f"a sweep needs {missing}", hint="everloop sweep train.py:train --space s.toml --trials 20"
    )


def sweep_answer(result: SweepResult) -> dict[str, Any]:
    """The JSON of a sweep: `best` is the whole trial, with its interval and those tied with it; null with several objectives,
    which have a `front`."""
    from msgspec import to_builtins

    found: dict[str, Any] = to_builtins(result)
    if result.best is not None:
        found["best"] = to_builtins(result.trial(result.best)) | {
            "score": found["score"],
            "tied": found["tied"],
        }
    return found


def _objectives(read: tuple[Objective, ...], metric: str, direction: str) -> tuple[Objective, ...]:
    from everloop.domain.sweeps import Objective

    if metric:
        wanted: Any = direction or "minimize"  # the plan says so when it is neither
        return (Objective(metric, wanted),)
    if direction:
        raise InvalidInput("a direction without a metric", hint="name it: --metric log_loss")
    return read


def _repeat(given: str, cross: str) -> Repeat:
    from everloop.domain.sweeps import Repeat
    from everloop.pipelines.sweeps.spaces import folds

    if given and cross:
        raise InvalidInput("a trial is repeated over seeds or over folds", hint="leave one of them out")
    if cross:
        name, _, number = cross.partition("=")
        if not name or not number.isdecimal():
            raise InvalidInput(f"'{cross}' does not say how many folds", hint="write --folds fold=5")
        return folds(name, int(number))
    name, equals, values = given.partition("=")
    if not equals or not name or not values:
        raise InvalidInput(f"'{given}' does not say what is repeated", hint="write --repeat seed=0,1,2")
    return Repeat(name, tuple(parameters((f"value={each}",))["value"] for each in values.split(",")))


def _say_trial(trial: Trial) -> None:
    came_out = ", ".join(human_number(each) for each in trial.means) if trial.values else trial.status
    shown = ", ".join(f"{name}={_value(value)}" for name, value in trial.params.items())
    say(f"trial {trial.number}: {came_out}  ({shown})" + (f"  {trial.error}" if trial.error else ""))


def _told(result: SweepResult) -> Any:
    from rich.console import Group

    first = result.objectives[0]
    reverse = first.direction == "maximize"
    on_front = set(result.front)
    ranked = sorted(
        result.trials,
        key=lambda each: (
            not each.values,
            each.number not in on_front,
            (-each.means[0] if reverse else each.means[0]) if each.values else each.number,
        ),
    )
    names = list(result.trials[0].params) if result.trials else []
    columns = ("trial", "status", *(each.metric for each in result.objectives), *names, "seconds")
    rows = [
        (
            each.number,
            "on the front" if each.number in on_front else each.status,
            *_values(each, len(result.objectives)),
            *(_value(each.params[name]) for name in names),
            f"{each.seconds:.1f}",
        )
        for each in ranked[:MOST_SHOWN]
    ]
    parts: list[Any] = [
        table(columns, rows, right=("trial", "seconds", *(each.metric for each in result.objectives)))
    ]
    if len(ranked) > MOST_SHOWN:
        parts.append(f"and {len(ranked) - MOST_SHOWN} more: everloop runs list, or --json")
    counts = ", ".join(
        f"{sum(each.status == status for each in result.trials)} {status}"
        for status in dict.fromkeys(each.status for each in result.trials)
    )
    parts.append(f"run:{result.run} {result.status}: {counts or 'no trials'}")
    parts.append(_verdict(result))
    if result.importances:
        for objective, shares in zip(result.objectives, result.importances, strict=True):
            parts.append(_mattered(f"what mattered for {objective.metric}", shares))
    else:
        parts.append(_mattered("what mattered", result.importance))
    return Group(*(part for part in parts if part))


def _verdict(result: SweepResult) -> str:
    if result.front:
        return _front(result)
    if result.best is None or result.score is None:
        return "no trial came to its end"
    score, metric = result.score, result.objectives[0].metric
    said = f"best: trial {result.best}, {metric} {human_number(score.value)}"
    if score.low is None or result.tied is None:
        return (
            f"{said}; run once each, so nobody can say whether it is surely better: see --repeat and --folds"
        )
    said += f" ({human_number(score.low)} to {human_number(score.high)})"
    if not result.tied:
        return f"{said}, surely better than every other"
    return f"{said}; a tie with {_numbers(result.tied)}"


def _front(result: SweepResult) -> str:
    """The trials that no other beats; with repeats each objective of each with its interval."""
    metrics = [each.metric for each in result.objectives]
    on_it = f"{counted(len(result.front), 'trial')} on the front of {' and '.join(metrics)}"
    lines = [f"{on_it}: no other is as good in all and better in one"]
    if result.tied is None:
        lines.append("run once each, so nobody can say how sure that is: see --repeat and --folds")
        return "\n".join(lines)
    for number, scores in list(zip(result.front, result.scores, strict=True))[:MOST_SHOWN]:
        stated = ", ".join(
            f"{metric} {human_number(score.value)}"
            + (
                ""
                if score.low is None or score.high is None
                else f" ({human_number(score.low)} to {human_number(score.high)})"
            )
            for metric, score in zip(metrics, scores, strict=True)
        )
        lines.append(f"trial {number}: {stated}")
    if result.tied:
        lines.append(f"perhaps on it, too, for none surely beats them: {_numbers(result.tied)}")
    return "\n".join(lines)


def _numbers(trials: list[int]) -> str:
    return ", ".join(map(str, trials[:10])) + (" and more" if len(trials) > 10 else "")


def _mattered(what: str, shares: dict[str, float]) -> str:
    if not shares:
        return ""
    return f"{what}: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items())


def _values(trial: Trial, objectives: int) -> list[str]:
    """What a trial came out with; of one that was stopped early what it had come to by then, in brackets."""
    if trial.values:
        return [human_number(each) for each in trial.means]
    if trial.status == "pruned" and trial.reports:
        return [f"({human_number(trial.reports[-1][1])})", *[""] * (objectives - 1)]
    return [""] * objectives


def _value(value: Any) -> str:
    return human_number(value) if isinstance(value, float) else str(value)
