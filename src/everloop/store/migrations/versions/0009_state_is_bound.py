"""The rows of all tables are bound to the chain of events. What is there already is bound when the migration ends."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("events", sa.Column("state", sa.String(length=64), nullable=True))
    op.create_table(
        "changes",
        sa.Column("event", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("part", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("table", sa.String(length=63), nullable=False),
        sa.Column("rows", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("event", "part", name=op.f("pk_changes")),
        comment="Which rows of all other tables were written up to an event, and the digest of each. See `ledger/state.py`.",
    )
    op.create_index(op.f("ix_changes_table_event"), "changes", ["table", "event"])
    op.create_table(
        "changes_waiting",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("table", sa.String(length=63), nullable=False),
        sa.Column("rows", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_changes_waiting")),
        comment="The same, of transactions without an event: the next event takes them in.",
    )
    if op.get_bind().dialect.name == "postgresql":  # SQLite keeps no comments
        op.create_table_comment("events", "`state`: the digest of the `changes` of this event.")
