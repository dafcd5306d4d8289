"""A sweep from its first trial to its last. Each trial is a run of the pipeline, once for each repeat, below the sweep's own run.

What decides is recorded before it is acted on: a trial's parameters when it begins, its values when it is over. So a sweep that
was killed goes on where it was: a trial that had begun is run again with the same parameters, and finds its finished steps in
the cache. Trials that run beside each other are recorded with those that were running when they were asked for, so what each was
chosen on is known although it depends on how long others took.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.domain.runs import FAILED, FINISHED, INTERRUPTED, RUNNING
from everloop.domain.sweeps import SweepPlan, SweepResult, Trial, checked_plan
from everloop.engine.executors import open_executor
from everloop.errors import InvalidInput
from everloop.pipelines.sweeps.asking import ask, require_optuna
from everloop.pipelines.sweeps.runners import OneByOne, Runner, SideBySide
from everloop.pipelines.sweeps.trying import TrialTask, Trying, over
from everloop.pipelines.tracked import begin_whole

if TYPE_CHECKING:
    from everloop.pipelines.pipelines import Pipelines
    from everloop.pipelines.steps import Pipeline

TAG = "everloop.sweep"
"""On a sweep's run: the pipeline it searches for."""
BUDGET_TAG = "everloop.sweep.budget"


class Sweeping:
    """One sweep at work. `on_begin` is told its run once it is recorded, `told` of each trial when it is over. `budget`: seconds
    after which no trial is begun any more."""

    def __init__(
        self,
        room: Pipelines,
        pipeline: str | Pipeline[..., Any],
        plan: SweepPlan,
        *,
        executor: str,
        jobs: int,
        experiment: str,
        told: Callable[[Trial], None] | None,
        on_begin: Callable[[str], None] | None = None,
        budget: float | None = None,
    ) -> None:
        require_optuna()
        self.room, self.pipeline, self.plan = room, pipeline, checked_plan(plan)
        self.executor, self.jobs, self.experiment, self.told = executor, jobs, experiment, told
        self.on_begin, self.budget = on_begin, budget
        if budget is not None and budget <= 0:
            raise InvalidInput(f"a budget of {budget:g} seconds is no time", hint="write --budget 30min")
        open_executor(executor, room.context.settings.engine).close()  # a wrong name is told now
        if jobs < 1:
            raise InvalidInput(f"{jobs} trials cannot run at a time", hint="give 1, 2, …")
        if jobs > 1 and not plan.source:
            raise InvalidInput(
                "trials run beside each other in processes, which cannot import a pipeline that is in no file",
                hint="move it to the top level of a file, or leave --jobs out",
            )

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
            tags={TAG: name} | ({} if self.budget is None else {BUDGET_TAG: f"{self.budget:g} s"}),
        )
        status = FAILED
        try:
            self.room.begin_sweep(run.run_id, self.plan, trials, resumed_from)
            if self.on_begin is not None:
                self.on_begin(run.run_id)
            status = self._search(run.run_id, trials)
            result = self.room.sweep_result(run.run_id)
            run.log_metrics(_told_by(result))
            return result
        except KeyboardInterrupt:
            status = INTERRUPTED
            raise
        finally:
            run.finish(status)

    def _search(self, sweep: str, trials: int) -> str:
        status = FAILED
        begun = time.monotonic()
        try:
            known = {each.number: each for each in self.room.trials(sweep)}
            with self._runner(sweep, known) as runner:
                for number in range(trials):
                    before = known.get(number)
                    if before is not None and before.status not in (RUNNING, INTERRUPTED):
                        continue
                    for done in runner.make_room():
                        self._is_over(sweep, known, done)
                    if self.room.asked_to_stop(sweep) or self._is_late(begun):
                        break
                    trial = before or self._ask(known, number)
                    if trial is None:  # a grid that is through
                        break
                    known[number] = msgspec.structs.replace(trial, status="running")
                    self.room.record_trial(sweep, known[number])
                    runner.begin(known[number])
                for done in runner.rest():
                    self._is_over(sweep, known, done)
            status = INTERRUPTED if self.room.asked_to_stop(sweep) else FINISHED
        except KeyboardInterrupt:
            status = INTERRUPTED
            raise
        finally:
            self.room.end_sweep(sweep, status)
        return status

    def _is_late(self, begun: float) -> bool:
        return self.budget is not None and time.monotonic() - begun > self.budget

    def _ask(self, known: Mapping[int, Trial], number: int) -> Trial | None:
        """The next trial, and what it was chosen on: all that are over, and which ones were still running."""
        earlier = [each for each in known.values() if each.number < number]
        params = ask(self.plan, earlier, number)
        if params is None:
            return None
        running = tuple(sorted(each.number for each in earlier if each.status == RUNNING))
        return Trial(number, params, "running", known=len(earlier) - len(running), running=running)

    def _is_over(self, sweep: str, known: dict[int, Trial], trial: Trial) -> None:
        known[trial.number] = trial
        self.room.record_trial(sweep, trial)
        if self.told is not None:
            self.told(trial)

    def _runner(self, sweep: str, known: Mapping[int, Trial]) -> AbstractContextManager[Runner]:
        if self.jobs == 1:
            executor = open_executor(self.executor, self.room.context.settings.engine)
            trying = Trying(
                self.room,
                self.pipeline,
                self.plan,
                executor,
                self.experiment,
                lambda: over([*known.values()]),
            )
            return OneByOne(trying, sweep)
        template = TrialTask(
            location=self.room.context.location,
            path=list(sys.path),
            executor=self.executor,
            cpus=max(1, (os.cpu_count() or 1) // self.jobs),
            experiment=self.experiment,
            sweep=sweep,
            plan=self.plan,
            trial=Trial(0, {}, "running"),
        )
        return SideBySide(template, self.jobs)


def _told_by(result: SweepResult) -> dict[str, float]:
    """What a sweep's own run shows."""
    counts = {"trials": len(result.trials), "trials.pruned": sum(t.status == "pruned" for t in result.trials)}
    if result.front:
        counts["front"] = len(result.front)
    if result.score is None:
        return {name: float(count) for name, count in counts.items()}
    return {name: float(count) for name, count in counts.items()} | {
        f"best.{result.objectives[0].metric}": result.score.value
    }
