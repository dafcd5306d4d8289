"""Steps of traces, what was said of them, and what they were linked to, as a search asks for them.

Assessments that are there are read anew; the steps of traces that are there are in their files, where a migration does not look.
"""

import sqlalchemy as sa
from alembic import op

from everloop.domain.traces import judgement
from everloop.store.schema.base import Json

revision = "0021"
down_revision = "0020"

_assessments = sa.table(
    "trace_assessments",
    sa.column("trace", sa.String),
    sa.column("id", sa.String),
    sa.column("said", Json),
    sa.column("kind", sa.String),
    sa.column("name", sa.Text),
    sa.column("text", sa.Text),
    sa.column("number", sa.Double),
)


def upgrade() -> None:
    op.create_table(
        "trace_spans",
        *_of_trace("trace_spans", "place"),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("attributes", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        comment="The steps of a trace as a search asks for them: the `place`-th in its file. Long texts are cut here, not there.",
    )
    op.create_table(
        "trace_links",
        *_of_trace("trace_links", "kind", "target"),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("target", sa.String(length=500), nullable=False),
        comment="What a trace was linked to after it was recorded: `kind` run, by its identifier; prompt, as name/version.",
    )
    op.create_index(op.f("ix_trace_links_kind_target"), "trace_links", ["kind", "target"])
    for column in (
        sa.Column("kind", sa.String(length=16), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("number", sa.Double(), nullable=True),
    ):
        op.add_column("trace_assessments", column)
    connection = op.get_bind()
    for row in connection.execute(sa.select(_assessments)).all():
        found = judgement(row.said)
        if found is not None:
            one = sa.update(_assessments).where(
                _assessments.c.trace == row.trace, _assessments.c.id == row.id
            )
            connection.execute(one.values(found._asdict()))
    if connection.dialect.name == "postgresql":  # SQLite keeps no comments
        op.create_table_comment(
            "trace_assessments",
            "What a person or a judge said of a trace, as it was said; and what a search asks for: `kind`, `name`, the value as "
            "`text` and `number`. `kind` is NULL where somebody said it otherwise since (`overrides`).",
        )


def _of_trace(table: str, *key: str) -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("trace", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["trace"], ["traces.id"], name=op.f(f"fk_{table}_trace"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("trace", *key, name=op.f(f"pk_{table}")),
    ]
