"""Noting what is read, so that lineage needs no bookkeeping by the user.

Whatever reads a dataset, feature or model says `note("data:flights@v3")`; whoever wants to know (a step, a run) opens
`collecting()` around the work. Blocks nest: an outer one sees what an inner one saw.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_collectors: ContextVar[tuple[dict[str, None], ...]] = ContextVar("everloop_consumption", default=())


def note(reference: str) -> None:
    """Say that something is being read. Costs nothing when nobody collects."""
    for seen in _collectors.get():
        seen[reference] = None


@contextmanager
def collecting() -> Iterator[dict[str, None]]:
    """Within the block, references that are read gather in the result, in the order they were first read.

    >>> with collecting() as seen:
    ...     note("data:flights@v3"); note("data:weather@v1"); note("data:flights@v3")
    >>> list(seen)
    ['data:flights@v3', 'data:weather@v1']
    """
    seen: dict[str, None] = {}
    token = _collectors.set((*_collectors.get(), seen))
    try:
        yield seen
    finally:
        _collectors.reset(token)
