"""Waiting for a ledger, server or store that is away for a while: a run of hours does not fail for a database's restart."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

from everloop.errors import Unavailable

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
PATIENCE = 3600.0
"""Seconds after which a run gives up; `resume` goes on with it then."""


def patient(target: T, *, pause: Callable[[float], None] = time.sleep) -> T:
    """The same object, whose methods try again while they raise Unavailable. For methods that may be called twice: what was done
    although no answer came is done again."""
    return cast(T, _Patient(target, pause))


class _Patient:
    def __init__(self, target: Any, pause: Callable[[float], None]) -> None:
        self._target, self._pause = target, pause

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        return partial(self._insist, found) if callable(found) else found

    def _insist(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        waited, pause = 0.0, FIRST_PAUSE
        while True:
            try:
                answer = method(*args, **kwargs)
            except Unavailable as error:
                if waited >= PATIENCE:
                    raise
                if not waited:
                    print(f"{error}; waiting until it is back", file=sys.stderr, flush=True)
                self._pause(pause)
                waited, pause = waited + pause, min(2 * pause, LONGEST_PAUSE)
            else:
                if waited:
                    print(f"it is back; going on after {waited:.0f} s", file=sys.stderr, flush=True)
                return answer
