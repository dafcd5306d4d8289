"""Tables of triggers: what starts pipelines by itself, each firing, backfills, and the files that were seen."""

from __future__ import annotations

import sqlalchemy as sa

from everloop.store.schema.base import Identifier, Json, Moment, Name, metadata

triggers = sa.Table(
    "triggers",
    metadata,
    sa.Column("name", Name, primary_key=True),
    sa.Column("declaration", Json, nullable=False),
    sa.Column("declared", Moment, nullable=False),
    sa.Column("since_event", sa.BigInteger, nullable=False),
    sa.Column("decided", Moment, nullable=False),
    sa.Column("looked", Moment),
    sa.Column("paused", Moment),
    sa.Column("paused_by", sa.Text, nullable=False),
    sa.Column("paused_because", sa.Text, nullable=False),
    comment="`decided`: all its times up to then were dealt with. `since_event`: events up to then do not set it off. "
    "Locking a row makes those who look at its firings take turns.",
)

firings = sa.Table(
    "firings",
    metadata,
    sa.Column("id", Identifier, primary_key=True),
    sa.Column("trigger", Name, nullable=False),
    sa.Column("key", sa.String(300), nullable=False),
    sa.Column("scheduled", Moment, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("facts", Json, nullable=False),
    sa.Column("params", Json, nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("waits", sa.Boolean, nullable=False),
    sa.Column("not_before", Moment, nullable=False),
    sa.Column("created", Moment, nullable=False),
    sa.Column("started", Moment),
    sa.Column("ended", Moment),
    sa.Column("run", Identifier),
    sa.Column("backfill", Identifier),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("deaths", sa.Integer, nullable=False),
    sa.Column("stopping", sa.Text, nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("began", sa.Float, nullable=False),
    sa.Column("until", Moment),
    sa.UniqueConstraint("trigger", "key"),
    sa.Index(None, "status", "trigger"),
    sa.Index(None, "trigger", "scheduled"),
    sa.Index(None, "run"),
    sa.Index(None, "backfill"),
    comment="`key` names what set it off: the same cause fires a trigger once. `place`, `pid`, `began`: the process that carries "
    "it out, which has it `until` then; `attempts` counts those that had it, and "
    "only the last may report; `deaths` those that ended without a word.",
)

backfills = sa.Table(
    "backfills",
    metadata,
    sa.Column("id", Identifier, primary_key=True),
    sa.Column("trigger", Name, nullable=False),
    sa.Column("since", Moment, nullable=False),
    sa.Column("until", Moment, nullable=False),
    sa.Column("at_once", sa.Integer, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("created", Moment, nullable=False),
    sa.Index(None, "trigger", "created"),
)

trigger_files = sa.Table(
    "trigger_files",
    metadata,
    sa.Column("trigger", Name, primary_key=True),
    sa.Column("path", sa.Text, primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("modified", Moment, nullable=False),
    sa.Column("seen", Moment, nullable=False),
    sa.Column("arrived", sa.Boolean, nullable=False),
    comment="Files at their last look; `seen`: since when they are as they are.",
)
