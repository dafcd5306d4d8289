"""Tables of the loop room."""

from __future__ import annotations

import sqlalchemy as sa

from everloop.store.schema.base import Identifier, Json, Moment, Name, Ref, metadata

policies = sa.Table(
    "policies",
    metadata,
    sa.Column("name", Name, primary_key=True),
    sa.Column("endpoint", Name, nullable=False),
    sa.Column("model", Name, nullable=False),
    sa.Column("declaration", Json, nullable=False),
    sa.Column("declared", Moment, nullable=False),
)

retrainings = sa.Table(
    "retrainings",
    metadata,
    sa.Column("id", Identifier, primary_key=True),
    sa.Column("policy", Name, nullable=False),
    sa.Column("cause", sa.String(300), nullable=False),
    sa.Column("because", sa.Text, nullable=False),
    sa.Column("alert", sa.String(40), nullable=False),
    sa.Column("endpoint", Name, nullable=False),
    sa.Column("model", Name, nullable=False),
    sa.Column("params", Json, nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("requested", Moment, nullable=False),
    sa.Column("ended", Moment),
    sa.Column("run", Ref),
    sa.Column("candidate", Ref),
    sa.Column("rollout", Ref),
    sa.Column("gates", Json, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.UniqueConstraint("policy", "cause"),
    sa.Index(None, "model", "requested"),
    comment="One retraining, from its cause to the rollout of its candidate. A cause acts once under a policy.",
)
