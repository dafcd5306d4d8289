"""What several endpoints speak of: experiments, runs, metrics and tags as MLflow writes them, from the records of our rooms.

Some of what MLflow keeps in tags is more than a tag here: the name, the user, the source, the commit and the parent of a run.
So these tags are understood when they are set, and there for runs that were never near MLflow.
"""

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Literal

from everloop.domain.direct import LastPoint, RunFacts
from everloop.domain.ids import is_id
from everloop.domain.run_inputs import LoggedDataset
from everloop.domain.runs import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    KILLED,
    RUNNING,
    Experiment,
    RunRecord,
    artifact_uri,
)
from everloop.server.mlflow.codec import Answer, Asked, Int64, Number, milliseconds, number
from everloop.server.mlflow.faults import invalid, missing

State = Literal["active", "deleted", "all"]

RUN_NAME = "mlflow.runName"
PARENT = "mlflow.parentRunId"
USER = "mlflow.user"
SOURCE = "mlflow.source.name"
SOURCE_TYPE = "mlflow.source.type"
COMMIT = "mlflow.source.git.commit"

UNKNOWN_USER = "unknown"
"""The user that `MlflowClient.create_run` names, which is nobody: it makes no tag of it."""

STATUSES = {
    "RUNNING": RUNNING,
    "SCHEDULED": RUNNING,
    "FINISHED": FINISHED,
    "FAILED": FAILED,
    "KILLED": KILLED,
}
"""MLflow's word for a status -> ours, which has none for a run that waits."""
_STATUS_NUMBERS = dict(zip("12345", ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"), strict=True))
_SHOWN = {RUNNING: "RUNNING", FINISHED: "FINISHED", FAILED: "FAILED", KILLED: "KILLED", INTERRUPTED: "KILLED"}

_VIEWS: dict[str, State] = {"ACTIVE_ONLY": "active", "DELETED_ONLY": "deleted", "ALL": "all"}
_STATES: dict[str, State] = {"": "active", **_VIEWS, "1": "active", "2": "deleted", "3": "all"}


class Tag(Answer, Asked, frozen=True, omit_defaults=False):
    """A key and a value: a tag or a parameter."""

    key: str
    value: str = ""


class Metric(Answer, frozen=True, omit_defaults=False):
    """A point of a metric."""

    key: str
    value: Number
    timestamp: int
    step: int


class ExperimentMessage(Answer, frozen=True):
    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str
    last_update_time: int
    creation_time: int
    tags: list[Tag] = []


class RunInfo(Answer, frozen=True):
    run_id: str
    run_uuid: str
    run_name: str
    experiment_id: str
    user_id: str
    status: str
    start_time: int
    artifact_uri: str
    lifecycle_stage: str
    end_time: int | None = None


class RunData(Answer, frozen=True):
    metrics: list[Metric] = []
    params: list[Tag] = []
    tags: list[Tag] = []


class Dataset(Answer, Asked, frozen=True):
    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    schema: str = ""
    profile: str = ""


class DatasetInput(Answer, Asked, frozen=True):
    dataset: Dataset
    tags: list[Tag] = []


class ModelInput(Answer, Asked, frozen=True):
    model_id: str


class ModelOutput(Answer, Asked, frozen=True, omit_defaults=False):
    model_id: str
    step: Int64 = 0


class RunInputs(Answer, frozen=True):
    dataset_inputs: list[DatasetInput] = []
    model_inputs: list[ModelInput] = []


class RunOutputs(Answer, frozen=True):
    model_outputs: list[ModelOutput] = []


class RunMessage(Answer, frozen=True):
    info: RunInfo
    data: RunData
    inputs: RunInputs | None = None
    outputs: RunOutputs | None = None


def experiment_message(found: Experiment) -> ExperimentMessage:
    return ExperimentMessage(
        experiment_id=str(found.id),
        name=found.name,
        artifact_location=f"mlflow-artifacts:/{found.id}",
        lifecycle_stage=found.state,
        last_update_time=milliseconds(found.updated),
        creation_time=milliseconds(found.created),
        tags=pairs(found.tags),
    )


def run_info(run: RunRecord) -> RunInfo:
    return RunInfo(
        run_id=run.run_id,
        run_uuid=run.run_id,
        run_name=run.name,
        experiment_id=str(run.experiment_id),
        user_id=run.user,
        status=_SHOWN[run.status],
        start_time=milliseconds(run.start_time),
        end_time=milliseconds(run.end_time) if run.end_time else None,
        artifact_uri=artifact_uri(run.experiment_id, run.run_id),
        lifecycle_stage=run.state,
    )


def run_message(
    run: RunRecord,
    points: Iterable[LastPoint],
    datasets: Iterable[LoggedDataset] = (),
    models_used: Iterable[str] = (),
    models_made: Iterable[tuple[str, int]] = (),
) -> RunMessage:
    """A run with its data, the last point of each metric, and what went in and came out."""
    return RunMessage(
        info=run_info(run),
        data=RunData(
            metrics=[metric(point.key, point.number, point.time // 1000, point.step) for point in points],
            params=pairs(run.params),
            tags=pairs(tags_of(run)),
        ),
        inputs=RunInputs(
            dataset_inputs=[dataset_input(each) for each in datasets],
            model_inputs=[ModelInput(model_id=each) for each in models_used],
        ),
        outputs=RunOutputs(
            model_outputs=[ModelOutput(model_id=each, step=step) for each, step in models_made]
        ),
    )


def metric(key: str, value: float, timestamp: int, step: int) -> Metric:
    """`timestamp`: milliseconds since 1970."""
    return Metric(key=key, value=number(value), timestamp=timestamp, step=step)


def dataset_input(found: LoggedDataset) -> DatasetInput:
    return DatasetInput(
        dataset=Dataset(
            name=found.name,
            digest=found.digest,
            source_type=found.source_type,
            source=found.source,
            schema=found.schema,
            profile=found.profile,
        ),
        tags=pairs(found.tags),
    )


def pairs(found: Mapping[str, str]) -> list[Tag]:
    return [Tag(key=key, value=value) for key, value in found.items()]


def tags_of(run: RunRecord) -> dict[str, str]:
    """The tags of a run, with those that MLflow would have set."""
    user = "" if run.user == UNKNOWN_USER else run.user
    known = {RUN_NAME: run.name, USER: user, SOURCE: run.source, COMMIT: run.version, PARENT: run.parent}
    said = {key: value for key, value in known.items() if value}
    if run.source and SOURCE_TYPE not in run.tags:
        said[SOURCE_TYPE] = "NOTEBOOK" if run.source == "notebook" else "LOCAL"
    return said | run.tags | {RUN_NAME: run.name}


def facts_in(tags: Mapping[str, str]) -> tuple[RunFacts, dict[str, str]]:
    """What tags say of a run that is more than a tag, and the tags to keep as such.

    >>> facts, tags = facts_in({"mlflow.runName": "first", "mlflow.source.name": "/home/ann/train.py", "team": "a"})
    >>> facts.name, facts.source, sorted(tags)
    ('first', 'train.py', ['mlflow.source.name', 'team'])
    """
    parent = tags.get(PARENT, "")
    commit = tags.get(COMMIT, "")
    facts = RunFacts(
        name=tags.get(RUN_NAME, ""),
        user=tags.get(USER, ""),
        source=_short(tags.get(SOURCE, "")),
        version=commit if len(commit) <= 64 else "",
        parent=parent if is_id(parent) else "",
    )
    taken = {RUN_NAME} | ({PARENT} if facts.parent else set())
    return facts, {key: value for key, value in tags.items() if key not in taken}


def _short(source: str) -> str:
    """A script by its name; the source of a project or job as it is."""
    return PurePath(source).name if source.startswith("/") else source


def required(text: str, what: str) -> str:
    """A text that must not be empty. Raises INVALID_PARAMETER_VALUE as for one that is not there."""
    if not text:
        raise invalid(f"Missing value for required parameter '{what}'.")
    return text


def unique(found: Iterable[Tag], what: str) -> dict[str, str]:
    """Pairs as a mapping. Raises INVALID_PARAMETER_VALUE for a key that comes twice."""
    texts: dict[str, str] = {}
    for each in found:
        if each.key in texts:
            raise invalid(
                f"Duplicate {what} keys have been submitted: ['{each.key}']. Please ensure each key is unique."
            )
        texts[each.key] = each.value
    return texts


def status_in(text: str) -> str:
    """Our word for a status, given by its name or number."""
    name = _STATUS_NUMBERS.get(text, text)
    if name not in STATUSES:
        raise invalid(f"Invalid value {text!r} for parameter 'status': it is one of {', '.join(STATUSES)}.")
    return STATUSES[name]


def state_in(view: str | int) -> State:
    """Our word for a view type, given by its name or number; active where none is given."""
    if str(view) not in _STATES:
        raise invalid(f"Invalid value {view!r} for parameter 'view_type': it is {', '.join(_VIEWS)}.")
    return _STATES[str(view)]


def run_id_in(run_id: str, run_uuid: str) -> str:
    """The run that is meant; clients send its identifier under two names. One that cannot be an identifier is no run."""
    given = run_id or run_uuid
    if not given:
        raise invalid("Missing value for required parameter 'run_id'.")
    if not is_id(given):
        raise missing(f"Run with id={given} not found")
    return given


def experiment_number_in(experiment_id: str) -> int:
    """The number of an experiment from the text that names it."""
    if not (experiment_id.isascii() and experiment_id.removeprefix("-").isdigit()):
        raise invalid(f"Invalid experiment ID {experiment_id!r}: it must be an integer.")
    number = int(experiment_id)
    if not 0 <= number < 2**31:
        raise missing(f"No Experiment with id={experiment_id} exists")
    return number
