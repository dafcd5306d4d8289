"""Many small blocks of points become one when a run has finished: a script that logs for hours leaves a block every few seconds.

Only then: a run that was cut off may be resumed, and begins with the blocks before its checkpoint.
"""

from typing import Any

import sqlalchemy as sa

from everloop.store.ledger import Transaction
from everloop.store.schema.tracking import metric_blocks
from everloop.tracking.blocks import Points, decode, encode

MANY = 16
"""Blocks of one metric from which on it is worth it."""
SMALL = 4_096
"""Points of a block that is left as it is; so is a metric that has one, since points keep their order."""
MOST_METRICS = 2_000
"""How many metrics are looked at: the ledger is locked meanwhile."""


def compact(tx: Transaction, run_id: str) -> int:
    """Join the small blocks of a run's metrics; returns of how many metrics."""
    of_run = sa.and_(
        metric_blocks.c.run == run_id, metric_blocks.c.record >= 0
    )  # below 0: came without a journal
    query = sa.select(metric_blocks.c.key).where(of_run).group_by(metric_blocks.c.key)
    query = query.having(sa.func.count() >= MANY, sa.func.max(metric_blocks.c.count) < SMALL).limit(
        MOST_METRICS
    )
    keys = [row.key for row in tx.all(query)]
    for key in keys:
        _join(tx, sa.and_(of_run, metric_blocks.c.key == key), {"run": run_id, "key": key})
    return len(keys)


def _join(tx: Transaction, these: sa.ColumnElement[bool], metric: dict[str, Any]) -> None:
    query = sa.select(metric_blocks.c.record, metric_blocks.c.points).where(these)
    blocks = tx.all(query.order_by(metric_blocks.c.record))
    points = Points.joined(decode(row.points) for row in blocks)
    tx.execute(sa.delete(metric_blocks).where(these))
    whole = {"record": blocks[0].record, "count": len(points), "points": encode(points)}
    tx.execute(sa.insert(metric_blocks), metric | whole)
