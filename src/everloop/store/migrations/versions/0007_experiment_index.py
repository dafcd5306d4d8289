"""The runs of one experiment are read along its index: it ends with the identifier, as the order does."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.drop_index(op.f("ix_runs_experiment_state_start_time"), table_name="runs")
    op.create_index(
        op.f("ix_runs_experiment_state_start_time_id"), "runs", ["experiment", "state", "start_time", "id"]
    )
