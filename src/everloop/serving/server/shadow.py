"""Shadow arms: they see every request, nobody waits for them, nobody gets their answers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import msgspec

QUEUE_ROWS = 100_000
"""Rows that may wait for the shadow arms. Beyond it, requests pass them by: a slow shadow must not fill the memory."""


class Waiting(msgspec.Struct, frozen=True):
    """Work for the shadow arms: to be done once, for so many rows."""

    rows: int
    compute: Callable[[], None]


class ShadowQueue:
    """One thread that works through what callers left behind. `dropped` counts rows that found the queue full."""

    def __init__(self, limit: int = QUEUE_ROWS) -> None:
        self._limit = limit
        self._waiting: deque[Waiting] = deque()
        self._rows = 0
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._work, name="shadow-arms", daemon=True)
        self._thread.start()

    def offer(self, work: Waiting) -> bool:
        """Leave work behind; false when there is no room for it."""
        with self._changed:
            if self._rows + work.rows > self._limit:
                self.dropped += work.rows
                return False
            self._waiting.append(work)
            self._rows += work.rows
            self._changed.notify_all()
            return True

    def settle(self, timeout: float) -> bool:
        """Wait until nothing waits any more; false when that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: self._rows == 0, timeout)

    def close(self) -> None:
        """Work through what is left, then end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                work = self._waiting.popleft()
            try:
                work.compute()
            finally:
                with self._changed:
                    self._rows -= work.rows
                    self._changed.notify_all()
