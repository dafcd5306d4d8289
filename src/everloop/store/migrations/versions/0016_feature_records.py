"""Feature views: what computing them took, statistics of their values, reports of parity."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_table(
        "feature_work",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("reference", sa.String(length=300), nullable=False),
        sa.Column("work", sa.String(length=20), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feature_work")),
        comment="How long reading a view's datasets took, from which the cost of a backfill is told before it runs.",
    )
    op.create_index(op.f("ix_feature_work_reference"), "feature_work", ["reference"], unique=False)
    op.create_table(
        "feature_statistics",
        sa.Column("reference", sa.String(length=300), nullable=False),
        sa.Column("data", sa.String(length=64), nullable=False),
        sa.Column("sources", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("columns", sa.Text(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("reference", "data", name=op.f("pk_feature_statistics")),
        comment="Statistics of a view version over versions of its datasets; `data` is the digest of `sources`.",
    )
    op.create_table(
        "parity_reports",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_parity_reports")),
        comment="Logged features against history, as they were compared.",
    )
    op.create_table(
        "parity_views",
        sa.Column("report", sa.String(length=32), nullable=False),
        sa.Column("reference", sa.String(length=300), nullable=False),
        sa.PrimaryKeyConstraint("report", "reference", name=op.f("pk_parity_views")),
        comment="Which view versions a report of parity is about.",
    )
    op.create_index(
        op.f("ix_parity_views_reference_report"), "parity_views", ["reference", "report"], unique=False
    )
