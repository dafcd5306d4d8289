"""A new deployment is noticed, its models are checked and loaded beside the running ones, then one reference is swapped.

Requests under way keep the lineup they began with; it goes when the last of them has ended.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from everloop.errors import EverloopError
from everloop.serving.server.arms import Lineup, Models
from everloop.serving.snapshot import deployment_path, read_deployment

LOOK_SECONDS = 0.1

logger = logging.getLogger("everloop.serving")


class Watch:
    """Holds the lineup in use. `problem` says why a newer deployment could not be taken; the old one goes on answering."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._models = Models(folder)
        self._seen = self._stamp()
        self._one_at_a_time = asyncio.Lock()
        self.problem = ""
        self.lineup: Lineup = self._models.lineup(read_deployment(folder))

    async def look(self) -> None:
        """Take over a changed deployment, if there is one. Returns when it is in use, or `problem` is set."""
        async with self._one_at_a_time:
            stamp = self._stamp()
            if stamp == self._seen:
                return
            try:
                self.lineup = await asyncio.to_thread(self._next)
                self.problem = ""
            except EverloopError as error:
                self.problem = error.message
                logger.error("the new deployment is not taken: %s", error.message)
            self._seen = stamp

    async def keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    def _next(self) -> Lineup:
        return self._models.lineup(read_deployment(self._folder))

    def _stamp(self) -> tuple[int, int] | None:
        try:
            status = deployment_path(self._folder).stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns
