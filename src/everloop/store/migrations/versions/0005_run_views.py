"""Saved ways to look at runs."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "run_views",
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("view", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_run_views")),
        comment="Saved ways to look at runs.",
    )
