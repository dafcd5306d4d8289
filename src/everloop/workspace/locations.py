"""Which workspace a command means: `EVERLOOP_WORKSPACE`, else the nearest folder upward, else here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from everloop.errors import InvalidInput

VARIABLE = "EVERLOOP_WORKSPACE"
FOLDER = ".everloop"
CONFIGURATION = "everloop.toml"


class Location(msgspec.Struct, frozen=True):
    """A project's folder, or the address of a server. `exists` is false when the first write would make it."""

    folder: Path | None = None
    url: str | None = None
    exists: bool = True

    def __str__(self) -> str:
        return self.url or str(self.folder)


def locate(
    given: str | os.PathLike[str] | None = None,
    *,
    start: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Location:
    """Find the workspace: what is given, else the environment, else the nearest folder upward, else the current folder.
    Raises InvalidInput for an address that is no server's, such as ftp://…"""
    chosen = os.fspath(given) if given is not None else environment.get(VARIABLE, "")
    if chosen.startswith(("http://", "https://")):
        return Location(url=chosen.rstrip("/"))
    scheme, separator, _ = chosen.partition("://")
    if separator and scheme.isalnum():
        raise InvalidInput(
            f"a workspace is a folder or the address of a server, not {scheme}://…",
            hint="give a folder, or http://HOST:PORT of a server that `everloop up` started",
        )
    if chosen:
        folder = Path(chosen).expanduser().resolve()
        if folder.name == FOLDER:
            folder = folder.parent
        return Location(folder=folder, exists=_is_workspace(folder))
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if _is_workspace(folder):
            return Location(folder=folder)
    return Location(folder=here, exists=False)


def nearest_project(start: Path) -> Path:
    """The nearest folder upward with `everloop.toml`, else `start`: whose definitions count where the workspace is a server's."""
    here = start.resolve()
    return next((folder for folder in (here, *here.parents) if (folder / CONFIGURATION).is_file()), here)


def _is_workspace(folder: Path) -> bool:
    return (folder / CONFIGURATION).is_file() or (folder / FOLDER).is_dir()
