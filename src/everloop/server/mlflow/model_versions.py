"""model-versions/…: versions of registered models, and where their files are."""

import re

from everloop.domain.runs import ArtifactRecord
from everloop.server.mlflow.artifacts import BELOW, Below
from everloop.server.mlflow.codec import Answer, Asked, Int64
from everloop.server.mlflow.endpoints import Endpoints
from everloop.server.mlflow.faults import invalid
from everloop.server.mlflow.messages import Tag, run_id_in, unique
from everloop.server.mlflow.model_messages import (
    VersionMessage,
    model_named,
    source_in,
    stage_in,
    version_message,
    version_named,
    version_uri,
)
from everloop.store.objects.contract import Stored
from everloop.workspace.workspace import Workspace

endpoints = Endpoints("2.0/mlflow")


class CreateVersion(Asked, frozen=True):
    name: str
    source: str
    run_id: str = ""
    tags: list[Tag] = []
    run_link: str = ""
    description: str = ""
    model_id: str = ""


class OfVersion(Asked, frozen=True):
    name: str
    version: str


class UpdateVersion(Asked, frozen=True):
    name: str
    version: str
    description: str = ""


class Transition(Asked, frozen=True):
    name: str
    version: str
    stage: str
    archive_existing_versions: bool = False


class SearchVersions(Asked, frozen=True):
    filter: str = ""
    max_results: Int64 = 10_000
    order_by: list[str] = []
    page_token: str = ""


class SetTag(Asked, frozen=True):
    name: str
    version: str
    key: str
    value: str = ""


class DeleteTag(Asked, frozen=True):
    name: str
    version: str
    key: str


class VersionAnswer(Answer, frozen=True):
    model_version: VersionMessage


class VersionsAnswer(Answer, frozen=True):
    model_versions: list[VersionMessage] = []
    next_page_token: str = ""


class DownloadUri(Answer, frozen=True):
    artifact_uri: str


class VersionFiles:
    """The files of a version. They are what was registered and do not change."""

    def __init__(self, workspace: Workspace, reference: str) -> None:
        self._record = workspace.registry.version(f"model:{reference}")

    def keep(self, path: str, stored: Stored) -> None:
        raise invalid(f"{self._record.reference} is registered: its files do not change")

    def files(self, path: str) -> list[ArtifactRecord]:
        inside = f"{path}/" if path else ""
        return [
            ArtifactRecord(name, each.digest, each.size)
            for name, each in self._record.files.items()
            if name == path or name.startswith(inside)
        ]

    def remove(self, path: str) -> None:
        raise invalid(f"{self._record.reference} is registered: its files do not change")


BELOW.append(Below(re.compile(r"registered/(?P<id>.+?@v\d+)"), VersionFiles))


@endpoints.post("model-versions/create")
def create(workspace: Workspace, asked: CreateVersion) -> VersionAnswer:
    model_named(workspace, asked.name)
    run_id = run_id_in(asked.run_id, "") if asked.run_id else ""
    named = source_in(asked.source, asked.model_id)
    made = workspace.registry.add_version(
        asked.name,
        asked.source,
        run=named.run or run_id,
        artifact=named.artifact,
        logged_model=named.logged_model,
        copy_of=named.copy_of,
        run_link=asked.run_link,
        description=asked.description,
        tags=unique(asked.tags, "tag"),
    )
    return VersionAnswer(model_version=version_message(made))


@endpoints.get("model-versions/get")
def get(workspace: Workspace, asked: OfVersion) -> VersionAnswer:
    return VersionAnswer(model_version=version_message(version_named(workspace, asked.name, asked.version)))


@endpoints.patch("model-versions/update")
def update(workspace: Workspace, asked: UpdateVersion) -> VersionAnswer:
    record = version_named(workspace, asked.name, asked.version)
    changed = workspace.registry.change_version(record.reference, asked.description)
    return VersionAnswer(model_version=version_message(changed))


@endpoints.delete("model-versions/delete")
def delete(workspace: Workspace, asked: OfVersion) -> None:
    record = version_named(workspace, asked.name, asked.version)
    workspace.registry.delete_version(record.reference)


@endpoints.post("model-versions/transition-stage")
def transition(workspace: Workspace, asked: Transition) -> VersionAnswer:
    stage = stage_in(asked.stage)
    record = version_named(workspace, asked.name, asked.version)
    changed = workspace.registry.set_stage(record.reference, stage, asked.archive_existing_versions)
    return VersionAnswer(model_version=version_message(changed))


@endpoints.get("model-versions/search")
def search(workspace: Workspace, asked: SearchVersions) -> VersionsAnswer:
    page = workspace.registry.search_versions(
        asked.filter, asked.order_by, asked.max_results, asked.page_token
    )
    messages = [version_message(each) for each in page.versions]
    return VersionsAnswer(model_versions=messages, next_page_token=page.next_page or "")


@endpoints.get("model-versions/get-download-uri")
def download_uri(workspace: Workspace, asked: OfVersion) -> DownloadUri:
    return DownloadUri(artifact_uri=version_uri(version_named(workspace, asked.name, asked.version)))


@endpoints.post("model-versions/set-tag")
def set_tag(workspace: Workspace, asked: SetTag) -> None:
    record = version_named(workspace, asked.name, asked.version)
    workspace.registry.change_version(record.reference, tags={asked.key: asked.value})


@endpoints.delete("model-versions/delete-tag")
def delete_tag(workspace: Workspace, asked: DeleteTag) -> None:
    record = version_named(workspace, asked.name, asked.version)
    workspace.registry.change_version(record.reference, remove_tags=[asked.key])
