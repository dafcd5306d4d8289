"""Places in pools, and runs of pipelines that were asked to stop."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_table(
        "pools",
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_pools")),
        comment="How many places a pool had when it was last asked for. Who changes its places holds this row.",
    )
    op.create_table(
        "pool_places",
        sa.Column("ticket", sa.String(length=32), nullable=False),
        sa.Column("pool", sa.String(length=250), nullable=False),
        sa.Column("run", sa.String(length=32), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("began", sa.Float(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ticket", name=op.f("pk_pool_places")),
        comment="Steps in a pool (`held`) or waiting for a place. A place whose process is gone, or which ran out, is free again.",
    )
    op.create_index(op.f("ix_pool_places_pool"), "pool_places", ["pool"], unique=False)
    op.create_index(op.f("ix_pool_places_run"), "pool_places", ["run"], unique=False)
    op.create_table(
        "pipeline_stops",
        sa.Column("run", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run", name=op.f("pk_pipeline_stops")),
        comment="Runs of pipelines that somebody asked to stop.",
    )
