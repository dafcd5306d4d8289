"""Triggers: what starts pipelines by itself, each firing, backfills, files that were seen."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.create_table(
        "triggers",
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("declaration", sa.Text(), nullable=False),
        sa.Column("declared", sa.BigInteger(), nullable=False),
        sa.Column("since_event", sa.BigInteger(), nullable=False),
        sa.Column("decided", sa.BigInteger(), nullable=False),
        sa.Column("looked", sa.BigInteger(), nullable=True),
        sa.Column("paused", sa.BigInteger(), nullable=True),
        sa.Column("paused_by", sa.Text(), nullable=False),
        sa.Column("paused_because", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_triggers")),
        comment="`decided`: all its times up to then were dealt with. `since_event`: events up to then do not set it off. Locking a row makes those who look at its firings take turns.",
    )
    op.create_table(
        "firings",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("trigger", sa.String(length=250), nullable=False),
        sa.Column("key", sa.String(length=300), nullable=False),
        sa.Column("scheduled", sa.BigInteger(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("waits", sa.Boolean(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("started", sa.BigInteger(), nullable=True),
        sa.Column("ended", sa.BigInteger(), nullable=True),
        sa.Column("run", sa.String(length=32), nullable=True),
        sa.Column("backfill", sa.String(length=32), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("deaths", sa.Integer(), nullable=False),
        sa.Column("stopping", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("began", sa.Float(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_firings")),
        sa.UniqueConstraint("trigger", "key", name=op.f("uq_firings_trigger_key")),
        comment="`key` names what set it off: the same cause fires a trigger once. `place`, `pid`, `began`: the process that carries it out, which has it `until` then; `attempts` counts those that had it, and only the last may report; `deaths` those that ended without a word.",
    )
    op.create_index(op.f("ix_firings_backfill"), "firings", ["backfill"], unique=False)
    op.create_index(op.f("ix_firings_run"), "firings", ["run"], unique=False)
    op.create_index(op.f("ix_firings_status_trigger"), "firings", ["status", "trigger"], unique=False)
    op.create_index(op.f("ix_firings_trigger_scheduled"), "firings", ["trigger", "scheduled"], unique=False)
    op.create_table(
        "backfills",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("trigger", sa.String(length=250), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("at_once", sa.Integer(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backfills")),
    )
    op.create_index(op.f("ix_backfills_trigger_created"), "backfills", ["trigger", "created"], unique=False)
    op.create_table(
        "trigger_files",
        sa.Column("trigger", sa.String(length=250), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("modified", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("arrived", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("trigger", "path", name=op.f("pk_trigger_files")),
        comment="Files at their last look; `seen`: since when they are as they are.",
    )
