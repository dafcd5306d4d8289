"""Tables of traces: what a program did step by step while it answered, as clients of MLflow record it."""

from __future__ import annotations

import sqlalchemy as sa

from everloop.store.schema.base import Digest, Json, Moment, metadata
from everloop.store.schema.tracking import experiments

TraceId = sa.String(64)


def _of_trace() -> sa.Column[str]:
    return sa.Column("trace", sa.ForeignKey("traces.id", ondelete="CASCADE"), primary_key=True)


traces = sa.Table(
    "traces",
    metadata,
    sa.Column("id", TraceId, primary_key=True),
    sa.Column("experiment", sa.ForeignKey(experiments.c.id), nullable=False),
    sa.Column("time", Moment, nullable=False),
    sa.Column("duration", sa.BigInteger),
    sa.Column("state", sa.String(32), nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("response", sa.Text, nullable=False),
    sa.Column("facts", Json, nullable=False),
    sa.Index(None, "experiment", "time"),
    comment="`duration`: microseconds; NULL while it goes on. `request`, `response`: how they begin. `facts`: what the client "
    "said of it, such as the run it belongs to. The steps themselves are in a file.",
)

trace_tags = sa.Table(
    "trace_tags",
    metadata,
    _of_trace(),
    sa.Column("key", sa.String(250), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

trace_files = sa.Table(
    "trace_files",
    metadata,
    _of_trace(),
    sa.Column("path", sa.String(500), primary_key=True),
    sa.Column("digest", Digest, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
)

assessments = sa.Table(
    "trace_assessments",
    metadata,
    _of_trace(),
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("created", Moment, nullable=False),
    sa.Column("updated", Moment, nullable=False),
    sa.Column("said", Json, nullable=False),
    sa.Column("kind", sa.String(16)),
    sa.Column("name", sa.Text),
    sa.Column("text", sa.Text),
    sa.Column("number", sa.Double),
    comment="What a person or a judge said of a trace, as it was said; and what a search asks for: `kind`, `name`, the value as "
    "`text` and `number`. `kind` is NULL where somebody said it otherwise since (`overrides`).",
)

trace_spans = sa.Table(
    "trace_spans",
    metadata,
    _of_trace(),
    sa.Column("place", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("attributes", Json, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    comment="The steps of a trace as a search asks for them: the `place`-th in its file. Long texts are cut here, not there.",
)

trace_links = sa.Table(
    "trace_links",
    metadata,
    _of_trace(),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("target", sa.String(500), primary_key=True),
    sa.Index(None, "kind", "target"),
    comment="What a trace was linked to after it was recorded: `kind` run, by its identifier; prompt, as name/version.",
)
