"""Traces: what programs did step by step while they answered."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "traces",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("experiment", sa.Integer(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("duration", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("response", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.id"], name=op.f("fk_traces_experiment")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_traces")),
        comment="`duration`: microseconds; NULL while it goes on. `request`, `response`: how they begin. `facts`: what the client "
        "said of it, such as the run it belongs to. The steps themselves are in a file.",
    )
    op.create_index(op.f("ix_traces_experiment_time"), "traces", ["experiment", "time"])
    op.create_table(
        "trace_tags",
        *_of_trace("trace_tags", "key"),
        sa.Column("key", sa.String(length=250), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
    )
    op.create_table(
        "trace_files",
        *_of_trace("trace_files", "path"),
        sa.Column("path", sa.String(length=500), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "trace_assessments",
        *_of_trace("trace_assessments", "id"),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        comment="What a person or a judge said of a trace, as it was said.",
    )


def _of_trace(table: str, key: str) -> list[sa.schema.SchemaItem]:
    """What a table of things of a trace begins with."""
    return [
        sa.Column("trace", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["trace"], ["traces.id"], name=op.f(f"fk_{table}_trace"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("trace", key, name=op.f(f"pk_{table}")),
    ]
