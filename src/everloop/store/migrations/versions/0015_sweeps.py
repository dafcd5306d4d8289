"""Sweeps: searches over the parameters of a pipeline, and their trials."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "sweeps",
        sa.Column("run", sa.String(length=32), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("trials", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("started", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run", name=op.f("pk_sweeps")),
    )
    op.create_table(
        "sweep_trials",
        sa.Column("run", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("trial", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run", "number", name=op.f("pk_sweep_trials")),
        comment="`run` is the sweep's; the runs that the trial made are in `trial`.",
    )
