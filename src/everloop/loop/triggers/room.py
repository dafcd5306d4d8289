"""The part of the loop room that is about triggers."""

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec

from everloop.domain.firings import OPEN, FiringStatus
from everloop.domain.times import require_zone
from everloop.domain.triggers import ByHand, PipelineTrigger
from everloop.errors import InvalidDefinition, InvalidInput
from everloop.loop.triggers.arriving import ArrivedFiles
from everloop.loop.triggers.backfilling import Backfills
from everloop.loop.triggers.claiming import ClaimedFirings
from everloop.loop.triggers.deciding import DecidedFirings
from everloop.loop.triggers.forgetting import ForgottenFirings
from everloop.loop.triggers.records import Firing
from everloop.pipelines.pipelines import Pipelines
from everloop.tracking.places import this_process
from everloop.tracking.tracking import Tracking

if TYPE_CHECKING:
    from everloop.loop.loop import Loop
    from everloop.loop.triggers.scheduler import Scheduler

ASK_AGAIN_SECONDS = 0.5


class Triggers(DecidedFirings, ClaimedFirings, Backfills, ArrivedFiles, ForgottenFirings):
    """What starts pipelines by itself. `scheduler` looks for as long as it is told to; `tick_triggers` once."""

    name = "loop"

    def scheduler(self, at_once: int = 4) -> "Scheduler":
        """Somebody who looks again and again: a server's thread, or a loop of your own around `Scheduler.turn`."""
        from everloop.loop.triggers.scheduler import Scheduler

        return Scheduler(cast("Loop", self), at_once=at_once)

    def tick_triggers(self, now: datetime, *, in_process: bool = False) -> list[Firing]:
        """Do what is due at `now`, and wait for it: each firing in a process of its own or (for a test) in this one. Returns the
        firings that were carried out."""
        moment = require_zone(now, "the time")
        self.context.room(Tracking).settle()
        self.context.room(Pipelines).settle_runs()
        self.forget_firings()
        scheduler = self.scheduler()
        done: dict[str, None] = {}
        try:
            while True:
                if in_process:
                    begun = self._here(moment)
                else:
                    begun = scheduler.turn(moment)
                done |= dict.fromkeys(each.id for each in begun)
                if not begun and not scheduler.at_work:
                    return [self.firing(each) for each in done]
                scheduler.wait(ASK_AGAIN_SECONDS)
        finally:
            scheduler.stop()

    def wait_for_firings(
        self, wanted: list[str], told: Callable[[Firing], None] | None = None
    ) -> list[Firing]:
        """Wait until these firings are over, and carry out here what nobody else does, unless the workspace is a server's.
        `told` hears of each when it is over."""
        scheduler = self.scheduler()
        left = list(dict.fromkeys(wanted))
        found: dict[str, Firing] = {}
        try:
            while left:
                if not self.context.remote:
                    scheduler.turn(self.context.clock())
                for each in left:
                    found[each] = self.firing(each)
                    if found[each].status not in OPEN and told is not None:
                        told(found[each])
                left = [each for each in left if found[each].status in OPEN]
                if left:
                    time.sleep(ASK_AGAIN_SECONDS)
        finally:
            scheduler.stop()
        return [found[each] for each in wanted]

    def carry_out(self, firing: str, attempt: int) -> Firing:
        """Carry out a firing in this process: user code runs here. Raises Conflict when somebody else has it."""
        from everloop.loop.triggers.running import carry_out
        from everloop.loop.triggers.scheduler import STOPPED

        begun = self.begin_firing(firing=firing, attempt=attempt, process=this_process())
        try:
            came = carry_out(cast("Loop", self), begun)
        except KeyboardInterrupt:
            self.end_firing(firing=firing, attempt=attempt, status=FiringStatus.WAITING, reason=STOPPED)
            raise
        return self.end_firing(
            firing=firing, attempt=attempt, status=came.status, reason=came.reason, run=came.run
        )

    def _here(self, now: datetime) -> list[Firing]:
        self.decide_firings(now=now)
        begun = self.claim_firings(now=now, process=this_process(), most=1)
        return [self.carry_out(each.id, each.attempts) for each in begun]


def in_project(declared: PipelineTrigger, project: Path) -> PipelineTrigger:
    """The trigger as it is recorded: its pipeline relative to the project, found, and asked which parameters it takes and whether
    these, those of a sweep's space among them, are right. Raises InvalidDefinition."""
    from everloop.pipelines.locating import find_pipeline

    if declared.retrain:
        return declared
    pipeline, source = find_pipeline(declared.pipeline or declared.sweep, project)
    by_hand = isinstance(declared.on, ByHand)  # who asks may say what is missing
    known = [
        name for name, each in pipeline.signature.parameters.items() if by_hand and each.default is each.empty
    ]
    try:
        searched = _searched(declared, project)
        pipeline.arguments(dict.fromkeys([*declared.params, *searched, *known]))
    except InvalidInput as error:
        hint = f"give it: params={{…}}; {error.hint}" if "missing" in error.message else error.hint
        raise InvalidDefinition(f"trigger '{declared.name}': {error.message}", hint=hint) from None
    left = {name: each for name, each in pipeline.signature.parameters.items() if name not in searched}
    return msgspec.structs.replace(
        declared,
        **({"sweep": source} if declared.sweep else {"pipeline": source}),
        takes=None if pipeline.takes_others else tuple(left),
        needs=tuple(name for name, each in left.items() if each.default is each.empty),
    )


def _searched(declared: PipelineTrigger, project: Path) -> list[str]:
    """The parameters that a sweep sets, by the file of its space. Raises InvalidInput where that is none."""
    from everloop.pipelines.sweeps.spaces import read_space

    if not declared.sweep:
        return []
    file = read_space(project / declared.space)
    if not file.objectives:
        raise InvalidInput(
            f"{declared.space} does not say what is looked for",
            hint='write [objective] and: metric = "log_loss"',
        )
    return [*file.space, *([file.repeat.parameter] if file.repeat else [])]
