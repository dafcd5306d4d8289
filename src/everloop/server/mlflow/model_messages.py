"""Models as MLflow writes them: logged models, registered models and their versions, from the records of our rooms."""

import re
from typing import NamedTuple

from everloop.domain.logged_models import LoggedModel, LoggedModelStatus, MeasuredPoint, is_model_id
from everloop.domain.models import ModelRecord, ModelState, ModelVersionRecord, Stage
from everloop.server.mlflow.codec import Answer, Number, milliseconds, number
from everloop.server.mlflow.faults import invalid, missing
from everloop.server.mlflow.messages import Tag, pairs, run_id_in
from everloop.workspace.workspace import Workspace

STAGES = {"none": Stage.NONE, **{str(each).lower(): each for each in Stage if each}}
"""MLflow's word for a stage, in lower case -> ours."""
STATUSES = {
    "LOGGED_MODEL_PENDING": LoggedModelStatus.PENDING,
    "LOGGED_MODEL_READY": LoggedModelStatus.READY,
    "LOGGED_MODEL_UPLOAD_FAILED": LoggedModelStatus.FAILED,
}
_STATUS_NUMBERS = dict(zip("123", STATUSES, strict=True))
_SHOWN = {status: name for name, status in STATUSES.items()}


class ModelMetric(Answer, frozen=True):
    """A point that was measured on a logged model."""

    key: str
    value: Number
    timestamp: int
    step: int | None = None
    model_id: str = ""
    run_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class LoggedModelInfo(Answer, frozen=True):
    model_id: str
    experiment_id: str
    name: str
    creation_timestamp_ms: int
    last_updated_timestamp_ms: int
    artifact_uri: str
    status: str
    model_type: str = ""
    source_run_id: str = ""
    status_message: str = ""
    tags: list[Tag] = []


class LoggedModelData(Answer, frozen=True):
    params: list[Tag] = []
    metrics: list[ModelMetric] = []


class LoggedModelMessage(Answer, frozen=True):
    info: LoggedModelInfo
    data: LoggedModelData


class AliasMessage(Answer, frozen=True):
    alias: str
    version: str


class VersionMessage(Answer, frozen=True):
    name: str
    version: str
    creation_timestamp: int
    last_updated_timestamp: int
    current_stage: str
    status: str
    source: str
    description: str
    """Also where it is empty: clients make None of what is not said here, which a script does not expect."""
    user_id: str = ""
    run_id: str = ""
    run_link: str = ""
    model_id: str = ""
    tags: list[Tag] = []
    aliases: list[str] = []


class ModelMessage(Answer, frozen=True):
    name: str
    creation_timestamp: int
    last_updated_timestamp: int
    description: str = ""
    latest_versions: list[VersionMessage] = []
    tags: list[Tag] = []
    aliases: list[AliasMessage] = []


class Source(NamedTuple):
    """What the source of a version names here: a folder of a run, a logged model, or another version."""

    run: str = ""
    artifact: str = ""
    logged_model: str = ""
    copy_of: str = ""


def logged_model_uri(model: LoggedModel) -> str:
    return f"mlflow-artifacts:/{model.experiment_id}/models/{model.model_id}/artifacts"


def version_uri(record: ModelVersionRecord) -> str:
    """Where the files of a version are: they are its own, whatever becomes of the run they came from."""
    if record.files:
        return f"mlflow-artifacts:/registered/{record.name}@v{record.version}"
    return record.source


def logged_model_message(model: LoggedModel) -> LoggedModelMessage:
    return LoggedModelMessage(
        info=LoggedModelInfo(
            model_id=model.model_id,
            experiment_id=str(model.experiment_id),
            name=model.name,
            creation_timestamp_ms=milliseconds(model.created),
            last_updated_timestamp_ms=milliseconds(model.updated),
            artifact_uri=logged_model_uri(model),
            status=_SHOWN[model.status],
            model_type=model.kind,
            source_run_id=model.source_run or "",
            status_message=model.status_message,
            tags=pairs(model.tags),
        ),
        data=LoggedModelData(params=pairs(model.params), metrics=[_metric(each) for each in model.measured]),
    )


def version_message(record: ModelVersionRecord) -> VersionMessage:
    return VersionMessage(
        name=record.name,
        version=str(record.version),
        creation_timestamp=milliseconds(record.created),
        last_updated_timestamp=milliseconds(record.updated or record.created),
        current_stage=str(record.stage) or "None",
        status="READY",
        source=record.source or version_uri(record),
        user_id=record.user,
        description=record.description,
        run_id=record.run,
        run_link=record.run_link,
        model_id=record.logged_model,
        tags=pairs(record.tags),
        aliases=list(record.aliases),
    )


def model_message(record: ModelRecord, newest: list[ModelVersionRecord]) -> ModelMessage:
    return ModelMessage(
        name=record.name,
        creation_timestamp=milliseconds(record.created),
        last_updated_timestamp=milliseconds(record.updated),
        description=record.description,
        latest_versions=[version_message(each) for each in newest],
        tags=pairs(record.tags),
        aliases=[
            AliasMessage(alias=alias, version=str(version)) for alias, version in record.aliases.items()
        ],
    )


def model_named(workspace: Workspace, name: str) -> ModelRecord:
    """A registered model by the name it has now: MLflow's clients do not know it by names it had before."""
    if not name:
        raise invalid("Registered model name cannot be empty.")
    record = workspace.registry.described(name)
    if record.name != name:
        raise missing(f"Registered Model with name={name} not found: it is called {record.name} now")
    return record


def version_named(workspace: Workspace, name: str, version: str) -> ModelVersionRecord:
    """One version by the name its model has now, unless it has been deleted."""
    model_named(workspace, name)
    record = workspace.registry.version(version_reference(name, version))
    if record.state is ModelState.DELETED:
        raise missing(f"Model Version (name={name}, version={version}) not found")
    return record


def version_reference(name: str, version: str) -> str:
    if not (version.isascii() and version.isdigit()):
        raise invalid(f"Invalid model version {version!r}: it must be an integer.")
    if int(version) == 0 or len(version) > 9:
        raise missing(f"Model Version (name={name}, version={version}) not found")
    return f"model:{name}@v{int(version)}"


def logged_status_in(text: str) -> LoggedModelStatus:
    """Our word for the status of a logged model, given by its name or number."""
    name = _STATUS_NUMBERS.get(text, text)
    if name not in STATUSES:
        raise invalid(f"Invalid value {text!r} for parameter 'status': it is one of {', '.join(STATUSES)}.")
    return STATUSES[name]


def stage_in(text: str) -> Stage:
    """Our word for a stage, in any case of letters."""
    if text.lower() not in STAGES:
        raise invalid(
            f"Invalid Model Version stage: {text}. Value must be one of None, Staging, Production, Archived."
        )
    return STAGES[text.lower()]


_ARTIFACTS = re.compile(r"mlflow-artifacts:(?://[^/]*)?/+(?P<path>.*)")
_IN_RUN = re.compile(r"\d+/(?P<run>[0-9a-f]{32})/artifacts(?:/(?P<artifact>.+?))?/?\Z")
_IN_LOGGED_MODEL = re.compile(r"\d+/models/(?P<model>m-[0-9a-f]{32})/artifacts/?\Z")
_IN_VERSION = re.compile(r"registered/(?P<reference>.+@v\d+)/?\Z")
_OF_RUN = re.compile(r"runs:/+(?P<run>[0-9a-f]{32})/(?P<artifact>.+?)/?\Z")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:")

PROMPT_SOURCES = ("dummy-source", "prompt-template")
"""What clients say where a version of a prompt came from: a prompt is its tags."""


def source_in(source: str, model_id: str) -> Source:
    """What a version is to be made of. Raises for what a server must not read: paths on its own disk.

    >>> source_in("runs:/" + "0" * 32 + "/model", "")
    Source(run='00000000000000000000000000000000', artifact='model', logged_model='', copy_of='')
    >>> source_in("models:/delay/3", "").copy_of
    'model:delay@v3'
    >>> source_in("s3://bucket/model", "")
    Source(run='', artifact='', logged_model='', copy_of='')
    """
    if ".." in re.split(r"[/\\]|%2[fF]|%5[cC]", source.replace("%2e", ".").replace("%2E", ".")):
        raise invalid(f"Invalid model version source: '{source}'.")
    if source.startswith("models:/"):
        rest = source.removeprefix("models:/").strip("/")
        if is_model_id(rest):
            if model_id != rest:
                raise invalid(f"Invalid model version source: '{source}' goes with model_id={rest}.")
            return Source(logged_model=rest)
        name, _, version = rest.rpartition("/")
        if not name or not version.isdigit():
            raise invalid(f"Invalid model version source: '{source}'. Name a version: models:/NAME/1.")
        return Source(copy_of=version_reference(name, version))
    of_run = _OF_RUN.match(source)
    if of_run is not None:
        return Source(run_id_in(of_run["run"], ""), of_run["artifact"])
    if source.startswith("runs:/"):
        raise invalid(f"Invalid model version source: '{source}' names no run. Write runs:/RUN_ID/PATH.")
    proxied = _ARTIFACTS.match(source)
    if proxied is not None:
        return _proxied(source, proxied["path"])
    if source in PROMPT_SOURCES:
        return Source()
    if _SCHEME.match(source) is None or source.lower().startswith("file:") or re.match(r"[A-Za-z]:", source):
        raise invalid(
            f"Invalid model version source: '{source}'. A path on a disk is not taken; log the model to a run."
        )
    return Source()


def _proxied(source: str, path: str) -> Source:
    if found := _IN_LOGGED_MODEL.match(path):
        return Source(logged_model=found["model"])
    if found := _IN_RUN.match(path):
        return Source(run=found["run"], artifact=found["artifact"] or "")
    if found := _IN_VERSION.match(path):
        return Source(copy_of=f"model:{found['reference']}")
    raise invalid(f"Invalid model version source: '{source}' is nothing that has files here.")


def _metric(point: MeasuredPoint) -> ModelMetric:
    return ModelMetric(
        key=point.key,
        value=number(point.number),
        timestamp=milliseconds(point.time),
        step=point.step,
        model_id=point.model_id,
        run_id=point.run_id,
        dataset_name=point.dataset,
        dataset_digest=point.dataset_digest,
    )
