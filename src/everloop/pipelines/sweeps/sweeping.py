"""A sweep from its first trial to its last. Each trial is a run of the pipeline, once for each repeat, below the sweep's own run.

What decides is recorded before it is acted on: a trial's parameters when it begins, its values when it is over. So a sweep that
was killed goes on where it was: a trial that had begun is run again with the same parameters, and finds its finished steps in
the cache.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.domain.runs import FAILED, FINISHED, INTERRUPTED, RUNNING
from everloop.domain.sweeps import Objective, SweepPlan, SweepResult, Trial, checked_plan
from everloop.engine.executors import open_executor
from everloop.errors import InvalidInput, NotFound, nearest
from everloop.pipelines.sweeps.asking import ask, hopeless, require_optuna
from everloop.pipelines.tracked import begin_whole
from everloop.tracking.tracking import Tracking

if TYPE_CHECKING:
    from everloop.pipelines.outcome import PipelineRun
    from everloop.pipelines.pipelines import Pipelines
    from everloop.pipelines.steps import Pipeline

TAG = "everloop.sweep"
"""On a sweep's run: the pipeline it searches for."""


class Sweeping:
    """One sweep at work. `told` hears of each trial when it is over."""

    def __init__(
        self,
        room: Pipelines,
        pipeline: str | Pipeline[..., Any],
        plan: SweepPlan,
        *,
        executor: str,
        experiment: str,
        told: Callable[[Trial], None] | None,
    ) -> None:
        require_optuna()
        self.room, self.pipeline, self.plan = room, pipeline, checked_plan(plan)
        self.executor = open_executor(executor, room.context.settings.engine)
        self.experiment, self.told = experiment, told
        self.tracking = room.context.room(Tracking)

    def run(self, trials: int, name: str, root: Path, resumed_from: str | None = None) -> SweepResult:
        """Make so many trials, those of the sweep that this one goes on with among them."""
        shown = {key: msgspec.to_builtins(each) for key, each in self.plan.space.items()}
        run, _ = begin_whole(
            self.room.context,
            experiment=self.experiment,
            name=f"sweep of {name}",
            source=self.plan.source,
            params={"sampler": self.plan.sampler, "space": shown},
            root=root,
            resumed_from=resumed_from,
            tags={TAG: name},
        )
        status = FAILED
        try:
            self.room.begin_sweep(run.run_id, self.plan, trials, resumed_from)
            status = self._search(run.run_id, trials)
            result = self.room.sweep_result(run.run_id)
            run.log_metrics(_told_by(result))
            return result
        except KeyboardInterrupt:
            status = INTERRUPTED
            raise
        finally:
            self.executor.close()
            run.finish(status)

    def _search(self, sweep: str, trials: int) -> str:
        status = FAILED
        try:
            known = {each.number: each for each in self.room.trials(sweep)}
            for number in range(trials):
                before = known.get(number)
                if before is not None and before.status not in (RUNNING, INTERRUPTED):
                    continue
                over = [each for each in known.values() if each.number < number]
                params = ask(self.plan, over, number) if before is None else before.params
                if params is None:  # a grid that is through
                    break
                trial = Trial(number, params, "running", known=len(over))
                self.room.record_trial(sweep, trial)
                known[number] = self._try(sweep, trial, over)
                self.room.record_trial(sweep, known[number])
                if self.told is not None:
                    self.told(known[number])
            status = FINISHED
        except KeyboardInterrupt:
            status = INTERRUPTED
            raise
        finally:
            self.room.end_sweep(sweep, status)
        return status

    def _try(self, sweep: str, trial: Trial, others: Sequence[Trial]) -> Trial:
        """Run the pipeline with the trial's parameters, once for each repeat."""
        begun = time.perf_counter()
        repeat = self.plan.repeat
        each_time = [{}] if repeat is None else [{repeat.parameter: value} for value in repeat.values]
        watch = _Watch(self, trial, others)
        values: list[list[float]] = [[] for _ in self.plan.objectives]
        runs: list[str] = []
        status, error = FINISHED, ""
        for varied in each_time:
            watch.reports = []
            done = self.room.run(
                self.pipeline,
                {**self.plan.params, **trial.params, **varied},
                executor=self.executor,
                experiment=self.experiment,
                parent=sweep,
                stop=watch if self.plan.pruner != "none" else None,
            )
            runs.append(done.run_id)
            if (
                self.plan.pruner != "none"
            ):  # what later trials are held against, also of one too quick to be watched
                watch.read([step.run for step in done.steps if step.run is not None])
            if watch.stopped:
                status = "pruned"
                break
            if done.status != FINISHED:
                status, error = FAILED, done.error.partition("\n")[0]
                break
            for found, objective in zip(values, self.plan.objectives, strict=True):
                found.append(self._value(done, objective))
        if status == FINISHED and not all(math.isfinite(each) for found in values for each in found):
            status, error = FAILED, "a value of the objective is not finite"
        return msgspec.structs.replace(
            trial,
            status=status,
            values=tuple(map(tuple, values)) if status == FINISHED else (),
            reports=tuple(watch.reports),
            runs=tuple(runs),
            seconds=time.perf_counter() - begun,
            error=error,
        )

    def _value(self, done: PipelineRun, objective: Objective) -> float:
        """What a run came out with: what the pipeline returned, else the metric of the last step that has it."""
        returned = done.value()
        if isinstance(returned, Mapping) and _is_number(returned.get(objective.metric)):
            return float(returned[objective.metric])
        if _is_number(returned) and len(self.plan.objectives) == 1:
            return float(returned)
        known: set[str] = set(map(str, returned)) if isinstance(returned, Mapping) else set()
        for step in reversed(done.steps):
            if step.run is not None:
                metrics = self.tracking.run(step.run).metrics
                if objective.metric in metrics:
                    return float(metrics[objective.metric])
                known |= metrics.keys()
        raise InvalidInput(
            f"the pipeline neither returns nor logs '{objective.metric}'",
            hint=nearest(objective.metric, known) or f"it has: {', '.join(sorted(known)) or 'no metrics'}",
        )


class _Watch:
    """Looks at what the running steps of a trial report, and says when the trial is hopeless."""

    def __init__(self, sweeping: Sweeping, trial: Trial, others: Sequence[Trial]) -> None:
        self._sweeping, self._trial, self._others = sweeping, trial, others
        self.reports: list[tuple[int, float]] = []
        self.stopped = False

    def __call__(self, running: Sequence[str]) -> str:
        """Why the pipeline's run should stop, or nothing. `running`: the runs of its steps that are at work."""
        self.read(running)
        trial = msgspec.structs.replace(self._trial, reports=tuple(self.reports))
        self.stopped = hopeless(self._sweeping.plan, self._others, trial)
        if not self.stopped:
            return ""
        metric = self._sweeping.plan.objectives[0].metric
        step, value = self.reports[-1]
        return f"stopped early: {metric} was {value:.6g} at step {step}, and other trials were better by then"

    def read(self, runs: Sequence[str]) -> None:
        """Take in what these runs of steps have reported of the first objective."""
        from everloop.tracking.frames import history_table

        metric = self._sweeping.plan.objectives[0].metric
        for run in runs:
            try:
                points = history_table(self._sweeping.tracking.history(run, metric))
            except NotFound:  # its worker has not begun it yet
                continue
            found = list(zip(points["step"].to_pylist(), points["value"].to_pylist(), strict=True))
            if len(found) > len(self.reports):
                self.reports = [(step, value) for step, value in found if math.isfinite(value)]


def _told_by(result: SweepResult) -> dict[str, float]:
    """What a sweep's own run shows."""
    counts = {"trials": len(result.trials), "trials.pruned": sum(t.status == "pruned" for t in result.trials)}
    if result.score is None:
        return {name: float(count) for name, count in counts.items()}
    return {name: float(count) for name, count in counts.items()} | {
        f"best.{result.objectives[0].metric}": result.score.value
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
