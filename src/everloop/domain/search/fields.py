"""What can be asked of each kind of thing: the words of the language that are not its grammar."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

AGGREGATES = ("first", "last", "min", "max", "mean", "count")

_ATTRIBUTE = dict.fromkeys(("attribute", "attributes", "attr"), "attribute")
_METRIC = dict.fromkeys(("metric", "metrics"), "metric")
_PARAM = dict.fromkeys(("param", "params", "parameter", "parameters"), "param")
_TAG = dict.fromkeys(("tag", "tags"), "tag")
_DATASET = dict.fromkeys(("dataset", "datasets"), "dataset")

DATASET_KEYS = ("name", "digest", "context")
SPAN_KEYS = ("name", "type", "status", "content", "attributes.KEY")


class Fields(msgspec.Struct, frozen=True):
    """The fields of one kind of thing. `texts`, `times` and `numbers` are its attributes, each by all the names people may
    write; `entities` are the words that may stand before a dot."""

    thing: str
    """With its article, as errors say it: ``a run``."""
    texts: Mapping[str, str]
    times: Mapping[str, str] = {}
    numbers: Mapping[str, str] = {}
    entities: Mapping[str, str] = {}
    lineage: tuple[str, ...] = ()
    lower: frozenset[str] = frozenset()
    """Texts that are kept in lower case, so that a value is read as such."""
    spelled: Mapping[str, Mapping[str, str]] = {}
    """What values of a text MLflow writes otherwise, by the text's key."""
    assumed: Mapping[str, str] = {}
    """Tags that count as having a text where they are absent."""
    tag_names: Mapping[str, str] = {}
    """Texts that MLflow keeps as tags, by the tag's key: a filter written for it finds what was recorded without it too."""
    example: str = "name = 'x'"

    @property
    def attributes(self) -> list[str]:
        """All names of attributes, for hints."""
        return [*self.texts, *self.times, *self.numbers, *self.lineage]


TEXT_ATTRIBUTES: dict[str, str] = {
    "run_id": "run_id", "name": "name", "run_name": "name", "run name": "name", "user": "user", "user_id": "user",
    "status": "status", "source": "source", "version": "version", "commit": "version", "experiment": "experiment",
    "parent": "parent", "resumed_from": "resumed_from", "artifact_uri": "artifact_uri",
}  # fmt: skip
TIME_ATTRIBUTES: dict[str, str] = {
    "start_time": "start_time",
    "created": "start_time",
    "end_time": "end_time",
}
LINEAGE: dict[str, str] = {"data": "data", "model": "model", "feature": "feature"}
"""``data = 'flights@v3'``: runs that consumed or produced this version; a name without a version means any."""

RUNS = Fields(
    "a run",
    TEXT_ATTRIBUTES,
    TIME_ATTRIBUTES,
    entities={**_METRIC, **_PARAM, **_TAG, **_DATASET, **_ATTRIBUTE, "run": "attribute"},
    lineage=tuple(LINEAGE),
    lower=frozenset({"status"}),
    tag_names={
        "mlflow.runName": "name",
        "mlflow.parentRunId": "parent",
        "mlflow.user": "user",
        "mlflow.source.git.commit": "version",
    },
    example="metrics.rmse < 1 and params.model = 'tree'",
)

EXPERIMENTS = Fields(
    "an experiment",
    {"name": "name", "experiment_id": "experiment_id"},
    {
        "creation_time": "created",
        "created": "created",
        "last_update_time": "updated",
        "updated": "updated",
    },
    entities={**_TAG, **_ATTRIBUTE},
    example="name like 'flights%' and tags.team = 'ops'",
)

_PROMPT = {"mlflow.prompt.is_prompt": "false"}
"""MLflow's client leaves prompts out by asking for the tag to be other than 'true', and means models without it too."""

REGISTERED_MODELS = Fields(
    "a registered model",
    {"name": "name"},
    {
        "creation_timestamp": "created",
        "created": "created",
        "last_updated_timestamp": "updated",
        "timestamp": "updated",
        "updated": "updated",
    },
    entities={**_TAG, **_ATTRIBUTE},
    assumed=_PROMPT,
    example="name ilike '%delay%'",
)

MODEL_VERSIONS = Fields(
    "a model version",
    {"name": "name", "run_id": "run_id", "source_path": "source", "stage": "stage", "user": "user"},
    {
        "creation_timestamp": "created",
        "created": "created",
        "last_updated_timestamp": "updated",
        "updated": "updated",
    },
    {"version_number": "version", "version": "version"},
    entities={**_TAG, **_ATTRIBUTE},
    assumed=_PROMPT,
    example="name = 'delay' and version_number > 3",
)

LOGGED_MODELS = Fields(
    "a logged model",
    {
        "name": "name",
        "model_id": "model_id",
        "model_type": "model_type",
        "status": "status",
        "source_run_id": "source_run_id",
    },
    {
        "creation_timestamp": "created",
        "creation_timestamp_ms": "created",
        "creation_time": "created",
        "created": "created",
        "last_updated_timestamp": "updated",
        "last_updated_timestamp_ms": "updated",
        "last_updated_time": "updated",
        "updated": "updated",
    },
    entities={**_METRIC, **_PARAM, **_TAG, **_ATTRIBUTE},
    lower=frozenset({"status"}),
    spelled={
        "status": {
            "logged_model_pending": "pending",
            "logged_model_ready": "ready",
            "logged_model_upload_failed": "failed",
            "upload_failed": "failed",
        }
    },
    example="metrics.rmse < 1 and name = 'delay'",
)

TRACES = Fields(
    "a trace",
    {
        "trace_id": "trace_id",
        "request_id": "trace_id",
        "client_request_id": "client_request_id",
        "status": "state",
        "state": "state",
        "name": "name",
        "run_id": "run_id",
        "prompt": "prompt",
        "text": "text",
        "experiment_id": "experiment_id",
    },
    {
        "timestamp": "time",
        "timestamp_ms": "time",
        "created": "time",
        "end_time": "ended",
        "end_time_ms": "ended",
    },
    {"execution_time": "duration", "execution_time_ms": "duration"},
    entities={
        **_TAG,
        **_ATTRIBUTE,
        "trace": "attribute",
        **dict.fromkeys(("metadata", "request_metadata"), "metadata"),
        "span": "span",
        "feedback": "feedback",
        "expectation": "expectation",
    },
    example="status = 'ERROR' and execution_time > 1000",
)
"""An `execution_time` is in milliseconds. `span` tests a step of the trace, `feedback` and `expectation` what was said of it
under that name: as a number where it is compared with one."""
