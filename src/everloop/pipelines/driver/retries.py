"""Whether a step that did not get through is tried once more."""

from __future__ import annotations

import time

from everloop.engine.contract import Outcome
from everloop.pipelines.driver.state import RunState
from everloop.pipelines.graph import Node

LOSSES = 3
"""How often a step begins again because its machine went away; that is no try of its own."""


def tried_again(state: RunState, node: Node, outcome: Outcome) -> bool:
    """Make a node ready for its next try, in a tracking run of its own that goes on from the last one's checkpoint; False when it
    has none left, or the pipeline has failed already."""
    if state.failure:
        return False
    if outcome.status == "lost" and node.losses < LOSSES:
        node.attempts, node.losses = node.attempts - 1, node.losses + 1
    elif node.attempts <= node.step.options.retries:
        node.not_before = time.monotonic() + node.step.options.wait * 2 ** (node.attempts - 1)
    else:
        return False
    node.previous = node.run
    node.run = state.context.ids() if node.run is not None else None
    return True
