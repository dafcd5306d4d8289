"""Whether a step that did not get through is tried once more."""

from __future__ import annotations

import sys
import time

from everloop.engine.contract import Outcome
from everloop.errors import Unavailable
from everloop.pipelines.driver.state import RunState
from everloop.pipelines.graph import Node
from everloop.pipelines.patience import FIRST_PAUSE, LONGEST_PAUSE

LOSSES = 3
"""How often a step begins again because its machine went away; that is no try of its own."""
AWAY = Unavailable.__name__
LONGEST_AWAY = 600.0
"""Seconds for which a step begins again while what it asks by itself (a store, a server) does not answer: less than the driver
waits, since what does not answer may be a wrong address."""


def tried_again(state: RunState, node: Node, outcome: Outcome) -> bool:
    """Make a node ready for its next try, in a tracking run of its own that goes on from the last one's checkpoint; False when it
    has none left, or the pipeline has failed already."""
    if state.failure:
        return False
    if outcome.status == "lost" and node.losses < LOSSES:
        node.attempts, node.losses = node.attempts - 1, node.losses + 1
    elif outcome.failure is not None and outcome.failure.kind == AWAY and node.waited < LONGEST_AWAY:
        pause = min(max(FIRST_PAUSE, node.waited), LONGEST_PAUSE)
        if not node.waited:
            print(
                f"step {node.name}: {outcome.failure.message}; it begins again", file=sys.stderr, flush=True
            )
        node.attempts, node.waited = node.attempts - 1, node.waited + pause + outcome.seconds
        node.not_before = time.monotonic() + pause
    elif node.attempts <= node.step.options.retries:
        node.not_before = time.monotonic() + node.step.options.wait * 2 ** (node.attempts - 1)
    else:
        return False
    node.previous = node.run
    node.run = state.context.ids() if node.run is not None else None
    return True
