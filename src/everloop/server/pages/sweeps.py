"""Sweeps: which there were; and of one, how it went, what its winner is and whether that is sure, which parameters mattered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import BaseRoute

from everloop.domain.runs import RUNNING
from everloop.domain.sweeps import (
    Choice,
    Dimension,
    Objective,
    Real,
    SweepRecord,
    SweepResult,
    Trial,
    Whole,
    cells_of,
)
from everloop.errors import NotFound
from everloop.pipelines.sweeps.scoring import best_of, front_of
from everloop.server.pages import plots
from everloop.server.pages.addresses import Address
from everloop.server.pages.rendering import Pages
from everloop.workspace.workspace import Workspace

MOST_SLICES = 12
MOST_TRIALS = 200
"""Rows of the table, the best first."""
MOST_LINES = 400
"""Trials that are drawn as lines across the parameters."""
MOST_LISTED = 100


class Listed(msgspec.Struct, frozen=True):
    """A sweep in the list."""

    record: SweepRecord
    name: str
    made: int
    status: str
    best: float | None
    front: int
    counts: dict[str, int]


def routes(pages: Pages) -> list[BaseRoute]:
    return [
        pages.page("/sweeps", "sweeps/list.html", sweeps, active="pipelines"),
        pages.page("/sweeps/{run}", "sweeps/sweep.html", sweep, active="pipelines"),
    ]


def sweeps(request: Request, workspace: Workspace) -> dict[str, Any]:
    return {
        "crumbs": [("Pipelines", "/pipelines"), ("Sweeps", None)],
        "sweeps": [listed(workspace, each) for each in workspace.pipelines.sweeps(limit=MOST_LISTED)],
        "command": "everloop runs list",
    }


def listed(workspace: Workspace, record: SweepRecord) -> Listed:
    """A sweep with what came of it until now."""
    trials = workspace.pipelines.trials(record.run)
    wanted = record.plan.objectives
    one = best_of(trials, wanted[0]) if len(wanted) == 1 else None
    status = record.status
    if status == RUNNING:  # its process may have died
        status = workspace.tracking.run(record.run).status
    return Listed(
        record,
        name=record.plan.source.rpartition(":")[2],
        made=len(trials),
        status=status,
        best=None if one is None else one.means[0],
        front=len(front_of(trials, wanted)) if len(wanted) > 1 else 0,
        counts=dict(Counter(str(each.status) for each in trials)),
    )


def sweep(request: Request, workspace: Workspace) -> dict[str, Any]:
    here = Address.of(request)
    try:
        run = workspace.tracking.run(request.path_params["run"])
        record: SweepRecord = workspace.pipelines.sweep_record(run.run_id)
    except NotFound as error:
        known = workspace.pipelines.sweeps(limit=3)
        newest = ", ".join(each.run[:12] for each in known)
        raise NotFound(
            error.message, hint=f"the newest sweeps are {newest}" if known else "see: everloop sweep --help"
        ) from None
    result: SweepResult = workspace.pipelines.sweep_result(record.run)
    plan, objectives = record.plan, record.plan.objectives
    name = plan.source.rpartition(":")[2]
    tied = result.tied or []
    return {
        "crumbs": [("Pipelines", "/pipelines"), ("Sweeps", "/sweeps"), (f"{name} {record.run[:12]}", None)],
        "here": here,
        "subject": f"run:{record.run}",
        "name": name,
        "run": run,
        "record": record,
        "result": result,
        "plan": plan,
        "objectives": objectives,
        "space": [(each, words_of(dimension)) for each, dimension in plan.space.items()],
        "counts": dict(Counter(str(each.status) for each in result.trials)),
        "winner": None if result.best is None else result.trial(result.best),
        "tied": [result.trial(number) for number in tied],
        "histories": [
            (goal.metric, spec)
            for place, goal in enumerate(objectives)
            if (spec := history(result.trials, objectives, place, result)) is not None
        ],
        "parallel": parallel(result.trials, list(plan.space), plan.space, objectives, result.best),
        "slices": slices(result.trials, plan.space, objectives[0], result),
        "importances": [
            (goal.metric, spec)
            for goal, shares in zip(objectives, result.importances or [result.importance], strict=True)
            if (spec := importance(shares)) is not None
        ],
        "front": pareto(result) if len(objectives) > 1 else None,
        "fronted": sorted(
            (
                (result.trial(number), scores)
                for number, scores in zip(result.front, result.scores, strict=True)
            ),
            key=lambda each: each[1][0].value,
        )[:MOST_TRIALS],
        "whole_grid": plan.sampler == "grid" and len(result.trials) == cells_of(plan.space),
        "trials": ranked(result.trials, objectives[0], result.front)[:MOST_TRIALS],
        "trial_count": len(result.trials),
        "on_front": set(result.front),
        "ties": set(tied),
        "resume": f"everloop sweep {plan.source} --resume {record.run}",
        "command": f"everloop runs show {record.run}",
    }


def words_of(dimension: Dimension) -> str:
    """A range as people say it.

    >>> words_of(Real(1e-4, 0.1, log=True)), words_of(Whole(2, 9)), words_of(Choice(("a", 1)))
    ('0.0001 to 0.1, logarithmic', '2 to 9, whole numbers', 'a, 1')
    """
    match dimension:
        case Choice(values):
            return ", ".join(map(str, values))
        case Whole(low, high, log, step):
            return (
                f"{low} to {high}, whole numbers" + (f" in steps of {step}" if step != 1 else "") + _log(log)
            )
        case Real(low, high, log, step):
            return f"{low:g} to {high:g}" + (f" in steps of {step:g}" if step is not None else "") + _log(log)


def _log(log: bool) -> str:
    return ", logarithmic" if log else ""


def value_of(trial: Trial, objective: int = 0) -> float | None:
    """An objective: its mean, or where a trial was stopped early, the last that it reported."""
    if trial.values:
        return plots.finite(trial.means[objective])
    return plots.finite(trial.reports[-1][1]) if trial.status == "pruned" and trial.reports else None


def ranked(trials: Sequence[Trial], objective: Objective, front: Sequence[int] = ()) -> list[Trial]:
    """Those on the front first, else the best; then what was stopped early, failed or still runs, in the order of the trials."""
    sign = 1 if objective.direction == "minimize" else -1
    on_front = set(front)

    def place(trial: Trial) -> tuple[bool, bool, float, int]:
        over = trial.status == "finished" and bool(trial.values)
        return not over, trial.number not in on_front, sign * trial.means[0] if over else 0.0, trial.number

    return sorted(trials, key=place)


def history(
    trials: Sequence[Trial], objectives: Sequence[Objective], place: int, result: SweepResult
) -> plots.Spec | None:
    """Each trial's value of one objective in the order they were made, and the best until then."""
    over = [each for each in trials if each.status == "finished" and each.values]
    if not over:
        return None
    goal = objectives[place]
    better = min if goal.direction == "minimize" else max
    until: list[list[Any]] = []
    for each in over:
        value = each.means[place]
        until.append([each.number, value if not until else better(until[-1][1], value)])
    series = [
        {"name": "best so far", "key": "best", "points": until, "joined": "step"},
        *_chosen_apart("finished", over, result, objective=place),
        _cloud("stopped early", [each for each in trials if each.status == "pruned" and place == 0]),
    ]
    name = "history" if len(objectives) == 1 else f"history of {goal.metric}"
    return plots.scatter(name, series, x={"name": "Trial"}, y={"name": goal.metric})


def _by_number(trial: Trial) -> Any:
    return trial.number


def _chosen_apart(
    others: str,
    over: Sequence[Trial],
    result: SweepResult,
    place: Callable[[Trial], Any] = _by_number,
    objective: int = 0,
) -> list[plots.Spec]:
    """The trials as one cloud, and the best of them, or those on the front, as another."""
    chosen = {*result.front} if result.best is None else {result.best}
    return [
        _cloud(others, [each for each in over if each.number not in chosen], place, objective),
        _cloud(
            "the best" if result.best is not None else "on the front",
            [each for each in over if each.number in chosen],
            place,
            objective,
        ),
    ]


def _cloud(
    title: str, trials: Sequence[Trial], place: Callable[[Trial], Any] = _by_number, objective: int = 0
) -> plots.Spec:
    """Trials that have a value, at `place` on the x axis."""
    some = [each for each in trials if value_of(each, objective) is not None]
    return plots.cloud(
        title,
        [[place(each), value_of(each, objective)] for each in some],
        [f"trial {each.number}" for each in some],
        [f"/runs/{each.runs[-1]}" if each.runs else "" for each in some],
    )


def parallel(
    trials: Sequence[Trial],
    names: Sequence[str],
    space: dict[str, Dimension],
    objectives: Sequence[Objective],
    best: int | None,
) -> plots.Spec | None:
    """Every finished trial as a line across the parameters to the objectives; the darker, the better. None where there are too
    few to see anything."""
    over = ranked([each for each in trials if each.status == "finished" and each.values], objectives[0])
    if len(over) < 3:
        return None
    axes = [_axis(name, space[name]) for name in names]
    axes += [{"name": each.metric} for each in objectives]
    lines = []
    for place, each in reversed(list(enumerate(over[:MOST_LINES]))):
        values: list[Any] = [_place(each.params.get(name), space[name]) for name in names]
        lines.append(
            {
                "name": f"trial {each.number}",
                "key": f"trial {each.number}",
                "values": [*values, *(plots.finite(mean) for mean in each.means)],
                "shade": 1 - place / max(1, len(over[:MOST_LINES]) - 1),
                "highlight": False,
            }
        )
    return {"kind": "parallel", "name": "parallel", "axes": axes, "lines": lines}


def _axis(name: str, dimension: Dimension) -> dict[str, Any]:
    match dimension:
        case Choice(values):
            return {"name": name, "type": "category", "categories": [str(each) for each in values]}
        case Real(_, _, True, _) | Whole(_, _, True, _):
            return {"name": name, "type": "log"}
    return {"name": name}


def _place(value: Any, dimension: Dimension) -> Any:
    return str(value) if isinstance(dimension, Choice) else value


def slices(
    trials: Sequence[Trial], space: dict[str, Dimension], objective: Objective, result: SweepResult
) -> list[tuple[str, plots.Spec]]:
    """The objective over each parameter alone."""
    over = [each for each in trials if each.status == "finished" and each.values]
    if not over:
        return []
    found = []
    for name, dimension in list(space.items())[:MOST_SLICES]:

        def place(trial: Trial, name: str = name, dimension: Dimension = dimension) -> Any:
            return _place(trial.params.get(name), dimension)

        series = _chosen_apart("trials", over, result, place)
        spec = plots.scatter(name, series, x=_axis(name, dimension), y={"name": objective.metric})
        found.append((name, spec))
    return found


def importance(shares: dict[str, float]) -> plots.Spec | None:
    """How much of the objective's spread each parameter explains, the most important first."""
    if not shares:
        return None
    named = sorted(shares.items(), key=lambda each: -each[1])
    return {
        "kind": "bar",
        "name": "importance",
        "x": {"name": "", "type": "category", "categories": [name for name, _ in named]},
        "y": {"name": "Share of the importance", "zero": True},
        "series": [{"name": "importance", "values": [plots.finite(share) for _, share in named]}],
    }


def pareto(result: SweepResult) -> plots.Spec | None:
    """All trials over the first two objectives, those that no other beats in all of them joined by a line."""
    one, other = result.objectives[:2]
    over = [each for each in result.trials if each.status == "finished" and each.values]
    if not over:
        return None
    front = set(result.front)
    series = [
        _pairs("beaten by another", [each for each in over if each.number not in front]),
        _pairs(
            "Pareto front",
            sorted((each for each in over if each.number in front), key=lambda each: each.means),
        )
        | {"joined": "line"},
    ]
    return plots.scatter("front", series, x={"name": one.metric}, y={"name": other.metric})


def _pairs(title: str, trials: Sequence[Trial]) -> plots.Spec:
    return plots.cloud(
        title,
        [[each.means[0], each.means[1]] for each in trials],
        [f"trial {each.number}" for each in trials],
        [f"/runs/{each.runs[-1]}" if each.runs else "" for each in trials],
    )
