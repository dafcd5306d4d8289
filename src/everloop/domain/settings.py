"""What `everloop.toml` says. Secrets are never in it: they come from the environment."""

from __future__ import annotations

import msgspec


class EngineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where steps are executed."""

    ray: str = ""
    """The Ray cluster of the executor ``ray``: ``auto`` or ``host:port``; empty: one on this machine while a run lasts."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One profile of a workspace, with its defaults for a laptop."""

    name: str = ""
    ledger: str = ""
    """A SQLAlchemy URL; empty: SQLite in the workspace's folder."""
    objects: str = ""
    """A folder or ``s3://bucket/prefix``; empty: a folder in the workspace's folder."""
    online: str = ""
    """Where feature values are kept for serving: ``redis://host:6379/0``; empty: a file in the workspace's folder."""
    executor: str = "local"
    engine: EngineSettings = EngineSettings()
    pools: dict[str, int] = {}
    """How many steps of each pool may run at once in this workspace, over all its runs and processes: ``gpu = 1``."""
    openlineage: str = ""
    """Where `everloop up` tells of runs as OpenLineage events: an address or a file; empty: nowhere."""
    definitions: tuple[str, ...] = ()
    """Modules with definitions, importable from the project's folder."""
