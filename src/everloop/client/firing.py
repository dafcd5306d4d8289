"""The process that carries out a firing: ``python -m everloop.client.firing WORKSPACE FIRING ATTEMPT``.

User code runs here: a bad import or a crash ends this process, not the server. It says in the ledger what came of it; when it
cannot any more, whoever looks next finds that it is gone.
"""

from __future__ import annotations

import sys

from everloop.client.ambient import connect, using
from everloop.errors import Conflict
from everloop.loop.loop import Loop


def main(location: str, firing: str, attempt: str) -> int:
    with connect(location) as workspace, using(workspace):
        try:
            workspace.room(Loop).carry_out(firing, int(attempt))
        except Conflict as lost:  # somebody else has it
            print(lost.message, file=sys.stderr)
        except KeyboardInterrupt:  # it was given back
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
