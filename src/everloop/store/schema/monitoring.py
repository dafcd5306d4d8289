"""Tables of the monitoring room."""

from __future__ import annotations

import sqlalchemy as sa

from everloop.store.schema.base import Digest, Identifier, Json, Moment, Name, Ref, metadata

monitors = sa.Table(
    "monitors",
    metadata,
    sa.Column("endpoint", Name, primary_key=True),
    sa.Column("name", Name, primary_key=True),
    sa.Column("declaration", Json, nullable=False),
    sa.Column("declared", Moment, nullable=False),
)

outcomes = sa.Table(
    "outcomes",
    metadata,
    sa.Column("endpoint", Name, primary_key=True),
    sa.Column("declaration", Json, nullable=False),
    sa.Column("declared", Moment, nullable=False),
    comment="How an endpoint's labels arrive, and where its days begin.",
)

model_references = sa.Table(
    "model_references",
    metadata,
    sa.Column("model", Ref, primary_key=True),
    sa.Column("digest", Digest, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("days", sa.Integer, nullable=False),
    sa.Column("stored", Moment, nullable=False),
    comment="What a model version's inputs, answers and losses looked like before it was served.",
)

actuals_batches = sa.Table(
    "actuals_batches",
    metadata,
    sa.Column("id", Identifier, primary_key=True),
    sa.Column("endpoint", Name, nullable=False),
    sa.Column("digest", Digest, nullable=False),
    sa.Column("object", Digest, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("matched", sa.BigInteger, nullable=False),
    sa.Column("unmatched", sa.BigInteger, nullable=False),
    sa.Column("duplicates", sa.BigInteger, nullable=False),
    sa.Column("corrections", sa.BigInteger, nullable=False),
    sa.Column("received", Moment, nullable=False),
    sa.UniqueConstraint("endpoint", "digest"),
    sa.Index(None, "endpoint", "received"),
    comment="One batch of labels: the rows are a Parquet object. `digest` is of what was given: the same batch is taken once.",
)

actuals_days = sa.Table(
    "actuals_days",
    metadata,
    sa.Column("endpoint", Name, primary_key=True),
    sa.Column("day", Moment, primary_key=True),
    sa.Column("batch", Identifier, primary_key=True),
    comment="Which batches hold labels of which day of predictions.",
)

monitoring_windows = sa.Table(
    "monitoring_windows",
    metadata,
    sa.Column("endpoint", Name, primary_key=True),
    sa.Column("model", Ref, primary_key=True),
    sa.Column("mode", sa.String(20), primary_key=True),
    sa.Column("start", Moment, primary_key=True),
    sa.Column("end", Moment, nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("labelled", sa.BigInteger, nullable=False),
    sa.Column("values", Json, nullable=False),
    sa.Column("state", Digest, nullable=True),
    sa.Column("computed", Moment, nullable=False),
    sa.Index(None, "endpoint", "start"),
    comment="What one model did on one day: additive state (an object) and the values made from it.",
)

monitoring_results = sa.Table(
    "monitoring_results",
    metadata,
    sa.Column("endpoint", Name, primary_key=True),
    sa.Column("monitor", Name, primary_key=True),
    sa.Column("model", Ref, primary_key=True),
    sa.Column("start", Moment, primary_key=True),
    sa.Column("over", sa.Boolean, nullable=False),
    sa.Column("over_streak", sa.Integer, nullable=False),
    sa.Column("clear_streak", sa.Integer, nullable=False),
    sa.Column("sustained", sa.Boolean, nullable=False),
    sa.Column("readings", Json, nullable=False),
    sa.Index(None, "endpoint", "start"),
)

alerts = sa.Table(
    "alerts",
    metadata,
    sa.Column("alert_id", Identifier, primary_key=True),
    sa.Column("fingerprint", sa.String(16), nullable=False),
    sa.Column("endpoint", Name, nullable=False),
    sa.Column("model", Ref, nullable=False),
    sa.Column("family", sa.String(40), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("opened", Moment, nullable=False),
    sa.Column("updated", Moment, nullable=False),
    sa.Column("fired", Moment),
    sa.Column("acknowledged_by", sa.Text, nullable=False),
    sa.Column("acknowledged_because", sa.Text, nullable=False),
    sa.Column("resolved", Moment),
    sa.Column("resolved_because", sa.Text, nullable=False),
    sa.Column("silenced_until", Moment),
    sa.Column("silenced_because", sa.Text, nullable=False),
    sa.Column("report", Json, nullable=False),
    sa.Index(None, "endpoint", "state"),
    sa.Index(None, "fingerprint", "opened"),
)
