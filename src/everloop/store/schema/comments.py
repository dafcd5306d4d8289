"""What people say about runs."""

from __future__ import annotations

import sqlalchemy as sa

from everloop.store.schema.base import Identifier, Moment, metadata
from everloop.store.schema.tracking import runs

run_comments = sa.Table(
    "run_comments",
    metadata,
    sa.Column("id", Identifier, primary_key=True),
    sa.Column("run", sa.ForeignKey(runs.c.id, ondelete="CASCADE"), nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("created", Moment, nullable=False),
    sa.Column("edited", Moment),
    sa.Index(None, "run", "id"),
)
