"""Tables of logged models: models as runs log them, before anyone registers them."""

from __future__ import annotations

import sqlalchemy as sa

from everloop.store.schema.base import Digest, Identifier, Moment, metadata
from everloop.store.schema.tracking import experiments, runs

ModelId = sa.String(64)
Key = sa.String(255)
State = sa.String(16)


def _of_model() -> sa.Column[str]:
    return sa.Column("model", sa.ForeignKey("logged_models.id", ondelete="CASCADE"), primary_key=True)


logged_models = sa.Table(
    "logged_models",
    metadata,
    sa.Column("id", ModelId, primary_key=True),
    sa.Column("experiment", sa.ForeignKey(experiments.c.id), nullable=False),
    sa.Column("name", sa.String(500), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("status", State, nullable=False),
    sa.Column("status_message", sa.Text, nullable=False),
    sa.Column("source_run", Identifier),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("created", Moment, nullable=False),
    sa.Column("updated", Moment, nullable=False),
    sa.Column("state", State, nullable=False),
    sa.Index(None, "experiment", "state", "created"),
    sa.Index(None, "source_run", "name"),
    sa.Index(None, "name"),
    comment="`id`: m- and 32 hexadecimal digits. `kind`: the flavour or type its author gave. `state`: active or deleted.",
)

logged_model_params = sa.Table(
    "logged_model_params",
    metadata,
    _of_model(),
    sa.Column("key", Key, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("number", sa.Double),
    comment="Written once. `number`: what the text stands for, if a number.",
)

logged_model_tags = sa.Table(
    "logged_model_tags",
    metadata,
    _of_model(),
    sa.Column("key", Key, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

logged_model_metrics = sa.Table(
    "logged_model_metrics",
    metadata,
    _of_model(),
    sa.Column("key", Key, primary_key=True),
    sa.Column("run", Identifier, primary_key=True),
    sa.Column("step", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("time", Moment, primary_key=True, autoincrement=False),
    sa.Column("written", sa.String(32), primary_key=True),
    sa.Column("dataset", sa.String(500), primary_key=True),
    sa.Column("dataset_digest", sa.String(36), primary_key=True),
    sa.Column("value", sa.Double),
    comment="Points that were measured on this model. `written`: the number as text, so that a point sent twice is one point; "
    "`value`: NULL is NaN.",
)

logged_model_files = sa.Table(
    "logged_model_files",
    metadata,
    _of_model(),
    sa.Column("path", sa.String(500), primary_key=True),
    sa.Column("digest", Digest, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
)

run_models = sa.Table(
    "run_models",
    metadata,
    sa.Column("run", sa.ForeignKey(runs.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("model", ModelId, primary_key=True),
    sa.Column("role", State, primary_key=True),
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Index(None, "model"),
    comment="Which logged models a run used (`input`) and which came out of it, at which step (`output`).",
)
