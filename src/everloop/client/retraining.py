"""The process that trains: ``python -m everloop.client.retraining WORKSPACE RETRAINING TIME``. It prints the
outcome as one JSON object.

User code runs here and nowhere else in the loop: a bad import or a crash ends this process, not the server.
"""

from __future__ import annotations

import contextlib
import sys
from datetime import datetime

import msgspec

from everloop.client.ambient import connect, using
from everloop.engine.here import HereExecutor
from everloop.loop.loop import Loop


def main(location: str, retraining: str, now: str) -> int:
    with (
        connect(location) as workspace,
        using(workspace),
        contextlib.closing(HereExecutor("to train")) as here,
    ):
        # A step may run in this process as in a worker's: it was begun for this retraining alone.
        executor = here if workspace.settings.executor == here.name else None
        done = workspace.room(Loop).perform(retraining, datetime.fromisoformat(now), executor=executor)
    sys.stdout.write(msgspec.json.encode(done).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
