"""What tells the outside world that a step asks for the same thing again.

A step may run twice although its effect should happen once: it is tried again after a failure, its worker was killed after the
effect and before the result was stored, the machine went off. Services that take a payment or send a mail accept a key with a
request and answer the second one with the first's result.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from everloop.domain.canonical import digest_of
from everloop.errors import InvalidInput

_current: ContextVar[str] = ContextVar("everloop_idempotency", default="")


def key_for(first_run: str, step: str, arguments: str) -> str:
    """The key of a step's effect: the same for every try, and for runs that go on with a run that was stopped, even with mended
    code; another one for another run. `first_run`: the run that was not resumed from any; `arguments`: their digest.

    >>> key_for("r1", "pay", "x") == key_for("r1", "pay", "x"), key_for("r1", "pay", "x") == key_for("r2", "pay", "x")
    (True, False)
    """
    return digest_of([first_run, step, arguments])[:32]


def idempotency_key() -> str:
    """Within a step of a running pipeline: the key to give to a service with a request that must have its effect once. Retries of
    the step and ``everloop resume`` give the same key; a new run of the pipeline gives another. Raises InvalidInput outside."""
    found = _current.get()
    if not found:
        raise InvalidInput(
            "there is no idempotency key here: no pipeline runs this step",
            hint="call it within a step, and run the pipeline",
        )
    return found


@contextmanager
def effects_under(key: str) -> Iterator[None]:
    """Within the block, `idempotency_key` gives this key."""
    token = _current.set(key)
    try:
        yield
    finally:
        _current.reset(token)
