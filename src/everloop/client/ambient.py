"""The workspace of this process: found once, as the command line finds it, and shared by all that name none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from everloop.workspace.locations import locate
from everloop.workspace.workspace import Workspace

_current: Workspace | None = None
_found_for: tuple[str, str] | None = None


def connect(location: str | os.PathLike[str] | None = None) -> Workspace:
    """Open a workspace: a folder, the address of a server, or (without an argument) the one a command here would use.

    Who opens it closes it; it is also a context manager.
    """
    found = locate(location)
    if found.url is not None:
        from everloop.client.remote import RemoteWorkspace

        return RemoteWorkspace(found.url)
    from everloop.workspace.local import LocalWorkspace

    assert found.folder is not None
    return LocalWorkspace(found.folder)


def workspace(location: str | os.PathLike[str] | None = None) -> Workspace:
    """The workspace of this process; with a location, that one becomes it. A fork, another folder or another
    ``EVERLOOP_WORKSPACE`` finds it anew."""
    global _current, _found_for
    if location is not None:
        _current, _found_for = connect(location), None
        return _current
    here = (str(locate()), str(os.getpid()))
    if _current is None or (_found_for is not None and _found_for != here):
        _current, _found_for = connect(), here
    return _current


@contextmanager
def using(current: Workspace) -> Iterator[Workspace]:
    """Within the block, `current` is the workspace of this process."""
    global _current, _found_for
    before = _current, _found_for
    _current, _found_for = current, None
    try:
        yield current
    finally:
        _current, _found_for = before
