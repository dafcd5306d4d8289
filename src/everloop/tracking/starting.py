"""Starting a run: new, as a child of another, or going on where one was cut off."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from everloop.domain.ids import is_id
from everloop.domain.runs import (
    ACTIVE,
    DEFAULT_EXPERIMENT,
    FINISHED,
    RUNNING,
    Captured,
    RunRecord,
    checked_text,
    random_name,
)
from everloop.errors import Conflict, EverloopError, StorageError, Unavailable
from everloop.governance.identity import current_actor
from everloop.tracking.capture import capture, forget_stored
from everloop.tracking.errands import BEGIN, Errand, Spool
from everloop.tracking.given import param_texts, tag_texts
from everloop.tracking.leftbehind import journal_folder
from everloop.tracking.places import this_process
from everloop.tracking.run import Run, active_run

if TYPE_CHECKING:
    from everloop.store.objects import Objects
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
    seen: Mapping[str, bool],
) -> Run:
    """See `Tracking.start`. When the ledger is away, the run begins in its journal and is made when the ledger is back; going on
    with another run is not possible then, since nobody knows where that one stood."""
    context = tracking.context
    tracking.ship_pending()
    current = active_run()
    if current is not None and current.location != context.location:
        current = None  # it belongs to another workspace
    within = parent if parent is not None else current
    going_on = resume or (os.environ.pop(RESUME, None) if within is None else None)
    resumed = resumable(tracking, going_on) if going_on else None
    checkpoints = tracking.checkpoints(resumed.run_id) if resumed is not None else []
    arguments: dict[str, Any] = {
        "run_id": context.ids(),
        "experiment": checked_text(experiment, "the name of an experiment", 500),
        "name": checked_text(name, "the name of the run", 5_000),
        "start_time": context.clock(),
        "params": param_texts(params),
        "tags": tag_texts(tags),
        "owner": this_process(),
        "resumed_from": resumed.run_id if resumed is not None else None,
        "checkpoint": checkpoints[-1].number if checkpoints else None,
    }
    try:
        if within:
            arguments["parent"] = within.run_id if isinstance(within, Run) else tracking.resolve(within)
        arguments["captured"] = _captured(tracking, tracking.objects, seeds)
        try:
            record = tracking.create_run(**arguments)
        except Conflict:
            # What this process stored for an earlier run may have gone with that run.
            forget_stored(tracking.objects)
            arguments["captured"] = _captured(tracking, tracking.objects, seeds)
            record = tracking.create_run(**arguments)
        return Run(tracking, record).begin(seen=seen)
    except (Unavailable, StorageError) as error:
        if resumed is not None:
            raise
        return _alone(tracking, arguments, within, seeds, seen, error)


def _captured(tracking: "Tracking", objects: "Objects | Spool", seeds: Mapping[str, int]) -> Captured:
    context = tracking.context
    return capture(objects, project=context.project, seeds=seeds, leave_out=[context.folder])


def _alone(
    tracking: "Tracking",
    arguments: dict[str, Any],
    within: Run | str | None,
    seeds: Mapping[str, int],
    seen: Mapping[str, bool],
    error: EverloopError,
) -> Run:
    """A run that its journal alone knows of so far."""
    run_id = arguments["run_id"]
    arguments["name"] = arguments["name"] or random_name(bytes.fromhex(run_id[-8:]))
    if isinstance(within, str):  # a name cannot be looked up now
        arguments["parent"] = within.removeprefix("run:") if is_id(within.removeprefix("run:")) else None
    try:
        spool = Spool(journal_folder(tracking.context.folder) / f"{run_id}.journal")
        arguments["captured"] = _captured(tracking, spool, seeds)
    except StorageError:
        arguments["captured"] = Captured(seeds=dict(seeds))
    record = RunRecord(
        run_id=run_id,
        experiment=arguments["experiment"]
        or (within.experiment if isinstance(within, Run) else DEFAULT_EXPERIMENT),
        experiment_id=-1,
        name=arguments["name"],
        user=current_actor().user,
        source=arguments["captured"].source,
        version=arguments["captured"].commit,
        status=RUNNING,
        start_time=arguments["start_time"],
        parent=arguments.get("parent"),
        params=dict(arguments["params"]),
        tags=dict(arguments["tags"]),
    )
    run = Run(tracking, record).begin(Errand.of(BEGIN, **arguments), seen=seen)
    run.say_away(error)
    return run


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
