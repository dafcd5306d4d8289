"""runs/create, get, update, delete, restore: a run's life as its client tells it."""

from collections import defaultdict
from weakref import WeakKeyDictionary

from everloop.domain.logged_models import OUTPUT
from everloop.domain.runs import ACTIVE, MAX_TAG, Captured, RunRecord
from everloop.errors import NotFound
from everloop.server.mlflow.codec import Answer, Asked, Int64, moment
from everloop.server.mlflow.endpoints import Endpoints
from everloop.server.mlflow.faults import invalid, missing
from everloop.server.mlflow.messages import (
    PARENT,
    RUN_NAME,
    RunInfo,
    RunMessage,
    Tag,
    experiment_number_in,
    facts_in,
    run_id_in,
    run_info,
    run_message,
    status_in,
    unique,
)
from everloop.workspace.workspace import Workspace

endpoints = Endpoints("2.0/mlflow")


class Got(Answer, frozen=True):
    run: RunMessage


class Updated(Answer, frozen=True):
    run_info: RunInfo


class CreateRun(Asked, frozen=True):
    experiment_id: str
    user_id: str = ""
    run_name: str = ""
    start_time: Int64 | None = None
    tags: list[Tag] = []


class GetRun(Asked, frozen=True):
    run_id: str = ""
    run_uuid: str = ""


class UpdateRun(Asked, frozen=True):
    run_id: str = ""
    run_uuid: str = ""
    status: str | int = ""
    end_time: Int64 | None = None
    run_name: str = ""


class OneRun(Asked, frozen=True):
    run_id: str


@endpoints.post("runs/create")
def create(workspace: Workspace, asked: CreateRun) -> Got:
    experiment = uuids_of(workspace, [experiment_number_in(asked.experiment_id)])
    if not experiment:
        raise missing(f"No Experiment with id={asked.experiment_id} exists")
    tags = unique(asked.tags, "tag")
    if asked.run_name and tags.get(RUN_NAME, asked.run_name) != asked.run_name:
        raise invalid(
            f"Both 'run_name' argument and '{RUN_NAME}' tag are specified, but with different values "
            f"(run_name='{asked.run_name}', {RUN_NAME}='{tags[RUN_NAME]}')."
        )
    facts, kept = facts_in(tags)
    if facts.parent and not _is_active(workspace, facts.parent):
        facts, kept = facts_in({key: value for key, value in tags.items() if key != PARENT})
        kept[PARENT] = tags[PARENT]
    made = workspace.tracking.create_run(
        experiment=experiment[0],
        name=asked.run_name or facts.name,
        start_time=moment(asked.start_time, "start_time") if asked.start_time is not None else None,
        parent=facts.parent or None,
        tags={key: value[:MAX_TAG] for key, value in kept.items()},
        captured=Captured(source=facts.source, commit=facts.version),
        user=facts.user or asked.user_id,
    )
    return Got(run=run_message(made, []))


@endpoints.get("runs/get")
def get(workspace: Workspace, asked: GetRun) -> Got:
    run_id = run_id_in(asked.run_id, asked.run_uuid)
    return Got(run=messages_of(workspace, workspace.tracking.exact_runs([run_id]))[0])


@endpoints.post("runs/update")
def update(workspace: Workspace, asked: UpdateRun) -> Updated:
    record = workspace.tracking.amend_run(
        run_id_in(asked.run_id, asked.run_uuid),
        status=status_in(str(asked.status)) if asked.status else "",
        end_time=moment(asked.end_time, "end_time") if asked.end_time is not None else None,
        name=asked.run_name,
    )
    return Updated(run_info=run_info(record))


@endpoints.post("runs/delete")
def delete(workspace: Workspace, asked: OneRun) -> None:
    workspace.tracking.delete_runs([run_id_in(asked.run_id, "")])


@endpoints.post("runs/restore")
def restore(workspace: Workspace, asked: OneRun) -> None:
    workspace.tracking.restore_runs([run_id_in(asked.run_id, "")])


def messages_of(workspace: Workspace, found: list[RunRecord]) -> list[RunMessage]:
    """Runs with all that belongs to them."""
    tracking = workspace.tracking
    run_ids = [each.run_id for each in found]
    points, datasets = tracking.last_points(run_ids), tracking.datasets_of(run_ids)
    used: dict[str, list[str]] = defaultdict(list)
    made: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for link in tracking.models_of_runs(run_ids):
        if link.role == OUTPUT:
            made[link.run_id].append((link.model_id, link.step))
        else:
            used[link.run_id].append(link.model_id)
    return [
        run_message(
            run, points.get(run.run_id, ()), datasets.get(run.run_id, ()), used[run.run_id], made[run.run_id]
        )
        for run in found
    ]


def uuids_of(workspace: Workspace, numbers: list[int]) -> list[str]:
    """What the experiments of these numbers are called where a number could be another one's name; those that are not there are
    left out. It never changes, so it is asked once."""
    known = _uuids.setdefault(workspace, {})
    unknown = [each for each in numbers if each not in known and each < 2**31]
    if unknown:
        known |= {each.id: each.uuid for each in workspace.tracking.numbered_experiments(unknown)}
    return [known[each] for each in numbers if each in known]


_uuids: WeakKeyDictionary[Workspace, dict[int, str]] = WeakKeyDictionary()


def _is_active(workspace: Workspace, run_id: str) -> bool:
    try:
        return workspace.tracking.exact_runs([run_id])[0].state == ACTIVE
    except NotFound:
        return False
