"""Parameters of logged models that are numbers are searched as numbers, as those of runs are."""

import sqlalchemy as sa
from alembic import op

from everloop.domain.runs import param_number

revision = "0011"
down_revision = "0010"

_params = sa.table(
    "logged_model_params",
    sa.column("model", sa.String),
    sa.column("key", sa.String),
    sa.column("value", sa.Text),
    sa.column("number", sa.Double),
)


def upgrade() -> None:
    op.add_column("logged_model_params", sa.Column("number", sa.Double(), nullable=True))
    connection = op.get_bind()
    numbers = {
        value: number
        for (value,) in connection.execute(sa.select(_params.c.value).distinct())
        if (number := param_number(value)) is not None
    }
    filled = sa.update(_params).where(_params.c.value == sa.bindparam("text"))
    rows = [{"text": text, "found": number} for text, number in numbers.items()]
    if rows:
        connection.execute(filled.values(number=sa.bindparam("found")), rows)
    if connection.dialect.name == "postgresql":  # SQLite keeps no comments
        op.create_table_comment(
            "logged_model_params", "Written once. `number`: what the text stands for, if a number."
        )
