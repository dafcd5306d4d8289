"""Tables of sweeps, searches over the parameters of a pipeline."""

import sqlalchemy as sa

from everloop.store.schema.base import Identifier, Json, Moment, metadata

sweeps = sa.Table(
    "sweeps",
    metadata,
    sa.Column("run", Identifier, primary_key=True),
    sa.Column("plan", Json, nullable=False),
    sa.Column("trials", sa.Integer, nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("started", Moment, nullable=False),
)

sweep_trials = sa.Table(
    "sweep_trials",
    metadata,
    sa.Column("run", Identifier, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("trial", Json, nullable=False),
    comment="`run` is the sweep's; the runs that the trial made are in `trial`.",
)
