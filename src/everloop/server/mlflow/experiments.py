"""experiments/…: making, finding, renaming, deleting and tagging experiments."""

from everloop.domain.runs import ACTIVE, DELETED, Experiment
from everloop.server.mlflow.codec import Answer, Asked
from everloop.server.mlflow.endpoints import Endpoints
from everloop.server.mlflow.faults import RESOURCE_ALREADY_EXISTS, invalid, missing
from everloop.server.mlflow.messages import (
    ExperimentMessage,
    Tag,
    experiment_message,
    experiment_number_in,
    required,
    unique,
)
from everloop.workspace.workspace import Workspace

endpoints = Endpoints("2.0/mlflow")


class Created(Answer, frozen=True):
    experiment_id: str


class Got(Answer, frozen=True):
    experiment: ExperimentMessage


class CreateExperiment(Asked, frozen=True):
    name: str
    tags: list[Tag] = []


class ByName(Asked, frozen=True):
    experiment_name: str


class ById(Asked, frozen=True):
    experiment_id: str


class Rename(Asked, frozen=True):
    experiment_id: str
    new_name: str


class SetTag(Asked, frozen=True):
    experiment_id: str
    key: str
    value: str


class DeleteTag(Asked, frozen=True):
    experiment_id: str
    key: str


@endpoints.post("experiments/create", conflict=RESOURCE_ALREADY_EXISTS)
def create(workspace: Workspace, asked: CreateExperiment) -> Created:
    if not asked.name.strip():
        raise invalid("Invalid experiment name: it cannot be empty.")
    made = workspace.tracking.create_experiment(asked.name, unique(asked.tags, "tag"))
    return Created(experiment_id=str(made.id))


@endpoints.get("experiments/get-by-name")
def get_by_name(workspace: Workspace, asked: ByName) -> Got:
    named = required(asked.experiment_name, "experiment_name")
    return Got(experiment=experiment_message(workspace.tracking.experiment_by_name(named)))


@endpoints.get("experiments/get")
def get(workspace: Workspace, asked: ById) -> Got:
    return Got(experiment=experiment_message(_experiment(workspace, asked.experiment_id)))


@endpoints.post("experiments/update", conflict=RESOURCE_ALREADY_EXISTS)
def rename(workspace: Workspace, asked: Rename) -> None:
    found = _active(workspace, asked.experiment_id)
    if not asked.new_name.strip():
        raise invalid("Invalid experiment name: it cannot be empty.")
    workspace.tracking.rename_experiment(found.uuid, asked.new_name)


@endpoints.post("experiments/delete")
def delete(workspace: Workspace, asked: ById) -> None:
    found = _experiment(workspace, asked.experiment_id)
    if found.state == DELETED:
        raise missing(f"No active Experiment with id={found.id} exists")
    workspace.tracking.set_experiment_state(found.uuid, "deleted")


@endpoints.post("experiments/restore", conflict=RESOURCE_ALREADY_EXISTS)
def restore(workspace: Workspace, asked: ById) -> None:
    found = _experiment(workspace, asked.experiment_id)
    if found.state == ACTIVE:
        raise missing(f"No deleted Experiment with id={found.id} exists")
    workspace.tracking.set_experiment_state(found.uuid, "active")


@endpoints.post("experiments/set-experiment-tag")
def set_tag(workspace: Workspace, asked: SetTag) -> None:
    workspace.tracking.tag_experiment(_active(workspace, asked.experiment_id).uuid, {asked.key: asked.value})


@endpoints.post("experiments/delete-experiment-tag")
def delete_tag(workspace: Workspace, asked: DeleteTag) -> None:
    workspace.tracking.untag_experiment(_active(workspace, asked.experiment_id).uuid, [asked.key])


def _experiment(workspace: Workspace, experiment_id: str) -> Experiment:
    return workspace.tracking.experiment_by_number(experiment_number_in(experiment_id))


def _active(workspace: Workspace, experiment_id: str) -> Experiment:
    """An experiment that may be changed."""
    found = _experiment(workspace, experiment_id)
    if found.state != ACTIVE:
        raise invalid(
            f"The experiment {found.id} must be in the 'active' state. Current state is {found.state}."
        )
    return found
