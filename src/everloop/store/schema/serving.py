"""Tables of the serving room."""

from __future__ import annotations

import sqlalchemy as sa

from everloop.store.schema.base import Digest, Identifier, Json, Moment, Name, metadata

endpoints = sa.Table(
    "endpoints",
    metadata,
    sa.Column("name", Name, primary_key=True),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("arms", Json, nullable=False),
    sa.Column("salt", sa.String(100), nullable=False),
    sa.Column("created", Moment, nullable=False),
    sa.Column("updated", Moment, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
)

endpoint_revisions = sa.Table(
    "endpoint_revisions",
    metadata,
    sa.Column("endpoint", sa.ForeignKey("endpoints.name"), primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("time", Moment, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("arms", Json, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    comment="Which arms answered from when on.",
)

prediction_segments = sa.Table(
    "prediction_segments",
    metadata,
    sa.Column("segment", Identifier, primary_key=True),
    sa.Column("endpoint", Name, nullable=False),
    sa.Column("digest", Digest, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("first", Moment, nullable=False),
    sa.Column("last", Moment, nullable=False),
    sa.Column("received_first", Moment, nullable=False),
    sa.Column("received_last", Moment, nullable=False),
    sa.Column("rows_by_model", Json, nullable=False),
    sa.Index(None, "endpoint", "first"),
    comment="Closed parts of the prediction log, as Parquet objects. The segment's identifier makes collecting it idempotent.",
)
