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

dataset_profiles = sa.Table(
    "dataset_profiles",
    metadata,
    sa.Column("reference", Ref, primary_key=True),
    sa.Column("profile", Digest, nullable=False),
    sa.Column("time", Moment, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    comment="The newest profile of a version: `profile` is the object that holds it.",
)

file_sketches = sa.Table(
    "file_sketches",
    metadata,
    sa.Column("file", Digest, primary_key=True),
    sa.Column("schema", Digest, primary_key=True),
    sa.Column("state", Digest, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    comment="The sketches of a file by its digest and that of its columns: `state` is the object, which may be collected.",
)
