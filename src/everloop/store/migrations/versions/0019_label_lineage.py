"""Labelling projects can be closed, and stand in the lineage: what they ask about, who suggested, what was made of the answers."""

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

_events = sa.table(
    "events",
    sa.column("seq", sa.BigInteger),
    sa.column("time", sa.BigInteger),
    sa.column("action", sa.String),
    sa.column("subject", sa.String),
    sa.column("payload", sa.Text),
)
_edges = sa.table(
    "edges",
    sa.column("source", sa.String),
    sa.column("target", sa.String),
    sa.column("role", sa.String),
    sa.column("time", sa.BigInteger),
)


def upgrade() -> None:
    op.add_column("label_projects", sa.Column("closed", sa.BigInteger(), nullable=True))
    connection = op.get_bind()
    told = (
        sa.select(_events)
        .where(_events.c.action.in_(["labels.created", "labels.suggested", "labels.exported"]))
        .order_by(_events.c.seq)
    )
    newest: dict[tuple[str, str, str], int] = {}
    for event in connection.execute(told):
        payload = msgspec.json.decode(event.payload)
        match event.action:
            case "labels.created":
                edge = (payload["source"], event.subject, "labelled")
            case "labels.suggested" if payload["model"].startswith("model:"):
                edge = (payload["model"], event.subject, "suggested")
            case "labels.exported":
                edge = (f"labels:{payload['project']}", event.subject, "exported")
            case _:
                continue
        newest[edge] = event.time
    rows = [
        {"source": source, "target": target, "role": role, "time": time}
        for (source, target, role), time in newest.items()
    ]
    if rows:
        connection.execute(sa.insert(_edges), rows)
