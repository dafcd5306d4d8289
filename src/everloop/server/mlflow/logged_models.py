"""logged-models/…, runs/outputs and runs/log-model: models as runs log them, and their files."""

import json
import re
from typing import Any

import msgspec

from everloop.domain.logged_models import LoggedModelOrder, ModelDataset
from everloop.domain.runs import MAX_TAG, ArtifactRecord
from everloop.server.mlflow.artifacts import BELOW, Below, FileInfo, Files, entries
from everloop.server.mlflow.codec import Answer, Asked, Int64
from everloop.server.mlflow.endpoints import Endpoints
from everloop.server.mlflow.faults import invalid
from everloop.server.mlflow.messages import ModelOutput, Tag, experiment_number_in, run_id_in, unique
from everloop.server.mlflow.model_messages import (
    LoggedModelMessage,
    logged_model_message,
    logged_model_uri,
    logged_status_in,
)
from everloop.store.objects.contract import Stored
from everloop.workspace.workspace import Workspace

endpoints = Endpoints("2.0/mlflow")

HISTORY = "mlflow.log-model.history"
"""The tag in which clients before MLflow 3 find the models of a run."""


class CreateModel(Asked, frozen=True):
    experiment_id: str
    name: str = ""
    model_type: str = ""
    source_run_id: str = ""
    params: list[Tag] = []
    tags: list[Tag] = []


class OfModel(Asked, frozen=True):
    model_id: str


class FinishModel(Asked, frozen=True):
    model_id: str
    status: str | int


class LogParams(Asked, frozen=True):
    model_id: str
    params: list[Tag] = []


class SetTags(Asked, frozen=True):
    model_id: str
    tags: list[Tag] = []


class DeleteTag(Asked, frozen=True):
    model_id: str
    key: str


class DatasetAsked(Asked, frozen=True):
    dataset_name: str
    dataset_digest: str = ""


class OrderAsked(Asked, frozen=True):
    field_name: str
    ascending: bool = True
    dataset_name: str = ""
    dataset_digest: str = ""


class SearchModels(Asked, frozen=True):
    experiment_ids: list[str] = []
    filter: str = ""
    datasets: list[DatasetAsked] = []
    max_results: Int64 = 100
    order_by: list[OrderAsked] = []
    page_token: str = ""


class ListFiles(Asked, frozen=True):
    model_id: str
    artifact_directory_path: str = ""


class LogOutputs(Asked, frozen=True):
    run_id: str
    models: list[ModelOutput] = []


class LogModel(Asked, frozen=True):
    run_id: str
    model_json: str


class ModelAnswer(Answer, frozen=True):
    model: LoggedModelMessage


class ModelsAnswer(Answer, frozen=True):
    models: list[LoggedModelMessage] = []
    next_page_token: str = ""


class ModelFiles:
    """The files of a logged model."""

    def __init__(self, workspace: Workspace, model_id: str) -> None:
        self._tracking, self._model_id = workspace.tracking, model_id

    def keep(self, path: str, stored: Stored) -> None:
        kept = ArtifactRecord(path, stored.digest, stored.size)
        self._tracking.add_logged_model_files(self._model_id, [kept])

    def files(self, path: str) -> list[ArtifactRecord]:
        found: list[ArtifactRecord] = self._tracking.logged_model_files(self._model_id, path)
        return found

    def remove(self, path: str) -> None:
        self._tracking.remove_logged_model_files(self._model_id, [path])


BELOW.append(Below(re.compile(r"\d+/models/(?P<id>m-[0-9a-f]{32})/artifacts"), ModelFiles))


@endpoints.post("logged-models")
def create(workspace: Workspace, asked: CreateModel) -> ModelAnswer:
    made = workspace.tracking.create_logged_model(
        str(experiment_number_in(asked.experiment_id)),
        asked.name,
        asked.model_type,
        run_id_in(asked.source_run_id, "") if asked.source_run_id else "",
        unique(asked.params, "parameter"),
        unique(asked.tags, "tag"),
    )
    return ModelAnswer(model=logged_model_message(made))


@endpoints.get("logged-models/{model_id}")
def get(workspace: Workspace, asked: OfModel) -> ModelAnswer:
    return ModelAnswer(model=logged_model_message(workspace.tracking.logged_model(asked.model_id)))


@endpoints.patch("logged-models/{model_id}")
def finish(workspace: Workspace, asked: FinishModel) -> ModelAnswer:
    """All files have arrived, or will not."""
    status = logged_status_in(str(asked.status))
    return ModelAnswer(
        model=logged_model_message(workspace.tracking.finish_logged_model(asked.model_id, status))
    )


@endpoints.delete("logged-models/{model_id}")
def delete(workspace: Workspace, asked: OfModel) -> None:
    workspace.tracking.delete_logged_model(asked.model_id)


@endpoints.post("logged-models/{model_id}/params")
def log_params(workspace: Workspace, asked: LogParams) -> None:
    workspace.tracking.change_logged_model(asked.model_id, params=unique(asked.params, "parameter"))


@endpoints.patch("logged-models/{model_id}/tags")
def set_tags(workspace: Workspace, asked: SetTags) -> ModelAnswer:
    changed = workspace.tracking.change_logged_model(asked.model_id, tags=unique(asked.tags, "tag"))
    return ModelAnswer(model=logged_model_message(changed))


@endpoints.delete("logged-models/{model_id}/tags/{key:path}")
def delete_tag(workspace: Workspace, asked: DeleteTag) -> None:
    workspace.tracking.change_logged_model(asked.model_id, remove_tags=[asked.key])


@endpoints.post("logged-models/search")
def search(workspace: Workspace, asked: SearchModels) -> ModelsAnswer:
    found = workspace.tracking.search_logged_models(
        [str(experiment_number_in(each)) for each in asked.experiment_ids],
        asked.filter,
        [ModelDataset(each.dataset_name, each.dataset_digest) for each in asked.datasets],
        [_order(each) for each in asked.order_by],
        asked.max_results,
        asked.page_token,
    )
    messages = [logged_model_message(each) for each in found.models]
    return ModelsAnswer(models=messages, next_page_token=found.next_page or "")


@endpoints.get("logged-models/{model_id}/artifacts/directories")
def list_files(workspace: Workspace, asked: ListFiles) -> Files:
    """What is in a folder of a logged model, by paths within the model."""
    model = workspace.tracking.logged_model(asked.model_id)
    folder = asked.artifact_directory_path.strip("/")
    found = entries(workspace.tracking.logged_model_files(asked.model_id, folder), folder)
    head = f"{folder}/" if folder else ""
    inside = [FileInfo(path=head + each.path, is_dir=each.is_dir, file_size=each.file_size) for each in found]
    return Files(root_uri=logged_model_uri(model), files=inside)


@endpoints.post("runs/outputs")
def log_outputs(workspace: Workspace, asked: LogOutputs) -> None:
    """These logged models came out of the run."""
    made = {each.model_id: each.step for each in asked.models}
    workspace.tracking.link_models(run_id_in(asked.run_id, ""), outputs=made)


@endpoints.post("runs/log-model")
def log_model(workspace: Workspace, asked: LogModel) -> None:
    """What clients before MLflow 3 say of a model they have put among the run's files: added to a tag, the newest of as many as
    a tag can hold."""
    said = _decoded(asked.model_json)
    if not isinstance(said, dict) or not {"artifact_path", "flavors"} <= said.keys():
        raise invalid("Malformed model info: model_json lacks artifact_path or flavors.")
    run = workspace.tracking.run(run_id_in(asked.run_id, ""))
    before = _decoded(run.tags.get(HISTORY, "[]"))
    kept = [*(before if isinstance(before, list) else []), said]
    while len(kept) > 1 and len(json.dumps(kept)) > MAX_TAG:
        kept.pop(0)
    text = json.dumps(kept)
    if len(text) <= MAX_TAG:
        workspace.tracking.log(run.run_id, tags={HISTORY: text})


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise invalid(f"Malformed model info: {error}") from None


def _order(asked: OrderAsked) -> LoggedModelOrder:
    on = ModelDataset(asked.dataset_name, asked.dataset_digest) if asked.dataset_name else None
    return LoggedModelOrder(asked.field_name, not asked.ascending, on)
