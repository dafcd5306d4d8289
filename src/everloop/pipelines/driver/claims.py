"""The right to compute a step: asked for in batches, held by a lease, with a place in a pool where the step names one.

What somebody else computes is waited for. Keys that this run holds are renewed while it lives; who finds a lease run out, or its
owner dead, takes over.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable

from everloop.domain.pipelines import CachedResult, Claim
from everloop.pipelines.driver.lookup import is_young
from everloop.pipelines.driver.reasons import Reasons
from everloop.pipelines.driver.state import RunState
from everloop.pipelines.graph import Node
from everloop.pipelines.pools import Places
from everloop.tracking.places import this_process

CLAIMED_AT_ONCE = 32
"""Few enough that two processes share the work, many enough that asking costs little."""
ENOUGH = 4
"""No more are claimed while so many wait for the executor."""
RENEW_SECONDS = 15.0
ASK_AGAIN_SECONDS = 0.1


class Claims:
    """Those of one run. waiting: nodes to claim; granted: those that may begin; elsewhere: those to ask for again in a while."""

    def __init__(self, state: RunState, reasons: Reasons) -> None:
        self._state, self._reasons = state, reasons
        self._places = Places(state.room, state.run_id)
        self._held: set[str] = set()
        self._renewed_at = time.monotonic()
        self._ranked = False
        self.waiting: deque[Node] = deque()
        self.granted: deque[Node] = deque()
        self.elsewhere: list[Node] = []

    def called(self, node: Node) -> None:
        """A step has been called: once one has a priority, those that wait are put in order."""
        self._ranked = self._ranked or node.step.options.priority != 0

    def ask(self) -> tuple[int, list[tuple[Node, CachedResult]]]:
        """Ask for the right to compute: how many were granted, and those whose result somebody has recorded meanwhile."""
        if not self.waiting or self._state.begins_nothing or len(self.granted) >= ENOUGH:
            return 0, []
        once = self._inside(self._next())
        if not once:
            return 0, []
        for node in once.values():
            node.why = node.why or self._reasons.of(node)
            node.run = self._state.context.ids() if self._state.keys.uses_everloop(node.step) else None
        again = self._state.force or not all(node.step.options.cache for node in once.values())
        granted = 0
        hits: list[tuple[Node, CachedResult]] = []
        for node, claim in zip(once.values(), self._claim(list(once.values()), again), strict=True):
            if claim.granted:
                self._grant(node, claim)
                granted += 1
            elif claim.result is None:
                self._ask_again(node)
            elif self._state.newest.still(claim.result.reads) and is_young(self._state, node, claim.result):
                hits.append((node, claim.result))
            else:
                self._claim_again(node)
        return granted, hits

    def wait_again(self) -> None:
        """Put those back that are to be asked for again."""
        self.waiting.extend(self.elsewhere)
        self.elsewhere.clear()

    def recorded(self, keys: Iterable[str]) -> None:
        """Results are recorded, and their claims ended with that."""
        self._held.difference_update(keys)

    def give_back(self, node: Node) -> None:
        """End a claim without a result."""
        self._state.room.release([node.key], self._state.run_id)
        self._held.discard(node.key)

    def over(self, node: Node) -> None:
        """A step is over: its place in a pool is another's."""
        self._places.leave(node)

    def end(self) -> None:
        """Give back all that is held."""
        if self._held:
            self._state.room.release(sorted(self._held), self._state.run_id)
        self._places.leave_all()

    def renew(self) -> None:
        """This run lives. Cheap to call often."""
        if time.monotonic() - self._renewed_at > RENEW_SECONDS:
            self._renewed_at = time.monotonic()
            self._places.renew()
            if self._held:
                self._state.room.renew(sorted(self._held), self._state.run_id)

    def _next(self) -> dict[str, Node]:
        """Those to ask for now, by key."""
        now = time.monotonic()
        if self._ranked:
            self.waiting = deque(sorted(self.waiting, key=lambda node: -node.step.options.priority))
        asked = [self.waiting.popleft() for _ in range(min(len(self.waiting), CLAIMED_AT_ONCE))]
        self.elsewhere += [node for node in asked if node.asked_again_at > now]
        twins = {node.key for node in (*self.granted, *self._state.running.values())}
        once: dict[str, Node] = {}
        for node in asked:
            if node.asked_again_at > now:
                continue
            if node.key in twins or node.key in once:
                # The same call twice in one pipeline: the second waits for the first.
                node.asked_again_at = 0.0
                self.elsewhere.append(node)
            else:
                once[node.key] = node
        return once

    def _inside(self, once: dict[str, Node]) -> dict[str, Node]:
        """Those that need no place in a pool or have one."""
        inside = self._places.entered(list(once.values()))
        for node in [each for each in once.values() if each.number not in inside]:
            node.asked_again_at = time.monotonic() + ASK_AGAIN_SECONDS
            self.elsewhere.append(once.pop(node.key))
        return once

    def _claim(self, nodes: list[Node], again: bool) -> list[Claim]:
        keys, runs = [node.key for node in nodes], [node.run or "" for node in nodes]
        return self._state.room.claim(keys, self._state.run_id, this_process(), runs, again=again)

    def _grant(self, node: Node, claim: Claim) -> None:
        node.previous = claim.run
        self._held.add(node.key)
        self.granted.append(node)

    def _ask_again(self, node: Node) -> None:
        """Somebody else computes it: its place is for others meanwhile."""
        self._places.leave(node)
        node.asked_again_at = time.monotonic() + ASK_AGAIN_SECONDS
        self.elsewhere.append(node)

    def _claim_again(self, node: Node) -> None:
        """There is a result, but the step read datasets that have moved on: it is computed although the key has one."""
        claim = self._claim([node], again=True)[0]
        if claim.granted:
            self._grant(node, claim)
        else:
            self._ask_again(node)
