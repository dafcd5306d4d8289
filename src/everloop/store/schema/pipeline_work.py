"""Tables of pipelines at work: who holds a place in a pool, and which runs were asked to stop."""

from __future__ import annotations

import sqlalchemy as sa

from everloop.store.schema.base import Identifier, Moment, Name, metadata

pools = sa.Table(
    "pools",
    metadata,
    sa.Column("name", Name, primary_key=True),
    sa.Column("size", sa.Integer, nullable=False),
    comment="How many places a pool had when it was last asked for. Who changes its places holds this row.",
)

pool_places = sa.Table(
    "pool_places",
    metadata,
    sa.Column("ticket", Identifier, primary_key=True),
    sa.Column("pool", Name, nullable=False),
    sa.Column("run", Identifier, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("held", sa.Boolean, nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("began", sa.Float, nullable=False),
    sa.Column("until", Moment, nullable=False),
    sa.Column("since", Moment, nullable=False),
    sa.Index(None, "pool"),
    sa.Index(None, "run"),
    comment="Steps in a pool (`held`) or waiting for a place. A place whose process is gone, or which ran out, is free again.",
)

pipeline_stops = sa.Table(
    "pipeline_stops",
    metadata,
    sa.Column("run", Identifier, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("time", Moment, nullable=False),
    comment="Runs of pipelines that somebody asked to stop.",
)
