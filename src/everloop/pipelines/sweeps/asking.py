"""Which parameters to try next: Optuna, asked anew each time with the trials that the ledger knows.

The sampler's seed is made of the sweep's and the trial's number, so what it suggests depends on what is known and not on which
process asks, and a sweep that goes on after a kill asks as one that was never stopped.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.domain.sweeps import Choice, Real, Scalar, SweepPlan, Trial, Whole, grid_values
from everloop.errors import InvalidInput

if TYPE_CHECKING:
    import optuna

FEWEST_FOR_IMPORTANCE = 10
"""Trials below which the importance of parameters is not stated."""


def ask(plan: SweepPlan, trials: Sequence[Trial], number: int) -> dict[str, Scalar] | None:
    """The parameters of trial `number`, given the others; None when a grid is through."""
    if plan.sampler == "grid":
        return _cell(plan, number)
    study = _study(plan, trials, number)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of Optuna about its own experimental parts; nothing a user could act on
        asked = study.ask(_distributions(plan))
    return {name: asked.params[name] for name in plan.space}


def hopeless(plan: SweepPlan, trials: Sequence[Trial], trial: Trial) -> bool:
    """Whether a running trial may be stopped: what it reported until now against what others had reported by then."""
    if plan.pruner == "none" or not trial.reports:
        return False
    study = _study(plan, [each for each in trials if each.number != trial.number], trial.number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study.enqueue_trial(trial.params)
        asked = study.ask(_distributions(plan))
        for step, value in trial.reports:
            asked.report(value, step)
        return asked.should_prune()


def importance(plan: SweepPlan, trials: Sequence[Trial], objective: int = 0) -> dict[str, float]:
    """How much each parameter matters for one objective, by PED-ANOVA (Watanabe, Bansal and Hutter 2023), adding up to 1; the
    most important first. Empty with too few trials, or where all came out alike."""
    import optuna

    done = [each for each in trials if each.status == "finished" and each.values]
    if len(done) < FEWEST_FOR_IMPORTANCE or len({each.means[objective] for each in done}) < 2:
        return {}
    one = SweepPlan(plan.source, plan.space, (plan.objectives[objective],))
    alone = [msgspec.structs.replace(each, values=(each.values[objective],)) for each in done]
    study = optuna.create_study(direction=one.objectives[0].direction)
    study.add_trials([_frozen(one, each) for each in alone])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(value) for name, value in sorted(found.items(), key=lambda each: -each[1])}


def require_optuna() -> None:
    """Raise InvalidInput when the extra is not installed."""
    try:
        import optuna
    except ImportError:
        raise InvalidInput("a sweep needs Optuna", hint="pip install 'everloop[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _cell(plan: SweepPlan, number: int) -> dict[str, Scalar] | None:
    """A cell of the grid, the last parameter moving fastest."""
    axes = {name: grid_values(each) or () for name, each in plan.space.items()}
    cell: dict[str, Scalar] = {}
    for name, values in reversed(axes.items()):
        number, place = divmod(number, len(values))
        cell[name] = values[place]
    return {name: cell[name] for name in axes} if number == 0 else None


def _study(plan: SweepPlan, trials: Sequence[Trial], number: int) -> optuna.Study:
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(
            directions=[each.direction for each in plan.objectives],
            sampler=_sampler(plan, number),
            pruner=_pruner(plan),
        )
    study.add_trials([_frozen(plan, each) for each in trials if each.number != number])
    return study


def _sampler(plan: SweepPlan, number: int) -> optuna.samplers.BaseSampler:
    import optuna

    seed = int.from_bytes(hashlib.sha256(f"{plan.seed}/{number}".encode()).digest()[:4], "big")
    match plan.sampler:
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)
        case "cmaes":
            return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
        case "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed)
        case _:
            return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


def _pruner(plan: SweepPlan) -> optuna.pruners.BasePruner:
    import optuna

    match plan.pruner:
        case "median":
            return optuna.pruners.MedianPruner()
        case "halving":
            return optuna.pruners.SuccessiveHalvingPruner()
        case "hyperband":
            return optuna.pruners.HyperbandPruner()
        case _:
            return optuna.pruners.NopPruner()


def _distributions(plan: SweepPlan) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, Any] = {}
    for name, each in plan.space.items():
        match each:
            case Choice(values):
                found[name] = CategoricalDistribution(values)
            case Whole(low, high, log, step):
                found[name] = IntDistribution(low, high, log=log, step=step)
            case Real(low, high, log, step):
                found[name] = FloatDistribution(low, high, log=log, step=step)
    return found


def _frozen(plan: SweepPlan, trial: Trial) -> optuna.trial.FrozenTrial:
    """A trial as Optuna holds it. One that was interrupted says as little as one that failed."""
    import optuna

    states = {
        "finished": optuna.trial.TrialState.COMPLETE,
        "pruned": optuna.trial.TrialState.PRUNED,
        "running": optuna.trial.TrialState.RUNNING,
    }
    state = states.get(trial.status, optuna.trial.TrialState.FAIL)
    values = None
    if state == optuna.trial.TrialState.COMPLETE:
        values = list(trial.means[: len(plan.objectives)])
    elif state == optuna.trial.TrialState.PRUNED and trial.reports:
        values = [trial.reports[-1][1]]
    return optuna.trial.create_trial(
        params=trial.params,
        distributions=_distributions(plan),
        values=values,
        state=state,
        intermediate_values=dict(trial.reports),
    )
