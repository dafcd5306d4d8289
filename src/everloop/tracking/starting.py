"""Starting a run: new, as a child of another, or going on where one was cut off."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from everloop.domain.runs import ACTIVE, FINISHED, MAX_PARAM, RUNNING, RunRecord, flat_params
from everloop.errors import Conflict
from everloop.tracking.capture import capture
from everloop.tracking.places import this_process
from everloop.tracking.run import Run, active_run

if TYPE_CHECKING:
    from everloop.tracking.tracking import Tracking

RESUME = "EVERLOOP_RESUME"
"""The environment variable by which ``everloop resume`` tells a script which run to go on with."""


def start(
    tracking: "Tracking",
    *,
    experiment: str,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, Any],
    parent: Run | str | None,
    seeds: Mapping[str, int],
    resume: str | None,
) -> Run:
    """See `Tracking.start`."""
    context = tracking.context
    tracking.ship_pending()
    within = parent if parent is not None else active_run()
    going_on = resume or (os.environ.pop(RESUME, None) if within is None else None)
    resumed = resumable(tracking, going_on) if going_on else None
    texts = {key: text[:MAX_PARAM] for key, text in flat_params(params).items()}
    captured = capture(tracking.objects, project=context.project, seeds=seeds, leave_out=[context.folder])
    checkpoints = tracking.checkpoints(resumed.run_id) if resumed is not None else []
    record = tracking.create_run(
        run_id=context.ids(),
        experiment=experiment,
        name=name,
        start_time=context.clock(),
        parent=within.run_id if isinstance(within, Run) else tracking.resolve(within) if within else None,
        params=texts,
        tags={key: str(value) for key, value in tags.items()},
        captured=captured,
        owner=this_process(),
        resumed_from=resumed.run_id if resumed is not None else None,
        checkpoint=checkpoints[-1].number if checkpoints else None,
    )
    return Run(tracking, record).begin()


def resumable(tracking: "Tracking", given: str) -> RunRecord:
    """The run to go on with. One that goes on itself or has finished is a Conflict."""
    record = tracking.run(given)
    if record.status == RUNNING:
        raise Conflict(f"run {record.name} is still running", hint="stop it first, or wait for it")
    if record.status == FINISHED:
        raise Conflict(
            f"run {record.name} has finished: there is nothing to resume", hint="start another run"
        )
    if record.state != ACTIVE:
        raise Conflict(f"run {record.name} is deleted", hint=f"everloop runs restore {record.run_id}")
    return record
