"""Versions of tables get a digest of their rows, whatever their order, and versions say where they came from."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("dataset_versions", sa.Column("content", sa.String(length=64), nullable=True))
    op.add_column("dataset_versions", sa.Column("origin", sa.Text(), nullable=True))
    op.create_index(op.f("ix_dataset_versions_content"), "dataset_versions", ["content"], unique=False)
