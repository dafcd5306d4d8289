"""Tables of the registry room."""

from __future__ import annotations

import sqlalchemy as sa

from everloop.store.schema.base import Digest, Identifier, Json, Moment, Name, metadata

Alias = sa.String(255)

models = sa.Table(
    "models",
    metadata,
    sa.Column("name", Name, primary_key=True),
    sa.Column("latest", sa.Integer, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("created", Moment, nullable=False),
    sa.Column("updated", Moment, nullable=False),
    comment="`latest`: the highest version ever given; numbers are never used again.",
)

model_versions = sa.Table(
    "model_versions",
    metadata,
    sa.Column("name", sa.ForeignKey("models.name"), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("run", Identifier, nullable=False),
    sa.Column("artifact", sa.String(500), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("created", Moment, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("digest", Digest, nullable=False),
    sa.Column("content", Digest, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("model", Json, nullable=False),
    sa.Column("files", Json, nullable=False),
    sa.Column("data", Json, nullable=False),
    sa.Column("commit", sa.String(64), nullable=False),
    sa.Column("metrics", Json, nullable=False),
    sa.Column("params", Json, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("card", Digest),
    sa.Column("logged_model", sa.String(64), nullable=False, server_default=""),
    sa.Column("source", sa.Text, nullable=False, server_default=""),
    sa.Column("run_link", sa.Text, nullable=False, server_default=""),
    sa.Column("stage", sa.String(16), nullable=False, server_default=""),
    sa.Column("updated", Moment),
    sa.Index(None, "run"),
    sa.Index(None, "content"),
    sa.Index(None, "logged_model"),
    comment="`digest`: of model.json, or of the list of files where MLflow wrote the folder; empty where the files are "
    "elsewhere, at `source`. `content`: the canonical digest, equal for equal models. `card`: an object, JSON. `updated`: "
    "NULL until something changed.",
)

model_tags = sa.Table(
    "model_tags",
    metadata,
    sa.Column("name", sa.ForeignKey("models.name"), primary_key=True),
    sa.Column("key", Name, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

model_version_tags = sa.Table(
    "model_version_tags",
    metadata,
    sa.Column("name", Name, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("key", Name, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(["name", "version"], ["model_versions.name", "model_versions.version"]),
)

retired_models = sa.Table(
    "retired_models",
    metadata,
    sa.Column("name", Name, primary_key=True),
    sa.Column("latest", sa.Integer, nullable=False),
    sa.Column("successor", Name),
    comment="Names that models had before they were renamed (to `successor`) or deleted. `latest` is the highest version under "
    "that name: a model that takes the name goes on after it, since predictions and events name versions.",
)

model_aliases = sa.Table(
    "model_aliases",
    metadata,
    sa.Column("name", sa.ForeignKey("models.name"), primary_key=True),
    sa.Column("alias", Alias, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)

model_alias_history = sa.Table(
    "model_alias_history",
    metadata,
    sa.Column("id", Identifier, primary_key=True),
    sa.Column("name", Name, nullable=False),
    sa.Column("alias", Alias, nullable=False),
    sa.Column("version", sa.Integer),
    sa.Column("time", Moment, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Index(None, "name", "time"),
    comment="Which version an alias meant from when on; NULL: it was taken away.",
)

promotions = sa.Table(
    "promotions",
    metadata,
    sa.Column("id", Identifier, primary_key=True),
    sa.Column("name", Name, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("alias", Alias, nullable=False),
    sa.Column("allowed", sa.Boolean, nullable=False),
    sa.Column("gates", Json, nullable=False),
    sa.Column("previous", sa.Integer),
    sa.Column("time", Moment, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Index(None, "name", "version", "time"),
    comment="Every time a version asked for an alias, with what each gate said.",
)
