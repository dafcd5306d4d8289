"""Tables of the rollout room."""

from __future__ import annotations

import sqlalchemy as sa

from everloop.store.schema.base import Identifier, Json, Moment, Name, Ref, metadata

rollout_plans = sa.Table(
    "rollout_plans",
    metadata,
    sa.Column("endpoint", Name, primary_key=True),
    sa.Column("declaration", Json, nullable=False),
    sa.Column("declared", Moment, nullable=False),
)

rollouts = sa.Table(
    "rollouts",
    metadata,
    sa.Column("rollout_id", Identifier, primary_key=True),
    sa.Column("endpoint", Name, nullable=False),
    sa.Column("champion", Ref, nullable=False),
    sa.Column("candidate", Ref, nullable=False),
    sa.Column("alias", sa.String(255), nullable=False),
    sa.Column("plan", Json, nullable=False),
    sa.Column("before", Json, nullable=False),
    sa.Column("transform", Json, nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("verdict", sa.String(20), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("progress", Json, nullable=False),
    sa.Column("evidence", Json, nullable=False),
    sa.Column("decisions", sa.Integer, nullable=False),
    sa.Column("started", Moment, nullable=False),
    sa.Column("entered", Moment, nullable=False),
    sa.Column("stepped", Moment, nullable=False),
    sa.Column("ended", Moment),
    sa.Column("seconds", sa.Float),
    sa.Index(None, "endpoint", "started"),
    comment="`progress`: the state of every e-process and what it has read, so that it goes on after a restart.",
)

rollout_decisions = sa.Table(
    "rollout_decisions",
    metadata,
    sa.Column("rollout_id", Identifier, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("time", Moment, nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("verdict", sa.String(20), nullable=False),
    sa.Column("weight", sa.Float, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("evidence", Json, nullable=False),
)
