"""The process that trains: ``python -m everloop.client.retraining WORKSPACE RETRAINING TIME``. It prints the
outcome as one JSON object.

User code runs here and nowhere else in the loop: a bad import or a crash ends this process, not the server.
"""

from __future__ import annotations

import sys
from datetime import datetime

import msgspec

from everloop.client.ambient import connect, using
from everloop.loop.loop import Loop


def main(location: str, retraining: str, now: str) -> int:
    with connect(location) as workspace, using(workspace):
        done = workspace.room(Loop).perform(retraining, datetime.fromisoformat(now))
    sys.stdout.write(msgspec.json.encode(done).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
