"""What is known of feature views beside their declarations: what work on them took, statistics, and reports of parity."""

import sqlalchemy as sa

from everloop.store.schema.base import Digest, Identifier, Json, Moment, Ref, metadata

feature_work = sa.Table(
    "feature_work",
    metadata,
    sa.Column("id", Identifier, primary_key=True),
    sa.Column("reference", Ref, nullable=False, index=True),
    sa.Column("work", sa.String(20), nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("time", Moment, nullable=False),
    comment="How long reading a view's datasets took, from which the cost of a backfill is told before it runs.",
)

feature_statistics = sa.Table(
    "feature_statistics",
    metadata,
    sa.Column("reference", Ref, primary_key=True),
    sa.Column("data", Digest, primary_key=True),
    sa.Column("sources", Json, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("columns", Json, nullable=False),
    sa.Column("time", Moment, nullable=False),
    comment="Statistics of a view version over versions of its datasets; `data` is the digest of `sources`.",
)

parity_reports = sa.Table(
    "parity_reports",
    metadata,
    sa.Column("id", Identifier, primary_key=True),
    sa.Column("time", Moment, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("report", Json, nullable=False),
    comment="Logged features against history, as they were compared.",
)

parity_views = sa.Table(
    "parity_views",
    metadata,
    sa.Column("report", Identifier, primary_key=True),
    sa.Column("reference", Ref, primary_key=True),
    sa.Index(None, "reference", "report"),
    comment="Which view versions a report of parity is about.",
)
