"""What runs print."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "run_output",
        sa.Column("run", sa.String(length=32), nullable=False),
        sa.Column("record", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("stream", sa.String(length=8), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name=op.f("fk_run_output_run"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", "record", name=op.f("pk_run_output")),
        comment="Lines that a run printed in a row to one stream; `record` is the number of the journal record that began them.",
    )
