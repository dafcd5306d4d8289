"""registered-models/…: models of the registry, their aliases and tags; prompts ride on them."""

from everloop.domain.models import ModelState
from everloop.server.mlflow.codec import Answer, Asked, Int64
from everloop.server.mlflow.endpoints import Endpoints
from everloop.server.mlflow.faults import RESOURCE_ALREADY_EXISTS, invalid
from everloop.server.mlflow.messages import Tag, unique
from everloop.server.mlflow.model_messages import (
    ModelMessage,
    VersionMessage,
    model_message,
    model_named,
    stage_in,
    version_message,
    version_named,
)
from everloop.workspace.workspace import Workspace

endpoints = Endpoints("2.0/mlflow")


class CreateModel(Asked, frozen=True):
    name: str
    tags: list[Tag] = []
    description: str = ""


class Named(Asked, frozen=True):
    name: str


class UpdateModel(Asked, frozen=True):
    name: str
    description: str = ""


class RenameModel(Asked, frozen=True):
    name: str
    new_name: str


class SearchModels(Asked, frozen=True):
    filter: str = ""
    max_results: Int64 = 100
    order_by: list[str] = []
    page_token: str = ""


class LatestVersions(Asked, frozen=True):
    name: str
    stages: list[str] = []


class SetTag(Asked, frozen=True):
    name: str
    key: str
    value: str = ""


class DeleteTag(Asked, frozen=True):
    name: str
    key: str


class SetAlias(Asked, frozen=True):
    name: str
    alias: str
    version: str


class OfAlias(Asked, frozen=True):
    name: str
    alias: str


class ModelAnswer(Answer, frozen=True):
    registered_model: ModelMessage


class ModelsAnswer(Answer, frozen=True):
    registered_models: list[ModelMessage] = []
    next_page_token: str = ""


class VersionAnswer(Answer, frozen=True):
    model_version: VersionMessage


class VersionsAnswer(Answer, frozen=True):
    model_versions: list[VersionMessage] = []


@endpoints.post("registered-models/create", conflict=RESOURCE_ALREADY_EXISTS)
def create(workspace: Workspace, asked: CreateModel) -> ModelAnswer:
    made = workspace.registry.create_model(_name(asked.name), asked.description, unique(asked.tags, "tag"))
    return ModelAnswer(registered_model=model_message(made, []))


@endpoints.get("registered-models/get")
def get(workspace: Workspace, asked: Named) -> ModelAnswer:
    record = model_named(workspace, asked.name)
    return ModelAnswer(registered_model=model_message(record, workspace.registry.newest_versions(asked.name)))


@endpoints.patch("registered-models/update")
def update(workspace: Workspace, asked: UpdateModel) -> ModelAnswer:
    model_named(workspace, asked.name)
    changed = workspace.registry.change_model(asked.name, asked.description)
    return ModelAnswer(
        registered_model=model_message(changed, workspace.registry.newest_versions(asked.name))
    )


@endpoints.post("registered-models/rename", conflict=RESOURCE_ALREADY_EXISTS)
def rename(workspace: Workspace, asked: RenameModel) -> ModelAnswer:
    model_named(workspace, asked.name)
    renamed = workspace.registry.rename_model(asked.name, _name(asked.new_name))
    return ModelAnswer(
        registered_model=model_message(renamed, workspace.registry.newest_versions(renamed.name))
    )


@endpoints.delete("registered-models/delete")
def delete(workspace: Workspace, asked: Named) -> None:
    model_named(workspace, asked.name)
    workspace.registry.delete_model(asked.name)


@endpoints.get("registered-models/search")
def search(workspace: Workspace, asked: SearchModels) -> ModelsAnswer:
    page = workspace.registry.search_models(asked.filter, asked.order_by, asked.max_results, asked.page_token)
    messages = [model_message(each, page.newest.get(each.name, [])) for each in page.models]
    return ModelsAnswer(registered_models=messages, next_page_token=page.next_page or "")


@endpoints.post("registered-models/get-latest-versions")
@endpoints.get("registered-models/get-latest-versions")
def latest_versions(workspace: Workspace, asked: LatestVersions) -> VersionsAnswer:
    """The newest version of each stage, or of those asked for."""
    model_named(workspace, asked.name)
    wanted = {stage_in(each) for each in asked.stages}
    newest = workspace.registry.newest_versions(asked.name)
    return VersionsAnswer(
        model_versions=[version_message(each) for each in newest if not wanted or each.stage in wanted]
    )


@endpoints.post("registered-models/set-tag")
def set_tag(workspace: Workspace, asked: SetTag) -> None:
    model_named(workspace, asked.name)
    workspace.registry.change_model(asked.name, tags={asked.key: asked.value})


@endpoints.delete("registered-models/delete-tag")
def delete_tag(workspace: Workspace, asked: DeleteTag) -> None:
    model_named(workspace, asked.name)
    workspace.registry.change_model(asked.name, remove_tags=[asked.key])


@endpoints.post("registered-models/alias")
def set_alias(workspace: Workspace, asked: SetAlias) -> None:
    record = version_named(workspace, asked.name, asked.version)
    workspace.registry.claim_alias(record.reference, asked.alias)


@endpoints.get("registered-models/alias")
def get_alias(workspace: Workspace, asked: OfAlias) -> VersionAnswer:
    """What the alias points at. Nobody can set ``latest``: it means the newest version, and prompts are loaded by it."""
    record = model_named(workspace, asked.name)
    number = record.aliases.get(asked.alias)
    if number is None and asked.alias.lower() == "latest":
        live = (each for each in workspace.registry.versions(asked.name) if each.state != ModelState.DELETED)
        number = max((each.version for each in live), default=None)
    if number is None:
        raise invalid(f"Registered model alias {asked.alias} not found.")
    version = workspace.registry.version(f"model:{asked.name}@v{number}")
    return VersionAnswer(model_version=version_message(version))


@endpoints.delete("registered-models/alias")
def delete_alias(workspace: Workspace, asked: OfAlias) -> None:
    """Without the alias; also where there was none."""
    if asked.alias in model_named(workspace, asked.name).aliases:
        workspace.registry.remove_alias(asked.name, asked.alias)


def _name(given: str) -> str:
    """A name that clients can load by: ``models:/NAME/1`` takes a slash for the end of it."""
    if not given.strip():
        raise invalid("Registered model name cannot be empty.")
    if "/" in given or ":" in given:
        raise invalid(f"Invalid model name '{given}'. Names cannot contain '/' or ':'.")
    return given
