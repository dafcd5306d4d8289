"""Logged models, and what clients of MLflow ask of the registry: tags, stages, sources, names that were given up."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _logged_models()
    _registry()


def _logged_models() -> None:
    op.create_table(
        "logged_models",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("experiment", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("status_message", sa.Text(), nullable=False),
        sa.Column("source_run", sa.String(length=32), nullable=True),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.id"], name=op.f("fk_logged_models_experiment")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_logged_models")),
        comment="`id`: m- and 32 hexadecimal digits. `kind`: the flavour or type its author gave. `state`: active or deleted.",
    )
    for columns in (["experiment", "state", "created"], ["source_run", "name"], ["name"]):
        op.create_index(op.f(f"ix_logged_models_{'_'.join(columns)}"), "logged_models", columns)
    op.create_table(
        "logged_model_params",
        *_of_model("logged_model_params", ["key"]),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        comment="Written once.",
    )
    op.create_table(
        "logged_model_tags",
        *_of_model("logged_model_tags", ["key"]),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
    )
    op.create_table(
        "logged_model_metrics",
        *_of_model(
            "logged_model_metrics", ["key", "run", "step", "time", "written", "dataset", "dataset_digest"]
        ),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("run", sa.String(length=32), nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("written", sa.String(length=32), nullable=False),
        sa.Column("dataset", sa.String(length=500), nullable=False),
        sa.Column("dataset_digest", sa.String(length=36), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        comment="Points that were measured on this model. `written`: the number as text, so that a point sent twice is one point; "
        "`value`: NULL is NaN.",
    )
    op.create_table(
        "logged_model_files",
        *_of_model("logged_model_files", ["path"]),
        sa.Column("path", sa.String(length=500), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "run_models",
        sa.Column("run", sa.String(length=32), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name=op.f("fk_run_models_run"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", "model", "role", name=op.f("pk_run_models")),
        comment="Which logged models a run used (`input`) and which came out of it, at which step (`output`).",
    )
    op.create_index(op.f("ix_run_models_model"), "run_models", ["model"])


def _of_model(table: str, keys: list[str]) -> list[sa.schema.SchemaItem]:
    """What a table of things of a logged model begins with."""
    return [
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["model"], ["logged_models.id"], name=op.f(f"fk_{table}_model"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("model", *keys, name=op.f(f"pk_{table}")),
    ]


def _registry() -> None:
    for column in (
        sa.Column("logged_model", sa.String(length=64), server_default="", nullable=False),
        sa.Column("source", sa.Text(), server_default="", nullable=False),
        sa.Column("run_link", sa.Text(), server_default="", nullable=False),
        sa.Column("stage", sa.String(length=16), server_default="", nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=True),
    ):
        op.add_column("model_versions", column)
    op.create_index(op.f("ix_model_versions_logged_model"), "model_versions", ["logged_model"])
    if op.get_bind().dialect.name == "postgresql":  # SQLite keeps no comments
        op.create_table_comment(
            "model_versions",
            "`digest`: of model.json, or of the list of files where MLflow wrote the folder; empty where the files are elsewhere, "
            "at `source`. "
            "`content`: the canonical digest, equal for equal models. `card`: an object, JSON. `updated`: NULL until something "
            "changed.",
        )
    op.create_table(
        "model_tags",
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("key", sa.String(length=250), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["name"], ["models.name"], name=op.f("fk_model_tags_name")),
        sa.PrimaryKeyConstraint("name", "key", name=op.f("pk_model_tags")),
    )
    op.create_table(
        "model_version_tags",
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.String(length=250), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["name", "version"],
            ["model_versions.name", "model_versions.version"],
            name=op.f("fk_model_version_tags_name"),
        ),
        sa.PrimaryKeyConstraint("name", "version", "key", name=op.f("pk_model_version_tags")),
    )
    op.create_table(
        "retired_models",
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("latest", sa.Integer(), nullable=False),
        sa.Column("successor", sa.String(length=250), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_retired_models")),
        comment="Names that models had before they were renamed (to `successor`) or deleted. `latest` is the highest version under "
        "that name: a model that takes the name goes on after it, since predictions and events name versions.",
    )
