"""Tables of the pipelines room: runs of pipelines and their steps, cached results, claims, components of keys, reproductions."""

from __future__ import annotations

import sqlalchemy as sa

from everloop.store.schema.base import Digest, Identifier, Json, Moment, Name, Ref, metadata

pipeline_runs = sa.Table(
    "pipeline_runs",
    metadata,
    sa.Column("run", Identifier, primary_key=True),
    sa.Column("pipeline", Name, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("params", Json, nullable=False),
    sa.Column("executor", sa.String(40), nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("started", Moment, nullable=False),
    sa.Column("resumed_from", Identifier),
    sa.Column("settings", Json, nullable=False),
    sa.Column("output", Json),
    sa.Index(None, "pipeline", "started"),
)

pipeline_steps = sa.Table(
    "pipeline_steps",
    metadata,
    sa.Column("run", Identifier, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("name", Name, nullable=False),
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("key", Digest, nullable=False),
    sa.Column("child", Identifier),
    sa.Column("value", Json),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("log", Digest),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("inputs", Json, nullable=False),
    sa.Column("time", Moment, nullable=False),
    sa.Index(None, "child"),
    sa.Index(None, "step", "name", "time"),
)

step_results = sa.Table(
    "step_results",
    metadata,
    sa.Column("key", Digest, primary_key=True),
    sa.Column("reads_digest", Digest, primary_key=True),
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("value", Json, nullable=False),
    sa.Column("reads", Json, nullable=False),
    sa.Column("run", Identifier, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("time", Moment, nullable=False),
    comment="Finished steps by key. One key has several results when the step reads datasets by itself and they moved on.",
)

step_keys = sa.Table(
    "step_keys",
    metadata,
    sa.Column("key", Digest, primary_key=True),
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("code", Digest, nullable=False),
    sa.Column("components", Json, nullable=False),
    sa.Column("time", Moment, nullable=False),
    comment="What a key was made from, without its code: `code` names a row of step_code.",
)

step_code = sa.Table(
    "step_code",
    metadata,
    sa.Column("code", Digest, primary_key=True),
    sa.Column("components", Json, nullable=False),
    sa.Column("notes", Json, nullable=False),
)

step_claims = sa.Table(
    "step_claims",
    metadata,
    sa.Column("key", Digest, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("began", sa.Float, nullable=False),
    sa.Column("until", Moment, nullable=False),
    sa.Column("run", Identifier),
    comment="Who computes a key now. A claim whose process is gone, or which ran out, is taken over with its run's checkpoint.",
)

reproductions = sa.Table(
    "reproductions",
    metadata,
    sa.Column("id", Identifier, primary_key=True),
    sa.Column("reference", Ref, nullable=False),
    sa.Column("run", Identifier, nullable=False),
    sa.Column("grade", sa.String(20), nullable=False),
    sa.Column("report", Json, nullable=False),
    sa.Column("time", Moment, nullable=False),
    sa.Index(None, "reference", "time"),
    sa.Index(None, "run", "time"),
)
