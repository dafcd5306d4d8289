"""A ledger with a dataset that ten thousand runs read."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
import sqlalchemy as sa

from everloop.store.schema.base import edges
from everloop.workspace.local import LocalWorkspace

CHILDREN = 10_000


def add_hub(workspace: LocalWorkspace) -> None:
    """data:flights@v1, its successor v2, and the edges of runs that read v2, the last of them the newest."""
    workspace.data.add(pa.table({"x": [1]}), "flights")
    workspace.data.add(pa.table({"x": [2]}), "flights", append=True)
    with workspace.ledger.transaction("test") as tx:
        rows = [
            {
                "source": "data:flights@v2",
                "target": f"run:{number:032x}",
                "role": "consumed",
                "time": tx.now + timedelta(seconds=number),
            }
            for number in range(CHILDREN)
        ]
        tx.execute(sa.insert(edges), rows)
