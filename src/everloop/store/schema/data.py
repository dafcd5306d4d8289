"""Tables of the data room."""

import sqlalchemy as sa

from everloop.store.schema.base import Digest, Identifier, Json, Moment, Name, Ref, metadata

datasets = sa.Table(
    "datasets",
    metadata,
    sa.Column("name", Name, primary_key=True),
    sa.Column("last", sa.Integer, nullable=False),
    sa.Column("created", Moment, nullable=False),
    comment="`last` is the highest version number ever given: numbers are not used again.",
)

dataset_versions = sa.Table(
    "dataset_versions",
    metadata,
    sa.Column("name", Name, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("digest", Digest, nullable=False),
    sa.Column("files", sa.Integer, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("new_bytes", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.BigInteger),
    sa.Column("columns", Json, nullable=False),
    sa.Column("parent", Ref),
    sa.Column("producer", Ref),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("created", Moment, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("removed", Moment),
    sa.Column("content", Digest),
    sa.Column("origin", Json),
    sa.Index(None, "digest"),
    sa.Index(None, "producer"),
    sa.Index(None, "content"),
)

dataset_pins = sa.Table(
    "dataset_pins",
    metadata,
    sa.Column("name", Name, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("time", Moment, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    comment="Versions that no retention takes away.",
)

dataset_checks = sa.Table(
    "dataset_checks",
    metadata,
    sa.Column("id", Identifier, primary_key=True),
    sa.Column("reference", Ref, nullable=False),
    sa.Column("suite", Name, nullable=False),
    sa.Column("passed", sa.Boolean, nullable=False),
    sa.Column("report", Json, nullable=False),
    sa.Column("time", Moment, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Index(None, "reference", "time"),
    comment="Every verdict on a version, in the order they were made.",
)
