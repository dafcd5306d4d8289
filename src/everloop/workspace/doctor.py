"""What is wrong with this machine and this workspace: each check says what it saw and what to do."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from everloop.errors import EverloopError
from everloop.workspace.local import LocalWorkspace
from everloop.workspace.workspace import Workspace

LEAST_FREE = 1 << 30
"""Bytes that should be free where the workspace is: below that, one dataset may fill the disk."""

EXTRAS = {
    "sklearn": "scikit-learn",
    "postgres": "psycopg",
    "redis": "redis",
    "fsspec": "fsspec",
    "tune": "optuna",
}
"""Optional packages, and the distribution that tells whether they are there."""


class Finding(msgspec.Struct, frozen=True):
    """One check. `ok` is false for what should be mended; what is merely absent is said and is fine."""

    name: str
    ok: bool
    message: str


def examine(workspace: Workspace) -> Iterator[Finding]:
    """Check machine and workspace, one finding after another."""
    yield Finding("python", sys.version_info >= (3, 11), f"{sys.version.split()[0]} at {sys.executable}")
    yield from _extras()
    if not isinstance(workspace, LocalWorkspace):
        yield _tried(
            "server", lambda: f"{workspace.location} knows you as {workspace.governance.whoami().user}"
        )
        return
    yield _folder(workspace)
    yield _disk(workspace.project)
    yield _tried("ledger", lambda: f"{workspace.ledger.url}, {workspace.ledger.head()} events")
    yield _tried("objects", lambda: f"{sum(1 for _ in workspace.objects.digests())} objects")
    threads = os.environ.get("OMP_NUM_THREADS")
    seen = f"OMP_NUM_THREADS={threads}" if threads else "OMP_NUM_THREADS is not set: libraries take all cores"
    yield Finding("threads", True, f"{os.cpu_count()} cores; {seen}")


def _tried(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, look())
    except EverloopError as error:
        return Finding(name, False, f"{error.message}; {error.hint}" if error.hint else error.message)


def _extras() -> Iterator[Finding]:
    for extra, distribution in EXTRAS.items():
        try:
            seen = f"{distribution} {importlib.metadata.version(distribution)}"
        except importlib.metadata.PackageNotFoundError:
            seen = f"not installed (pip install 'everloop[{extra}]')"
        yield Finding(f"extra {extra}", True, seen)


def _folder(workspace: LocalWorkspace) -> Finding:
    folder = workspace.folder if workspace.folder.exists() else workspace.project
    if os.access(folder, os.W_OK):
        return Finding("workspace", True, str(workspace.folder))
    return Finding("workspace", False, f"{folder} may not be written; check its permissions")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:.1f} GB free in {folder}"
    return Finding("disk", free >= LEAST_FREE, text if free >= LEAST_FREE else f"{text}: make room")
