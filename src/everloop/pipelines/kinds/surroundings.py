"""What a step has around it while it runs: its workspace and the project's folder."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from everloop.governance.rooms import Context

_context: ContextVar[Context | None] = ContextVar("everloop_step_context", default=None)


@contextmanager
def working_in(context: Context) -> Iterator[None]:
    """Within the block, code of a step finds this workspace."""
    token = _context.set(context)
    try:
        yield
    finally:
        _context.reset(token)


def workspace_here() -> Context:
    """The workspace of the step at work; for one that is called outside of a pipeline, that of this process."""
    found = _context.get()
    if found is not None:
        return found
    # Rooms stand below the workspace, so it is asked for by name.
    ambient: Context = importlib.import_module("everloop.client.ambient").workspace()
    return ambient
