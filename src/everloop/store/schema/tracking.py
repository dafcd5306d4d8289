"""Tables of the tracking room: experiments, runs, what was logged, artifacts, checkpoints."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from everloop.domain.runs import ACTIVE, DEFAULT_EXPERIMENT, DEFAULT_EXPERIMENT_ID, MAX_KEY
from everloop.domain.times import system_clock
from everloop.store.schema.base import Digest, Identifier, Json, Moment, Name, metadata

INDEXED_CHARACTERS = 200
"""How much of a long text goes into an index: Postgres refuses index rows of more than about 2,700 bytes."""

Key = sa.String(MAX_KEY)
State = sa.String(16)

experiments = sa.Table(
    "experiments",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("uuid", Identifier, nullable=False, unique=True),
    sa.Column("name", sa.String(500), nullable=False),
    sa.Column("state", State, nullable=False),
    sa.Column("created", Moment, nullable=False),
    sa.Column("updated", Moment, nullable=False),
    sqlite_autoincrement=True,
    comment="The name of a deleted experiment is free again.",
)
uq_experiments_name = sa.Index("uq_experiments_name", experiments.c.name, unique=True)


@sa.event.listens_for(experiments, "before_create")
def _active_names(table: sa.Table, connection: sa.Connection, **_: Any) -> None:
    """Only names of active experiments are unique. Said when the table is made: said in `sa.Index`, every command would import
    the dialect of the database it does not use."""
    uq_experiments_name.dialect_options[connection.dialect.name]["where"] = experiments.c.state == ACTIVE


def _ordered_by_key(table: sa.Table, connection: sa.Connection, **_: Any) -> None:
    """SQLite keeps the rows in the primary key itself: all of a run are side by side, and found without a second look-up."""
    if connection.dialect.name == "sqlite":
        table.dialect_options["sqlite"]["with_rowid"] = False


experiment_tags = sa.Table(
    "experiment_tags",
    metadata,
    sa.Column("experiment", sa.ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", Key, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", Identifier, primary_key=True),
    sa.Column("experiment", sa.ForeignKey("experiments.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("status", State, nullable=False),
    sa.Column("start_time", Moment, nullable=False),
    sa.Column("end_time", Moment),
    sa.Column("state", State, nullable=False),
    sa.Column("deleted_at", Moment),
    sa.Column("parent", Identifier),
    sa.Column("resumed_from", Identifier),
    sa.Column("records", sa.BigInteger, nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("process_began", sa.Double, nullable=False),
    sa.Column("heartbeat", Moment, nullable=False),
    sa.Column("captured", Json, nullable=False),
    sa.Index(None, "state", "start_time", "id"),
    sa.Index(None, "experiment", "state", "start_time", "id"),
    sa.Index(None, "status"),
    sa.Index(None, "parent"),
    comment="`records`: how many journal records have arrived. `version`: the commit.",
)


def _of_run() -> sa.Column[str]:
    return sa.Column("run", sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)


run_params = sa.Table(
    "run_params",
    metadata,
    _of_run(),
    sa.Column("key", Key, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("head", sa.String(INDEXED_CHARACTERS), nullable=False),
    sa.Column("number", sa.Double),
    sa.Index(None, "key", "head", "run"),
    sa.Index(None, "key", "number", "run"),
    comment="Written once. `head`: the first characters, for the index. `number`: what the text stands for, if a number.",
)

run_tags = sa.Table(
    "run_tags",
    metadata,
    _of_run(),
    sa.Column("key", Key, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("head", sa.String(INDEXED_CHARACTERS), nullable=False),
    sa.Index(None, "key", "head", "run"),
)

run_metrics = sa.Table(
    "run_metrics",
    metadata,
    _of_run(),
    sa.Column("key", Key, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("numbers", sa.BigInteger, nullable=False),
    sa.Column("first_step", sa.BigInteger, nullable=False),
    sa.Column("first_time", Moment, nullable=False),
    sa.Column("first", sa.Double),
    sa.Column("last_step", sa.BigInteger, nullable=False),
    sa.Column("last_time", Moment, nullable=False),
    sa.Column("last", sa.Double),
    sa.Column("min", sa.Double),
    sa.Column("max", sa.Double),
    sa.Column("mean", sa.Double),
    sa.Index(None, "key", "last", "run"),
    sa.Index(None, "key", "min", "run"),
    sa.Index(None, "key", "max", "run"),
    comment="One row a metric of a run, for search. NULL is NaN, which databases disagree on; `numbers` counts the points "
    "that are not NaN.",
)

for _searched in (run_params, run_tags, run_metrics):
    sa.event.listen(_searched, "before_create", _ordered_by_key)

metric_blocks = sa.Table(
    "metric_blocks",
    metadata,
    _of_run(),
    sa.Column("key", Key, primary_key=True),
    sa.Column("record", sa.BigInteger, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("points", sa.LargeBinary, nullable=False),
    comment="Points of one metric in one shipment, as columns; `record` is the number of the shipment's first record, far below "
    "zero for calls that came without a journal.",
)

run_output = sa.Table(
    "run_output",
    metadata,
    _of_run(),
    sa.Column("record", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("stream", sa.String(8), nullable=False),
    sa.Column("time", Moment, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    comment="Lines that a run printed in a row to one stream; `record` is the number of the journal record that began them.",
)

run_artifacts = sa.Table(
    "run_artifacts",
    metadata,
    _of_run(),
    sa.Column("path", sa.String(500), primary_key=True),
    sa.Column("digest", Digest, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
)

run_checkpoints = sa.Table(
    "run_checkpoints",
    metadata,
    _of_run(),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("digest", Digest, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("format", sa.String(16), nullable=False),
    sa.Column("step", sa.BigInteger),
    sa.Column("records", sa.BigInteger, nullable=False),
    sa.Column("created", Moment, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    comment="`records`: how many journal records came before; a run resumed here begins with the points of these.",
)

logged_datasets = sa.Table(
    "logged_datasets",
    metadata,
    sa.Column("id", Identifier, primary_key=True),
    sa.Column("experiment", sa.ForeignKey("experiments.id"), nullable=False),
    sa.Column("name", sa.String(500), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("source_type", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("schema", sa.Text, nullable=False),
    sa.Column("profile", sa.Text, nullable=False),
    sa.UniqueConstraint("experiment", "name", "digest"),
    sa.Index(None, "name", "digest"),
    comment="Datasets as runs describe what they used; what they hold is not kept. `digest`: whatever the describer computed.",
)

run_datasets = sa.Table(
    "run_datasets",
    metadata,
    _of_run(),
    sa.Column("dataset", sa.ForeignKey("logged_datasets.id"), primary_key=True),
    sa.Column("context", sa.String(500), nullable=False),
    sa.Column("tags", Json, nullable=False),
    sa.Index(None, "dataset", "run"),
    comment="`context`: what it was used for, such as train or eval. Said once: what is said first stays.",
)

run_views = sa.Table(
    "run_views",
    metadata,
    sa.Column("name", Name, primary_key=True),
    sa.Column("view", Json, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("updated", Moment, nullable=False),
    comment="Saved ways to look at runs.",
)


@sa.event.listens_for(experiments, "after_create")
def _default_experiment(table: sa.Table, connection: sa.Connection, **_: Any) -> None:
    """Runs that name no experiment need one, and clients of MLflow expect it to have the number 0."""
    now = system_clock()
    row = {"id": DEFAULT_EXPERIMENT_ID, "uuid": "0" * 32, "name": DEFAULT_EXPERIMENT, "state": ACTIVE}
    connection.execute(sa.insert(table).values(**row, created=now, updated=now))
