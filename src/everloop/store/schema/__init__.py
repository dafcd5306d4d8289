"""The ledger's tables: `base` holds what all share, the other modules one room each. A room imports its own, `complete` all.

Making the tables of all rooms takes a twentieth of what a short command takes.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

import sqlalchemy as sa


@cache
def complete() -> sa.MetaData:
    """The tables of all rooms, whichever of them this process has imported so far."""
    from everloop.store.schema.base import metadata

    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return metadata
