"""What MLflow's words mean here: states, statuses, times, the tags that stand for facts, where versions' files are."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.domain.adoption import (
    BYTES_A_POINT,
    AdoptedExperiment,
    AdoptedRun,
    AdoptedVersion,
    MetricColumns,
    derived_id,
    run_identifier,
)
from everloop.domain.logged_models import LoggedModel, LoggedModelStatus, MeasuredPoint, RunModel
from everloop.domain.run_inputs import LoggedDataset
from everloop.domain.runs import ACTIVE, DELETED, FAILED, FINISHED, INTERRUPTED, KILLED, RUNNING, Captured
from everloop.domain.times import EPOCH, from_micros

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PARENT, NAME, USER = "mlflow.parentRunId", "mlflow.runName", "mlflow.user"
SOURCE, COMMIT, BRANCH = "mlflow.source.name", "mlflow.source.git.commit", "mlflow.source.git.branch"
CONTEXT = "mlflow.data.context"
DELETED_VERSION = "Deleted_Internal"
BIGGEST = 1.7976931348623157e308
"""How MLflow's databases and servers write an infinity."""
LONGEST_COMMIT = 64

STATUSES = {
    "RUNNING": RUNNING,
    "SCHEDULED": RUNNING,
    "FINISHED": FINISHED,
    "FAILED": FAILED,
    "KILLED": KILLED,
}
STATUS_NUMBERS = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
MODEL_STATUSES = {
    "LOGGED_MODEL_PENDING": LoggedModelStatus.PENDING,
    "LOGGED_MODEL_READY": LoggedModelStatus.READY,
    "LOGGED_MODEL_UPLOAD_FAILED": LoggedModelStatus.FAILED,
}
MODEL_STATUS_NUMBERS = dict(enumerate(MODEL_STATUSES, 1))

_LATEST_MS = 253_370_764_800_000
_LOGGED_MODEL = re.compile(r"(?:\A|/)(m-[0-9a-f]{32})(?:/artifacts)?/?\Z")


def moment(milliseconds: Any) -> datetime | None:
    """The instant of a timestamp; None where there is none, or none that a calendar has.

    >>> moment(1_700_000_000_001)
    datetime.datetime(2023, 11, 14, 22, 13, 20, 1000, tzinfo=datetime.timezone.utc)
    >>> moment(None), moment("?")
    (None, None)
    """
    try:
        value = int(milliseconds)
    except (TypeError, ValueError, OverflowError):
        return None
    return from_micros(value * 1000) if 0 <= value < _LATEST_MS else None


def status_word(status: Any) -> str:
    """Our word for a run's status, which files keep as a number and databases as a word. A run that is not at its end is
    `running` as far as its store knows: nobody will ever say otherwise here, so it is `interrupted`.

    >>> status_word(3), status_word("FAILED"), status_word("RUNNING")
    ('finished', 'failed', 'interrupted')
    """
    word = STATUSES.get(STATUS_NUMBERS.get(status, str(status)), RUNNING)
    return INTERRUPTED if word == RUNNING else word


def state_word(lifecycle_stage: Any) -> str:
    """``active`` or ``deleted``."""
    return DELETED if lifecycle_stage == "deleted" else ACTIVE


def experiment(given: str, name: str, location: str, created: Any, **rest: Any) -> AdoptedExperiment:
    """An experiment as it is kept here. Name and store may change between two imports; where its artifacts go and when it was
    made do not, so these and its identifier make the key."""
    number = int(given) if given.isascii() and given.isdigit() else None
    key = derived_id("mlflow experiment", given, location, str(created or ""))
    return AdoptedExperiment(
        key, name or f"experiment {given}", number=number, created=moment(created), **rest
    )


def run(
    info: Mapping[str, Any],
    params: dict[str, str],
    tags: dict[str, str],
    metrics: MetricColumns,
    datasets: Sequence[LoggedDataset] = (),
    models: Sequence[RunModel] = (),
) -> AdoptedRun:
    """A run from the fields of MLflow's own record of it, as they are called in its files and tables."""
    given = str(info["run_id"])
    user = str(info.get("user_id") or "")
    parent = tags.get(PARENT)
    started = moment(info.get("start_time")) or moment(info.get("end_time")) or EPOCH
    commit = tags.get(COMMIT) or str(info.get("source_version") or "")
    status = status_word(info.get("status"))
    captured = Captured(
        source=tags.get(SOURCE) or str(info.get("source_name") or ""),
        commit=commit[:LONGEST_COMMIT],
        branch=tags.get(BRANCH, ""),
    )
    return AdoptedRun(
        run_id=run_identifier(given),
        experiment=str(info["experiment_id"]),
        name=str(info.get("run_name") or tags.get(NAME) or ""),
        user=tags.get(USER, "") if user in {"", "unknown"} else user,
        status=status,
        start_time=started,
        end_time=moment(info.get("end_time"))
        or (_last_sign(metrics, started) if status == INTERRUPTED else None),
        state=state_word(info.get("lifecycle_stage")),
        deleted_at=moment(info.get("deleted_time")),
        parent=run_identifier(parent) if parent else None,
        captured=captured,
        params=params,
        tags=tags,
        metrics=metrics,
        datasets=list(datasets),
        models=list(models),
    )


def _last_sign(metrics: MetricColumns, started: datetime) -> datetime:
    """When the last point was logged, or the run began."""
    if not metrics.points:
        return started
    import numpy as np

    count = len(metrics.points) // BYTES_A_POINT
    return max(started, from_micros(int(np.frombuffer(metrics.points, "<i8", count, 8 * count).max())))


def dataset(fields: Mapping[str, Any], tags: dict[str, str]) -> LoggedDataset:
    """A dataset that a run says it used, from the fields of MLflow's record."""
    rest = {name: str(fields.get(name) or "") for name in ("source_type", "source", "schema", "profile")}
    others = {key: value for key, value in tags.items() if key != CONTEXT}
    return LoggedDataset(
        str(fields["name"]), str(fields["digest"]), context=tags.get(CONTEXT, ""), tags=others, **rest
    )


def logged_model(
    info: Mapping[str, Any], params: dict[str, str], tags: dict[str, str], measured: list[MeasuredPoint]
) -> LoggedModel:
    """A logged model from the fields of MLflow's record."""
    status = info.get("status")
    word = MODEL_STATUS_NUMBERS.get(status, str(status)) if isinstance(status, int) else str(status)
    source_run = info.get("source_run_id")
    created = moment(info.get("creation_timestamp")) or EPOCH
    return LoggedModel(
        model_id=str(info["model_id"]),
        experiment_id=0,
        name=str(info.get("name") or "model"),
        kind=str(info.get("model_type") or ""),
        status=MODEL_STATUSES.get(word, LoggedModelStatus.PENDING),
        created=created,
        updated=moment(info.get("last_updated_timestamp")) or created,
        user=tags.get(USER, ""),
        status_message=str(info.get("status_message") or ""),
        source_run=run_identifier(str(source_run)) if source_run else None,
        state=state_word(info.get("lifecycle_stage")),
        params=params,
        tags=tags,
        measured=measured,
    )


class Origin(msgspec.Struct, frozen=True):
    """Where a registered version's files come from: a logged model, a folder of a run, or another version."""

    logged_model: str = ""
    run: str = ""
    artifact: str = ""
    version_of: str = ""
    version: int = 0


def origin(source: str, run_id: str, model_id: str = "", storage: str = "") -> Origin:
    """Read the `source` of a model version.

    >>> origin("models:/m-" + "a" * 32, "r").logged_model == "m-" + "a" * 32
    True
    >>> origin("/mlruns/1/abc/artifacts/model", "abc")
    Origin(logged_model='', run='abc', artifact='model', version_of='', version=0)
    >>> origin("runs:/abc/a/b", "").artifact, origin("models:/other/2", "").version_of, origin("s3://x", "").run
    ('a/b', 'other', '')
    """
    for text in (model_id, source, storage):
        if found := _LOGGED_MODEL.search(text):
            return Origin(logged_model=found[1])
    if source.startswith("runs:/"):
        run_part, _, artifact = source.removeprefix("runs:/").strip("/").partition("/")
        return Origin(run=run_part, artifact=artifact)
    if source.startswith("models:/"):
        name, _, version = source.removeprefix("models:/").strip("/").rpartition("/")
        return Origin(version_of=name, version=int(version)) if version.isdigit() else Origin()
    before, _, artifact = source.partition(f"/{run_id}/artifacts/") if run_id else ("", "", "")
    return Origin(run=run_id, artifact=artifact.strip("/")) if before or artifact else Origin()


def version(fields: Mapping[str, Any], tags: dict[str, str]) -> AdoptedVersion:
    """A version of a registered model from the fields of MLflow's record. A copy names the version it was made of."""
    source, run_id = str(fields.get("source") or ""), str(fields.get("run_id") or "")
    storage = str(fields.get("storage_location") or "")
    found = origin(source, run_id, str(fields.get("model_id") or ""), storage)
    if found.version_of:  # a copy: its files are those of the original
        found = origin(storage, run_id)
    stage = str(fields.get("current_stage") or "")
    created = moment(fields.get("creation_time") or fields.get("creation_timestamp")) or EPOCH
    return AdoptedVersion(
        version=int(fields["version"]),
        created=created,
        updated=moment(fields.get("last_updated_time") or fields.get("last_updated_timestamp")),
        user=str(fields.get("user_id") or ""),
        run=run_identifier(found.run or run_id) if found.run or run_id else "",
        artifact=found.artifact,
        logged_model=found.logged_model,
        source=source,
        run_link=str(fields.get("run_link") or ""),
        stage="" if stage == "None" else stage,
        description=str(fields.get("description") or ""),
        tags=tags,
    )


def infinite_number(value: float) -> float:
    """A value with the largest number put back to the infinity it stands for.

    >>> infinite_number(-1.7976931348623157e308), infinite_number(2.0)
    (-inf, 2.0)
    """
    return math.copysign(math.inf, value) if abs(value) >= BIGGEST else value


def infinite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Many values as `infinite_number` takes one."""
    import numpy as np

    return np.where(np.abs(values) >= BIGGEST, np.copysign(math.inf, values), values)


def columns(
    keys: Sequence[str],
    counts: Sequence[int],
    steps: NDArray[np.int64],
    milliseconds: NDArray[np.int64],
    values: NDArray[np.float64],
) -> MetricColumns:
    """The points of a run; times that no calendar has are put to its ends."""
    import numpy as np

    times = np.clip(milliseconds, 0, _LATEST_MS) * 1000
    parts = (steps.astype("<i8"), times.astype("<i8"), values.astype("<f8"))
    return MetricColumns(list(keys), list(counts), b"".join(part.tobytes() for part in parts))
