"""Labelling: projects, their queue, and the history of what people said."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "label_projects",
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("source", sa.String(length=300), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("shown", sa.Text(), nullable=False),
        sa.Column("questions", sa.Text(), nullable=False),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("lease_seconds", sa.Integer(), nullable=False),
        sa.Column("order", sa.String(length=20), nullable=False),
        sa.Column("guidelines", sa.Text(), nullable=False),
        sa.Column("guidelines_version", sa.Integer(), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_label_projects")),
    )
    op.create_index(op.f("ix_label_projects_source"), "label_projects", ["source"], unique=False)
    op.create_table(
        "label_contents",
        sa.Column("project", sa.String(length=250), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("project", "first", name=op.f("pk_label_contents")),
        comment="What annotators see of the items from number `first` on: an object of a few hundred of them.",
    )
    op.create_table(
        "label_items",
        sa.Column("project", sa.String(length=250), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("labelled", sa.Integer(), nullable=False),
        sa.Column("skipped", sa.Integer(), nullable=False),
        sa.Column("differs", sa.Boolean(), nullable=False),
        sa.Column("final", sa.String(length=32), nullable=True),
        sa.PrimaryKeyConstraint("project", "number", name=op.f("pk_label_items")),
        comment="`position`: the place in the queue. `labelled`, `skipped`: by how many annotators. `final`: what a reviewer decided.",
    )
    op.create_index(
        op.f("ix_label_items_project_differs_state_position"),
        "label_items",
        ["project", "differs", "state", "position"],
        unique=False,
    )
    op.create_index(op.f("ix_label_items_project_key"), "label_items", ["project", "key"], unique=False)
    op.create_index(
        op.f("ix_label_items_project_position"), "label_items", ["project", "position"], unique=False
    )
    op.create_index(
        op.f("ix_label_items_project_state_position"),
        "label_items",
        ["project", "state", "position"],
        unique=False,
    )
    op.create_table(
        "label_entries",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("project", sa.String(length=250), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("answers", sa.Text(), nullable=False),
        sa.Column("replaces", sa.String(length=32), nullable=True),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("guidelines", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=300), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_entries")),
        comment="The history: rows are added and never changed. `guidelines`: the number of those in force. `source`: what was seen.",
    )
    op.create_index(
        op.f("ix_label_entries_project_item_id"), "label_entries", ["project", "item", "id"], unique=False
    )
    op.create_index(
        op.f("ix_label_entries_project_user_id"), "label_entries", ["project", "user", "id"], unique=False
    )
    op.create_index(op.f("ix_label_entries_replaces"), "label_entries", ["replaces"], unique=False)
    op.create_table(
        "label_marks",
        sa.Column("project", sa.String(length=250), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("user", sa.String(length=250), nullable=False),
        sa.Column("entry", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.PrimaryKeyConstraint("project", "item", "user", name=op.f("pk_label_marks")),
        comment="What each annotator says of an item today: the entry that counts; `state` is labelled, skipped or rejected.",
    )
    op.create_index(
        op.f("ix_label_marks_project_user_state"), "label_marks", ["project", "user", "state"], unique=False
    )
    op.create_table(
        "label_leases",
        sa.Column("project", sa.String(length=250), nullable=False),
        sa.Column("user", sa.String(length=250), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("project", "user", name=op.f("pk_label_leases")),
        comment="The item each annotator was given last, kept for them until `until`; `position`: how far down the queue they are.",
    )
    op.create_index(op.f("ix_label_leases_project_item"), "label_leases", ["project", "item"], unique=False)
    op.create_table(
        "label_suggestions",
        sa.Column("project", sa.String(length=250), nullable=False),
        sa.Column("model", sa.String(length=300), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("answers", sa.Text(), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("probabilities", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project", "model", "item", name=op.f("pk_label_suggestions")),
        comment="What models say of the items.",
    )
    op.create_index(
        op.f("ix_label_suggestions_project_item"), "label_suggestions", ["project", "item"], unique=False
    )
