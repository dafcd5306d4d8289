"""One trial: the pipeline run with its parameters, once for each repeat, watched while it runs.

The same in the process of the sweep and, when trials run beside each other, in one of its own (`python -m` this module).
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.domain.runs import FAILED, FINISHED, INTERRUPTED, RUNNING
from everloop.domain.sweeps import Objective, SweepPlan, Trial
from everloop.engine.contract import Executor
from everloop.engine.executors import open_executor
from everloop.engine.processes import ProcessExecutor
from everloop.errors import EverloopError, InvalidInput, NotFound, nearest
from everloop.pipelines.rebuild import opened
from everloop.pipelines.sweeps.asking import hopeless, require_optuna
from everloop.tracking.tracking import Tracking

if TYPE_CHECKING:
    from everloop.pipelines.outcome import PipelineRun
    from everloop.pipelines.pipelines import Pipelines
    from everloop.pipelines.steps import Pipeline


class TrialTask(msgspec.Struct, frozen=True):
    """What the process of a trial is told. `cpus`: its share of the machine; `path`: the import path of the sweep's process."""

    location: str
    path: list[str]
    executor: str
    cpus: int
    experiment: str
    sweep: str
    plan: SweepPlan
    trial: Trial


class TrialAnswer(msgspec.Struct, frozen=True):
    """What it answers: the trial as it came out, or why the sweep cannot go on."""

    trial: Trial | None = None
    message: str = ""
    hint: str = ""


class Trying:
    """Runs trials of one plan. `others`: the trials that are over, asked for when a running one is held against them."""

    def __init__(
        self,
        room: Pipelines,
        pipeline: str | Pipeline[..., Any],
        plan: SweepPlan,
        executor: Executor,
        experiment: str,
        others: Callable[[], Sequence[Trial]],
    ) -> None:
        self.room, self.pipeline, self.plan, self.executor = room, pipeline, plan, executor
        self.experiment, self.others = experiment, others
        self.tracking = room.context.room(Tracking)

    def run(self, sweep: str, trial: Trial) -> Trial:
        """Run the pipeline with the trial's parameters, once for each repeat."""
        begun = time.perf_counter()
        repeat = self.plan.repeat
        each_time = [{}] if repeat is None else [{repeat.parameter: value} for value in repeat.values]
        watch = _Watch(self, sweep, trial)
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
                stop=watch,
            )
            runs.append(done.run_id)
            if (
                self.plan.pruner != "none"
            ):  # what later trials are held against, also of one too quick to be watched
                watch.read([step.run for step in done.steps if step.run is not None])
            if watch.stopped or watch.cancelled:
                status = "pruned" if watch.stopped else INTERRUPTED
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
    """Looks at what the running steps of a trial report, and says when the trial is hopeless or its sweep is to stop."""

    def __init__(self, trying: Trying, sweep: str, trial: Trial) -> None:
        self._trying, self._sweep, self._trial = trying, sweep, trial
        self.reports: list[tuple[int, float]] = []
        self.stopped = self.cancelled = False

    def __call__(self, running: Sequence[str]) -> str:
        """Why the pipeline's run should stop, or nothing. `running`: the runs of its steps that are at work."""
        reason = self._trying.room.asked_to_stop(self._sweep)
        self.cancelled = bool(reason)
        if reason or self._trying.plan.pruner == "none":
            return reason
        self.read(running)
        trial = msgspec.structs.replace(self._trial, reports=tuple(self.reports))
        self.stopped = hopeless(self._trying.plan, self._trying.others(), trial)
        if not self.stopped:
            return ""
        metric = self._trying.plan.objectives[0].metric
        step, value = self.reports[-1]
        return f"stopped early: {metric} was {value:.6g} at step {step}, and other trials were better by then"

    def read(self, runs: Sequence[str]) -> None:
        """Take in what these runs of steps have reported of the first objective."""
        from everloop.tracking.frames import history_table

        metric = self._trying.plan.objectives[0].metric
        for run in runs:
            try:
                points = history_table(self._trying.tracking.history(run, metric))
            except NotFound:  # its worker has not begun it yet
                continue
            found = list(zip(points["step"].to_pylist(), points["value"].to_pylist(), strict=True))
            if len(found) > len(self.reports):
                self.reports = [(step, value) for step, value in found if math.isfinite(value)]


def over(trials: Sequence[Trial]) -> list[Trial]:
    """Those that have come to an end of their own."""
    return [each for each in trials if each.status not in (RUNNING, INTERRUPTED)]


def run_task(task: TrialTask) -> TrialAnswer:
    """Run a trial in this process, on the workspace that the task names."""
    from everloop.pipelines.pipelines import Pipelines

    require_optuna()
    sys.path[:] = [*sys.path, *(each for each in task.path if each not in sys.path)]
    context = opened(task.location)
    room = context.room(Pipelines)
    executor: Executor = (
        ProcessExecutor(task.cpus)
        if task.executor == "local"
        else open_executor(task.executor, context.settings.engine)
    )

    def others() -> list[Trial]:
        return [each for each in over(room.trials(task.sweep)) if each.number != task.trial.number]

    try:
        trying = Trying(room, task.plan.source, task.plan, executor, task.experiment, others)
        return TrialAnswer(trying.run(task.sweep, task.trial))
    except EverloopError as error:
        return TrialAnswer(None, error.message, error.hint)
    finally:
        executor.close()


def main(answer: str) -> None:
    """Run the trial that standard input names; what came of it is written to a file. Ends when standard input does, which is when
    the sweep's process does."""
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=TrialTask)
    threading.Thread(target=_end_with_the_sweep, daemon=True).start()
    said = msgspec.json.encode(run_task(task))
    beside = Path(f"{answer}.part")
    beside.write_bytes(said)
    beside.replace(answer)


def _end_with_the_sweep() -> None:
    os.read(
        sys.stdin.fileno(), 1
    )  # not through sys.stdin, whose lock this thread would hold when Python shuts down
    os._exit(1)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        sys.exit(130)
