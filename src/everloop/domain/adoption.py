"""What comes out of another tool's store, in the shape in which the rooms take it in: whole, with its own identifiers and times.

Readers of a foreign format (`everloop.exchange`) make these; `tracking.adopting` and `registry.adopting` store them. Whatever is
there already is left as it is, so the same store can be brought in twice.
"""

from __future__ import annotations

import hashlib
import string
from datetime import datetime

import msgspec

from everloop.domain.ids import is_id
from everloop.domain.logged_models import LoggedModel, RunModel
from everloop.domain.run_inputs import LoggedDataset
from everloop.domain.runs import ACTIVE, INTERRUPTED, RUNNING, ArtifactRecord, Captured
from everloop.domain.signature import StoredFile

BYTES_A_POINT = 24


class AdoptedExperiment(msgspec.Struct, frozen=True):
    """An experiment of another store. `key` stands for it in this ledger, however often it comes: see `derived_id`. `number` is
    what it was called by there, kept where it is free here."""

    key: str
    name: str
    state: str = ACTIVE
    number: int | None = None
    created: datetime | None = None
    updated: datetime | None = None
    tags: dict[str, str] = {}


class MetricColumns(msgspec.Struct, frozen=True):
    """The points of all metrics of a run. `counts[i]` points belong to `keys[i]`, one metric after the other.

    `points`: all steps, then all times (microseconds since 1970), then all values, as little-endian 64-bit integers, integers and
    floats: 24 bytes a point. What is too much for one message is put into the object store, and named by `stored`.
    """

    keys: list[str] = []
    counts: list[int] = []
    points: bytes = b""
    stored: str = ""

    @property
    def count(self) -> int:
        """How many points there are."""
        return sum(self.counts)


class AdoptedRun(msgspec.Struct, frozen=True):
    """A run of another store. `experiment`: the number, UUID or name of one that is here. A run that is here already
    is left alone, unless it was still running when it came and has ended since: then this takes its place."""

    run_id: str
    experiment: str
    name: str
    user: str
    status: str
    start_time: datetime
    end_time: datetime | None = None
    state: str = ACTIVE
    deleted_at: datetime | None = None
    parent: str | None = None
    captured: Captured = Captured()
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: MetricColumns = MetricColumns()
    artifacts: list[ArtifactRecord] = []
    datasets: list[LoggedDataset] = []
    models: list[RunModel] = []


class KnownRun(msgspec.Struct, frozen=True):
    """What a second import must know of a run that is here already. `files`: how many artifacts it has."""

    run_id: str
    status: str
    files: int


class Adopted(msgspec.Struct, frozen=True):
    """What became of a batch: how many were new, took the place of one that had been running, or were here already."""

    new: int = 0
    replaced: int = 0
    present: int = 0


class AdoptedModels(msgspec.Struct, frozen=True):
    """What became of a registered model: how many models and versions were new or here already, and what clashed with what is."""

    models: int = 0
    versions: int = 0
    models_present: int = 0
    versions_present: int = 0
    refused: list[str] = []


class AdoptedVersion(msgspec.Struct, frozen=True):
    """A version of a registered model. Its files are named by the folder they came from: those of a logged model, or an artifact
    folder of a run; none of both: they are not here, and `source` says where they were."""

    version: int
    created: datetime
    updated: datetime | None = None
    user: str = ""
    run: str = ""
    artifact: str = ""
    logged_model: str = ""
    source: str = ""
    run_link: str = ""
    stage: str = ""
    description: str = ""
    tags: dict[str, str] = {}


class AdoptedModel(msgspec.Struct, frozen=True):
    """A registered model with its versions. `latest`: the highest number ever given, also to a version since deleted."""

    name: str
    created: datetime
    updated: datetime
    latest: int = 0
    description: str = ""
    tags: dict[str, str] = {}
    aliases: dict[str, int] = {}
    versions: list[AdoptedVersion] = []


class AdoptedLoggedModel(msgspec.Struct, frozen=True):
    """A logged model (registered or not) with its files. `experiment` as in `AdoptedRun`; `model.experiment_id` says nothing."""

    model: LoggedModel
    experiment: str
    files: dict[str, StoredFile] = {}


def derived_id(*parts: str) -> str:
    """An identifier for a thing that has none of ours: the same for the same parts, whoever asks.

    >>> derived_id("mlflow experiment", "3"), derived_id("mlflow experiment", "4")
    ('76c5efe992158b888e1f095336cf9710', '271a3b4d9fdffb25b7368694b70c950a')
    """
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def run_identifier(given: str) -> str:
    """The identifier of a run from the one it had: itself where it is one of ours too (as MLflow's are), else derived from it.

    >>> run_identifier("0981A4755DCC40EF909E97A6EE7BCB56")
    '0981a4755dcc40ef909e97a6ee7bcb56'
    """
    plain = given.replace("-", "").lower()
    if is_id(plain) and all(character in string.hexdigits + "-" for character in given):
        return plain
    return derived_id("run", given)


def has_ended_since(here: str, there: str) -> bool:
    """Whether a run that is here as `here` was not at its end when it came, and by now is `there`.

    >>> has_ended_since("interrupted", "finished"), has_ended_since("finished", "failed")
    (True, False)
    """
    return here in (RUNNING, INTERRUPTED) and there not in (RUNNING, INTERRUPTED)
