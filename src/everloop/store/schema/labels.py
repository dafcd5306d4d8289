"""Tables of labelling: projects, their queue, and the history of what people said."""

import sqlalchemy as sa

from everloop.store.schema.base import Digest, Identifier, Json, Moment, Name, Ref, metadata

label_projects = sa.Table(
    "label_projects",
    metadata,
    sa.Column("name", Name, primary_key=True),
    sa.Column("source", Ref, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("shown", Json, nullable=False),
    sa.Column("questions", Json, nullable=False),
    sa.Column("overlap", sa.Integer, nullable=False),
    sa.Column("lease_seconds", sa.Integer, nullable=False),
    sa.Column("order", sa.String(20), nullable=False),
    sa.Column("guidelines", sa.Text, nullable=False),
    sa.Column("guidelines_version", sa.Integer, nullable=False),
    sa.Column("items", sa.Integer, nullable=False),
    sa.Column("created", Moment, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("closed", Moment),
    sa.Index(None, "source"),
)

label_contents = sa.Table(
    "label_contents",
    metadata,
    sa.Column("project", Name, primary_key=True),
    sa.Column("first", sa.Integer, primary_key=True),
    sa.Column("digest", Digest, nullable=False),
    comment="What annotators see of the items from number `first` on: an object of a few hundred of them.",
)

label_items = sa.Table(
    "label_items",
    metadata,
    sa.Column("project", Name, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("labelled", sa.Integer, nullable=False),
    sa.Column("skipped", sa.Integer, nullable=False),
    sa.Column("differs", sa.Boolean, nullable=False),
    sa.Column("final", Identifier),
    sa.Index(None, "project", "key"),
    sa.Index(None, "project", "position"),
    sa.Index(None, "project", "state", "position"),
    sa.Index(None, "project", "differs", "state", "position"),
    comment="`position`: the place in the queue. `labelled`, `skipped`: by how many annotators. "
    "`final`: what a reviewer decided.",
)

label_entries = sa.Table(
    "label_entries",
    metadata,
    sa.Column("id", Identifier, primary_key=True),
    sa.Column("project", Name, nullable=False),
    sa.Column("item", sa.Integer, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("kind", sa.String(12), nullable=False),
    sa.Column("answers", Json, nullable=False),
    sa.Column("replaces", Identifier),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("seconds", sa.Float),
    sa.Column("guidelines", sa.Integer, nullable=False),
    sa.Column("source", Ref, nullable=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("created", Moment, nullable=False),
    sa.Index(None, "project", "item", "id"),
    sa.Index(None, "project", "user", "id"),
    sa.Index(None, "replaces"),
    comment="The history: rows are added and never changed. `guidelines`: the number of those in force. `source`: what was seen.",
)

label_marks = sa.Table(
    "label_marks",
    metadata,
    sa.Column("project", Name, primary_key=True),
    sa.Column("item", sa.Integer, primary_key=True),
    sa.Column("user", Name, primary_key=True),
    sa.Column("entry", Identifier, nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Index(None, "project", "user", "state"),
    comment="What each annotator says of an item today: the entry that counts; `state` is labelled, skipped or rejected.",
)

label_leases = sa.Table(
    "label_leases",
    metadata,
    sa.Column("project", Name, primary_key=True),
    sa.Column("user", Name, primary_key=True),
    sa.Column("item", sa.Integer, nullable=False),
    sa.Column("until", Moment, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Index(None, "project", "item"),
    comment="The item each annotator was given last, kept for them until `until`; `position`: how far down the queue they are.",
)

label_suggestions = sa.Table(
    "label_suggestions",
    metadata,
    sa.Column("project", Name, primary_key=True),
    sa.Column("model", Ref, primary_key=True),
    sa.Column("item", sa.Integer, primary_key=True),
    sa.Column("answers", Json, nullable=False),
    sa.Column("score", sa.Float),
    sa.Column("probabilities", Json, nullable=False),
    sa.Index(None, "project", "item"),
    comment="What models say of the items.",
)
