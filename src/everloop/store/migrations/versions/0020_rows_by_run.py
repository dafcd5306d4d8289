"""On SQLite, a run's parameters, tags and metrics stand side by side in their table's key, where a search finds them at once."""

from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    for table in ("run_params", "run_tags", "run_metrics"):
        with op.batch_alter_table(table, recreate="always", table_kwargs={"sqlite_with_rowid": False}):
            pass
