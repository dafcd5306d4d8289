"""What runs beside the API while `everloop up` is there: the endpoints' prediction servers as children, the chores of the loop
(bring in what was logged, close days and judge them, act on policies, move rollouts on), and the triggers, whose pipelines run in
children, too.

Each chore may be done twice, and failing once harms nobody: it is logged and done again the next time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from everloop.domain.rollouts import TERMINAL
from everloop.errors import EverloopError
from everloop.features.apart import apart
from everloop.loop.triggers.scheduler import Scheduler
from everloop.serving.process import PredictionServer
from everloop.workspace.workspace import Workspace

log = logging.getLogger("everloop.server")

LOOK_EVERY = 1.0
"""Seconds between two looks at the endpoints' servers."""
TURN_EVERY = 1.0
"""Seconds between two looks at the triggers. A pipeline is not waited for."""
CHORES_EVERY = 30.0
"""Seconds between two rounds of chores. A retraining is waited for: the next round comes after it."""
PATIENCE = 60.0
"""The longest pause, in seconds, before a prediction server that keeps failing is tried again."""
QUIET = timedelta(days=3)
"""How long after its last prediction an endpoint is still watched: a day without traffic is worth a look, a year is not."""


class Supervisor:
    """Looks after a workspace from threads of its own; `stop` ends them and the children."""

    def __init__(self, workspace: Workspace, *, timer: Callable[[], float] = time.monotonic) -> None:
        self._workspace = workspace
        self._timer = timer
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(self.serve, LOOK_EVERY), name="everloop-servers"),
            threading.Thread(target=self._repeat, args=(self.chores, CHORES_EVERY), name="everloop-chores"),
            threading.Thread(target=self._repeat, args=(self.turn, TURN_EVERY), name="everloop-triggers"),
        ]
        self.scheduler: Scheduler = workspace.loop.scheduler()
        self.servers: dict[str, PredictionServer] = {}
        self._failures: dict[str, tuple[int, float]] = {}

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop looking; let the prediction servers drain and end, and pipelines give back what they have not finished."""
        self._ending.set()
        for thread in self._threads:
            thread.join()
        self.scheduler.stop()
        self.stop_servers()

    def stop_servers(self) -> None:
        """End the children, each after its requests under way."""
        for server in self.servers.values():
            server.stop()
        self.servers.clear()

    def serve(self) -> None:
        """Give every endpoint that nobody serves a prediction server; one that keeps failing is tried ever more rarely."""
        serving = self._workspace.serving
        for endpoint in serving.endpoints():
            name = endpoint.name
            server = self.servers.get(name)
            if server is not None and server.running:
                continue
            if server is not None:
                log.warning("the prediction server of %s ended; starting it again", name)
                self.servers.pop(name).stop()
            failures, again_at = self._failures.get(name, (0, 0.0))
            if self._ending.is_set() or self._timer() < again_at or serving.address(name) is not None:
                continue
            try:
                self.servers[name] = serving.start(name)
                self._failures.pop(name, None)
            except EverloopError as error:
                self._failures[name] = (failures + 1, self._timer() + min(PATIENCE, 2.0**failures))
                log.error("the prediction server of %s does not start: %s", name, error.message)

    def turn(self) -> None:
        """One look at the triggers."""
        self.scheduler.turn(self._workspace.clock())

    def chores(self) -> None:
        """One round of the loop, in the order of the life cycle."""
        workspace = self._workspace
        self._tried("bringing in journals of runs", workspace.tracking.ship_pending)
        self._tried("telling runs that ended without a word", workspace.tracking.settle)
        self._tried("telling pipelines that ended without a word", workspace.pipelines.settle_runs)
        self._tried("letting go of old firings", workspace.loop.forget_firings)
        for endpoint in workspace.serving.endpoints():
            self._tried(f"watching {endpoint.name}", partial(self._watch, endpoint.name))
        self._tried("acting on policies", lambda: workspace.loop.tick(workspace.clock()))
        if workspace.settings.openlineage:
            self._tried("telling of runs", self._tell)

    def _tell(self) -> None:
        from everloop.exchange.openlineage.exporting import export

        export(self._workspace, self._workspace.settings.openlineage)

    def _watch(self, endpoint: str) -> None:
        workspace = self._workspace
        workspace.serving.collect(endpoint)
        segments = workspace.serving.segments(endpoint)
        if not segments:
            return
        until = min(workspace.clock(), max(each.last for each in segments) + QUIET)
        workspace.monitoring.evaluate(endpoint, until)
        current = workspace.rollout.current(endpoint)
        # Every look is a decision in the feed: without anything new to read there is none to make.
        if current is not None and current.state not in TERMINAL and until > current.progress.read:
            workspace.rollout.advance(endpoint, until)

    def _repeat(self, work: Callable[[], object], pause: float) -> None:
        while not self._ending.wait(pause):
            self._tried(work.__name__, work)

    def _tried(self, what: str, chore: Callable[[], object]) -> None:
        try:
            with (
                apart()
            ):  # features in Python are computed by children: a user's code never runs in this process
                chore()
        except Exception:  # a background loop: it must outlive whatever one chore meets
            log.exception("%s failed", what)
