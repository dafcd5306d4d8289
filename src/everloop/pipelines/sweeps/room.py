"""The part of the pipelines room that is about sweeps: making one, and what the ledger knows of them."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec
import sqlalchemy as sa

from everloop.domain.runs import INTERRUPTED, RUNNING
from everloop.domain.sweeps import (
    Dimension,
    Objective,
    Repeat,
    SweepPlan,
    SweepRecord,
    SweepResult,
    Trial,
    checked_plan,
)
from everloop.errors import Conflict, InvalidInput, NotFound
from everloop.governance.identity import Permission
from everloop.governance.operations import operation
from everloop.governance.rooms import Room
from everloop.pipelines.sweeps.scoring import best_of, front_of, perhaps_on_front, score_of, tied_with
from everloop.store.ledger import Reader
from everloop.store.schema.sweeps import sweep_trials, sweeps
from everloop.tracking.starting import RESUME
from everloop.tracking.tracking import Tracking

if TYPE_CHECKING:
    from everloop.pipelines.pipelines import Pipelines
    from everloop.pipelines.steps import Pipeline


class Sweeps(Room):
    """Searches over the parameters of pipelines, and their trials."""

    name = "pipelines"

    # Where the caller is

    def sweep(
        self,
        pipeline: "str | Pipeline[..., Any]",
        space: Mapping[str, Dimension],
        *,
        trials: int,
        objective: str | Objective | Sequence[Objective],
        params: Mapping[str, Any] | None = None,
        sampler: str = "",
        pruner: str = "none",
        seed: int = 0,
        repeat: Repeat | None = None,
        executor: str = "",
        jobs: int = 1,
        experiment: str = "",
        told: Callable[[Trial], None] | None = None,
        on_begin: Callable[[str], None] | None = None,
        budget: float | None = None,
    ) -> SweepResult:
        """Search for the parameters with which a pipeline comes out best; each trial is a run of it.

        objective: a metric that is to be small, or `Objective`s; the value is what the pipeline returns (a number, or a mapping
        that has the metric), else the metric that its last step with it has logged. params: parameters that stay the same.
        sampler: ``tpe`` (one objective), ``random``, ``grid``, ``cmaes``, ``nsga2`` (several). pruner: ``median``, ``halving``,
        ``hyperband``: a trial whose reports of the metric, logged with steps, say that it is hopeless is stopped. repeat: each
        trial is run once for each of these values, seeds or folds. jobs: how many trials run at a time, each in a process
        of its own. `on_begin` is told the sweep's run once it is recorded; `told` hears of each trial when it is over. budget:
        seconds after which no trial is begun; those at work come to their end.
        """
        from everloop.pipelines.locating import find_pipeline

        _, source = find_pipeline(pipeline, self.context.project)
        wanted = _objectives(objective)
        plan = SweepPlan(
            source=source,
            space=dict(
                sorted(space.items())
            ),  # the order in which the ledger gives it back: Optuna draws in order
            objectives=wanted,
            params=dict(params or {}),
            sampler=sampler or ("tpe" if len(wanted) == 1 else "nsga2"),
            pruner=pruner,
            seed=seed,
            repeat=repeat,
        )
        return self._sweep(pipeline, plan, trials, executor, jobs, experiment, told, on_begin, budget=budget)

    def resume_sweep(
        self,
        run: str,
        *,
        trials: int | None = None,
        executor: str = "",
        jobs: int = 1,
        told: Callable[[Trial], None] | None = None,
        on_begin: Callable[[str], None] | None = None,
        budget: float | None = None,
    ) -> SweepResult:
        """Go on with a sweep that was stopped, or make more trials of one that is over. `trials`: how many in all; as many as it
        was begun with by default. `budget`: seconds from now, as for `sweep`."""
        tracking = self.context.room(Tracking)
        sweep = tracking.resolve(run)
        record, before = self.sweep_record(sweep), tracking.run(sweep)
        if before.status == RUNNING:
            raise Conflict(f"run:{sweep} is running", hint="wait for it, or stop it first")
        source = record.plan.source
        return self._sweep(
            source,
            record.plan,
            trials or record.trials,
            executor,
            jobs,
            before.experiment,
            told,
            on_begin,
            sweep,
            budget,
        )

    def _sweep(
        self,
        pipeline: "str | Pipeline[..., Any]",
        plan: SweepPlan,
        trials: int,
        executor: str,
        jobs: int,
        experiment: str,
        told: Callable[[Trial], None] | None,
        on_begin: Callable[[str], None] | None,
        resumed_from: str | None = None,
        budget: float | None = None,
    ) -> SweepResult:
        from everloop.pipelines.locating import find_pipeline, project_of
        from everloop.pipelines.sweeps.sweeping import Sweeping

        if trials < 1:
            raise InvalidInput(f"{trials} trials are no sweep", hint="ask for 1 or more")
        declared, _ = find_pipeline(pipeline, self.context.project)
        named = {*plan.space, *plan.params} | ({plan.repeat.parameter} if plan.repeat else set())
        declared.arguments(dict.fromkeys(named))
        sweeping = Sweeping(
            cast("Pipelines", self),
            declared,
            plan,
            executor=executor or self.context.settings.executor,
            jobs=jobs,
            experiment=experiment or declared.name,
            told=told,
            on_begin=on_begin,
            budget=budget,
        )
        root = project_of(declared, self.context.project)
        return sweeping.run(trials, declared.name, root, resumed_from or self._asked_to_go_on())

    def _asked_to_go_on(self) -> str | None:
        """The sweep that this process was started again to go on with (``everloop resume``)."""
        asked = os.environ.get(RESUME)
        if not asked:
            return None
        try:
            self.sweep_record(asked)
        except NotFound:  # it is meant for a run that this process starts later
            return None
        return os.environ.pop(RESUME)

    # Operations

    @operation(Permission.WRITE)
    def begin_sweep(
        self, run: str, plan: SweepPlan, trials: int, resumed_from: str | None = None
    ) -> SweepRecord:
        """A sweep begins; `run` is its tracking run. One that goes on with another begins with the trials of that one."""
        checked_plan(plan)
        if trials < 1:
            raise InvalidInput(f"{trials} trials are no sweep", hint="ask for 1 or more")
        with self.change() as tx:
            row = {"run": run, "plan": plan, "trials": trials, "status": RUNNING, "started": tx.now}
            tx.execute(sa.insert(sweeps), row)
            if resumed_from is not None:
                if _sweep(tx, resumed_from).plan != plan:
                    raise Conflict("the sweep was begun with another plan", hint="begin a new one")
                of_before = sweep_trials.c.run == resumed_from
                for each in tx.all(sa.select(sweep_trials).where(of_before)):
                    kept = {"number": each.number, "status": each.status, "trial": each.trial}
                    tx.execute(sa.insert(sweep_trials), {"run": run} | kept)
            facts = {"source": plan.source, "trials": trials, "resumed_from": resumed_from}
            tx.event("sweep.started", f"run:{run}", facts)
            return _sweep(tx, run)

    @operation(Permission.WRITE)
    def record_trial(self, run: str, trial: Trial) -> None:
        """Keep a trial as it is now: when it begins, and when it is over."""
        with self.change() as tx:
            _sweep(tx, run)
            row = {"run": run, "number": trial.number, "status": trial.status, "trial": trial}
            of_trial = (sweep_trials.c.run == run) & (sweep_trials.c.number == trial.number)
            if tx.insert_new(sweep_trials, row):
                return
            tx.execute(sa.update(sweep_trials).where(of_trial).values(status=trial.status, trial=trial))
            if trial.status != RUNNING:
                facts = {"number": trial.number, "status": trial.status, "params": trial.params}
                tx.event("sweep.trial", f"run:{run}", facts)

    @operation(Permission.WRITE)
    def end_sweep(self, run: str, status: str) -> None:
        """A sweep is over: finished, failed or interrupted. Trials that had not ended are interrupted."""
        with self.change() as tx:
            _sweep(tx, run)
            tx.execute(sa.update(sweeps).where(sweeps.c.run == run).values(status=status))
            open_ones = (sweep_trials.c.run == run) & (sweep_trials.c.status == RUNNING)
            for row in tx.all(sa.select(sweep_trials).where(open_ones)):
                trial = msgspec.structs.replace(_trial(row), status=INTERRUPTED)
                tx.execute(
                    sa.update(sweep_trials)
                    .where((sweep_trials.c.run == run) & (sweep_trials.c.number == row.number))
                    .values(status=INTERRUPTED, trial=trial)
                )
            tx.event(f"sweep.{status}", f"run:{run}", {})

    @operation(Permission.READ)
    def sweep_record(self, run: str) -> SweepRecord:
        """A sweep by its tracking run."""
        with self.look() as look:
            return _sweep(look, run)

    @operation(Permission.READ)
    def sweeps(self, limit: int = 100) -> list[SweepRecord]:
        """Sweeps, the newest first."""
        with self.look() as look:
            rows = look.all(sa.select(sweeps).order_by(sweeps.c.run.desc()).limit(limit))
        return [_record(row) for row in rows]

    @operation(Permission.READ)
    def trials(self, run: str) -> list[Trial]:
        """The trials of a sweep, in their order."""
        with self.look() as look:
            rows = look.all(
                sa.select(sweep_trials).where(sweep_trials.c.run == run).order_by(sweep_trials.c.number)
            )
        return [_trial(row) for row in rows]

    def sweep_result(self, run: str) -> SweepResult:
        """What a sweep has found until now: the best trial or, for several objectives, the front; those tied with it; what
        mattered."""
        record = self.sweep_record(run)
        status = record.status if record.status != RUNNING else self.context.room(Tracking).run(run).status
        trials = self.trials(run)
        wanted = record.plan.objectives
        overlap = 0.0 if record.plan.repeat is None else record.plan.repeat.overlap
        importances = [_importance(record.plan, trials, place) for place in range(len(wanted))]
        found = SweepResult(
            run=run,
            status=status,
            objectives=wanted,
            trials=trials,
            best=None,
            importance=importances[0],
            seconds=sum(each.seconds for each in trials),
        )
        if len(wanted) == 1:
            best = best_of(trials, wanted[0])
            if best is None:
                return found
            tied = tied_with(best, trials, wanted[0], overlap)
            score = score_of(best, overlap=overlap)
            return msgspec.structs.replace(found, best=best.number, score=score, tied=tied)
        front = front_of(trials, wanted)
        scores = [
            [score_of(found.trial(each), place, overlap) for place in range(len(wanted))] for each in front
        ]
        tied = perhaps_on_front(trials, wanted, overlap)
        return msgspec.structs.replace(found, front=front, scores=scores, tied=tied, importances=importances)


def _objectives(given: str | Objective | Sequence[Objective]) -> tuple[Objective, ...]:
    if isinstance(given, str):
        return (Objective(given),)
    return (given,) if isinstance(given, Objective) else tuple(given)


def _importance(plan: SweepPlan, trials: list[Trial], objective: int) -> dict[str, float]:
    """Empty where Optuna is not installed: who reads a sweep need not be able to make one."""
    from everloop.pipelines.sweeps.asking import importance

    try:
        return importance(plan, trials, objective)
    except ImportError:
        return {}


def _sweep(look: Reader, run: str) -> SweepRecord:
    row = look.first(sa.select(sweeps).where(sweeps.c.run == run))
    if row is None:
        raise NotFound(f"run:{run} is no sweep", hint="see: everloop runs list")
    return _record(row)


def _record(row: "sa.Row[tuple[object, ...]]") -> SweepRecord:
    return SweepRecord(
        run=row.run,
        plan=msgspec.convert(row.plan, SweepPlan),
        trials=row.trials,
        status=row.status,
        started=row.started,
    )


def _trial(row: "sa.Row[tuple[object, ...]]") -> Trial:
    return msgspec.convert(row.trial, Trial)
