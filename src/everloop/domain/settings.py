"""What `everloop.toml` says. Secrets are never in it: they come from the environment."""

from __future__ import annotations

import msgspec


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
    definitions: tuple[str, ...] = ()
    """Modules with definitions, importable from the project's folder."""
