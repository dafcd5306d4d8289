"""One firing: its pipeline is run, its model retrained or its sweep made, while a thread says that this process lives.

This is where user code runs: in a process of its own (`everloop.client.firing`), never in the server's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.domain.firings import FiringStatus
from everloop.domain.runs import FAILED, FINISHED, INTERRUPTED
from everloop.domain.triggers import PipelineTrigger
from everloop.errors import Conflict, EverloopError, NotFound
from everloop.loop.records import Status
from everloop.loop.triggers.records import Firing
from everloop.pipelines.locating import find_pipeline
from everloop.pipelines.pipelines import Pipelines
from everloop.pipelines.sweeps.spaces import read_space
from everloop.pipelines.tracked import texts
from everloop.tracking.tracking import Tracking

if TYPE_CHECKING:
    from everloop.domain.sweeps import SweepResult
    from everloop.loop.loop import Loop

RENEW_SECONDS = 5.0


class Came(msgspec.Struct, frozen=True):
    """What came of a firing."""

    status: FiringStatus
    reason: str = ""
    run: str = ""


class Hold:
    """A firing that this process has. `stopping`: why it is to stop, once it is; `on_stop` is told its run then, once."""

    def __init__(self, renew: Callable[[str], str]) -> None:
        self._renew = renew
        self._run = ""
        self.stopping = ""
        self.on_stop: Callable[[str], object] | None = None

    def began(self, run: str) -> None:
        """The firing's run is there."""
        self._run = run
        self.renew()

    def renew(self) -> None:
        """Say that the firing is being carried out. One that somebody else has meanwhile is to stop."""
        try:
            self.stopping = self._renew(self._run) or self.stopping
        except Conflict as lost:
            self.stopping = lost.message
        except EverloopError:  # the ledger is away for a moment: the next sign of life says it, too
            return
        if self.stopping and self._run and self.on_stop is not None:
            try:
                self.on_stop(self._run)
            except Conflict:  # it has come to its end meanwhile
                pass
            except EverloopError:
                return
            self.on_stop = None


def carry_out(loop: Loop, firing: Firing) -> Came:
    """Do what a firing is for. What fails is an outcome, not an exception; only an interruption goes through."""
    with held(lambda run: loop.renew_firing(firing=firing.id, attempt=firing.attempts, run=run)) as hold:
        try:
            declared = loop.trigger(firing.trigger).declaration
            if declared.retrain:
                return _retrained(loop, firing, declared)
            if declared.sweep:
                return _swept(loop, firing, declared, hold)
            return _run(loop, firing, declared, hold)
        except EverloopError as error:
            return Came(FiringStatus.FAILED, error.message + (f" ({error.hint})" if error.hint else ""))
        except Exception as error:  # noqa: BLE001  (the user's code may raise anything at all, and it is told)
            return Came(FiringStatus.FAILED, f"{type(error).__name__}: {error}")


@contextmanager
def held(renew: Callable[[str], str]) -> Iterator[Hold]:
    """Within the block, a thread says every few seconds that this process has the firing."""
    hold, over = Hold(renew), threading.Event()

    def beat() -> None:
        while not over.wait(RENEW_SECONDS):
            hold.renew()

    thread = threading.Thread(target=beat, name="everloop-firing", daemon=True)
    thread.start()
    try:
        yield hold
    finally:
        over.set()
        thread.join()


def _run(loop: Loop, firing: Firing, declared: PipelineTrigger, hold: Hold) -> Came:
    pipelines = loop.context.room(Pipelines)
    before = _before(loop, firing)
    if before == FINISHED:  # only the report was lost
        return Came(FiringStatus.FINISHED, run=firing.run or "")
    done = pipelines.run(
        declared.pipeline,
        firing.params,
        executor=declared.executor,
        resumed_from=_to_go_on_with(loop, firing, declared) if before else None,
        on_begin=hold.began,
        stop=lambda _: hold.stopping,
    )
    if hold.stopping:
        return Came(FiringStatus.REPLACED, hold.stopping, done.reference)
    lines = [line for line in done.error.strip().splitlines() if line.strip()]
    reason = "" if done.status == FINISHED else (lines[-1] if lines else f"the pipeline {done.status}")
    status = {FINISHED: FiringStatus.FINISHED, FAILED: FiringStatus.FAILED}
    return Came(status.get(done.status, FiringStatus.INTERRUPTED), reason, done.reference)


def _to_go_on_with(loop: Loop, firing: Firing, declared: PipelineTrigger) -> str | None:
    """The run of an earlier attempt, unless the pipeline would be called with other parameters now (a default was edited, the
    trigger declared anew): a run keeps those it was begun with. What its steps finished is known all the same."""
    if firing.run is None:
        return None
    pipeline, _ = find_pipeline(declared.pipeline, loop.context.project)
    run = firing.run.removeprefix("run:")
    now = texts(pipeline.arguments(firing.params))
    return run if loop.context.room(Tracking).run(run).params == now else None


def _swept(loop: Loop, firing: Firing, declared: PipelineTrigger, hold: Hold) -> Came:
    """A sweep through the space as its file declares it now; one that a process before this one left goes on."""
    pipelines = loop.context.room(Pipelines)
    before = _before(loop, firing)
    if before == FINISHED:  # only the report was lost
        return Came(FiringStatus.FINISHED, run=firing.run or "")
    hold.on_stop = pipelines.cancel  # its trials hear of it, in whichever processes they are
    file = read_space(loop.context.project / declared.space)
    options: dict[str, Any] = {"executor": declared.executor, "jobs": declared.jobs}
    options |= {"on_begin": hold.began, "budget": file.budget}
    if before and firing.run:
        found = pipelines.resume_sweep(firing.run, trials=declared.trials, **options)
    else:
        found = pipelines.sweep(
            declared.sweep,
            file.space,
            trials=declared.trials,
            objective=file.objectives,
            params=firing.params,
            sampler=file.sampler,
            pruner=file.pruner,
            seed=file.seed,
            repeat=file.repeat,
            **options,
        )
    run = f"run:{found.run}"
    if hold.stopping:
        return Came(FiringStatus.REPLACED, hold.stopping, run)
    if found.status == INTERRUPTED:
        return Came(FiringStatus.INTERRUPTED, pipelines.asked_to_stop(found.run), run)
    if not found.found:
        return Came(FiringStatus.FAILED, "no trial came to its end", run)
    return Came(FiringStatus.FINISHED, _what_it_found(found), run)


def _what_it_found(found: SweepResult) -> str:
    if found.score is not None:
        return f"best: trial {found.best}, {found.objectives[0].metric} {found.score.value:.6g}"
    several = ", ".join(map(str, found.front[:10])) + (" and more" if len(found.front) > 10 else "")
    return f"front of {' and '.join(each.metric for each in found.objectives)}: trial {several}"


def _before(loop: Loop, firing: Firing) -> str:
    """How the run of an earlier attempt stands now; empty: there was none, or it is gone."""
    if firing.run is None:
        return ""
    tracking = loop.context.room(Tracking)
    tracking.settle()
    try:
        return tracking.run(firing.run.removeprefix("run:")).status
    except NotFound:
        return ""


def _retrained(loop: Loop, firing: Firing, declared: PipelineTrigger) -> Came:
    done = loop.retrain(
        declared.retrain,
        because=str(firing.facts.get("alert", "")),
        now=firing.scheduled,
        in_process=True,
    )
    failed = done.status in {Status.FAILED, Status.REFUSED, Status.DROPPED}
    status = FiringStatus.FAILED if failed else FiringStatus.FINISHED
    return Came(status, f"{done.status}: {done.message}", done.run or "")
