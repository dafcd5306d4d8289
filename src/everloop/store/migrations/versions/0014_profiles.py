"""Profiles of dataset versions, and the sketches of files that they are made of."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "dataset_profiles",
        sa.Column("reference", sa.String(length=300), nullable=False),
        sa.Column("profile", sa.String(length=64), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("reference", name=op.f("pk_dataset_profiles")),
        comment="The newest profile of a version: `profile` is the object that holds it.",
    )
    op.create_table(
        "file_sketches",
        sa.Column("file", sa.String(length=64), nullable=False),
        sa.Column("schema", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("file", "schema", name=op.f("pk_file_sketches")),
        comment="The sketches of a file by its digest and that of its columns: `state` is the object, which may be collected.",
    )
