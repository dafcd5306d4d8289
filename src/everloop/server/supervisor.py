"""What runs beside the API while `everloop up` is there: the endpoints' prediction servers as children, and the chores that
bring in what they and killed processes left behind.

Each chore is small, may be done twice, and failing it once harms nobody: it is logged and done again the next time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from everloop.errors import EverloopError
from everloop.serving.process import PredictionServer
from everloop.workspace.workspace import Workspace

log = logging.getLogger("everloop.server")

EVERY = 1.0
"""Seconds between two rounds of looking after the endpoints."""
CHORES_EVERY = 30.0
"""Seconds between two rounds of chores."""
PATIENCE = 60.0
"""The longest pause before a prediction server that keeps failing is tried again."""


class Supervisor:
    """Looks after a workspace from a thread of its own; `stop` ends the thread and the children."""

    def __init__(self, workspace: Workspace, *, timer: Callable[[], float] = time.monotonic) -> None:
        self._workspace = workspace
        self._timer = timer
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="everloop-supervisor", daemon=True)
        self._servers: dict[str, PredictionServer] = {}
        self._failures: dict[str, tuple[int, float]] = {}
        self._chores_at = 0.0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop looking, let the prediction servers drain and end."""
        self._ending.set()
        self._thread.join()
        for server in self._servers.values():
            server.stop()
        self._servers.clear()

    def round(self) -> None:
        """One round: endpoints without a server get one, and now and then the chores are done."""
        self._tried("looking after the endpoints", self._serve)
        if self._timer() >= self._chores_at:
            self._chores_at = self._timer() + CHORES_EVERY
            self._tried("bringing in journals of runs", self._workspace.tracking.ship_pending)
            for endpoint in self._workspace.serving.endpoints():
                self._tried(f"collecting predictions of {endpoint.name}", self._collect(endpoint.name))

    def _watch(self) -> None:
        while not self._ending.wait(EVERY):
            self.round()

    def _serve(self) -> None:
        serving = self._workspace.serving
        for endpoint in serving.endpoints():
            name = endpoint.name
            server = self._servers.get(name)
            if server is not None and server.running:
                continue
            if server is not None:
                log.warning("the prediction server of %s ended; starting it again", name)
                self._servers.pop(name).stop()
            failures, again_at = self._failures.get(name, (0, 0.0))
            if self._timer() < again_at or serving.address(name) is not None:
                continue
            try:
                self._servers[name] = serving.start(name)
                self._failures.pop(name, None)
            except EverloopError as error:
                pause = min(PATIENCE, 2.0**failures)
                self._failures[name] = (failures + 1, self._timer() + pause)
                log.error("the prediction server of %s does not start: %s", name, error.message)

    def _collect(self, endpoint: str) -> Callable[[], object]:
        return lambda: self._workspace.serving.collect(endpoint)

    def _tried(self, what: str, chore: Callable[[], object]) -> None:
        try:
            chore()
        except Exception:  # a background loop: it must outlive whatever one chore meets
            log.exception("%s failed", what)
