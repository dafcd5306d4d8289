"""What clients of other protocols record: calls that no journal numbers, and the datasets that runs say they used."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "logged_datasets",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("experiment", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("source_type", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("schema", sa.Text(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment"], ["experiments.id"], name=op.f("fk_logged_datasets_experiment")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_logged_datasets")),
        sa.UniqueConstraint(
            "experiment", "name", "digest", name=op.f("uq_logged_datasets_experiment_name_digest")
        ),
        comment="Datasets as runs describe what they used; what they hold is not kept. `digest`: whatever the describer computed.",
    )
    op.create_index(op.f("ix_logged_datasets_name_digest"), "logged_datasets", ["name", "digest"])
    op.create_table(
        "run_datasets",
        sa.Column("run", sa.String(length=32), nullable=False),
        sa.Column("dataset", sa.String(length=32), nullable=False),
        sa.Column("context", sa.String(length=500), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name=op.f("fk_run_datasets_run"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["dataset"], ["logged_datasets.id"], name=op.f("fk_run_datasets_dataset")),
        sa.PrimaryKeyConstraint("run", "dataset", name=op.f("pk_run_datasets")),
        comment="`context`: what it was used for, such as train or eval. Said once: what is said first stays.",
    )
    op.create_index(op.f("ix_run_datasets_dataset_run"), "run_datasets", ["dataset", "run"])
    if op.get_bind().dialect.name == "postgresql":  # SQLite keeps no comments
        op.create_table_comment(
            "metric_blocks",
            "Points of one metric in one shipment, as columns; `record` is the number of the shipment's first record, far below "
            "zero for calls that came without a journal.",
        )
