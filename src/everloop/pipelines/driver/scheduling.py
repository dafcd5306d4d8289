"""The loop: nodes whose inputs are there are keyed and looked up, the rest is claimed and given to the executor."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import msgspec

from everloop.domain.pipelines import CachedResult
from everloop.engine.contract import Outcome
from everloop.pipelines.driver.claims import ASK_AGAIN_SECONDS, Claims
from everloop.pipelines.driver.jobs import Jobs
from everloop.pipelines.driver.lookup import Lookup
from everloop.pipelines.driver.maps import Maps
from everloop.pipelines.driver.reasons import Reasons
from everloop.pipelines.driver.records import Records
from everloop.pipelines.driver.references import References
from everloop.pipelines.driver.retries import tried_again
from everloop.pipelines.driver.state import RunState
from everloop.pipelines.environments.building import Environments
from everloop.pipelines.graph import Node
from everloop.pipelines.worker import StepAnswer

STOP_SECONDS = 1.0
"""Between two questions whether the run should stop."""


class Cancelled(Exception):
    """Whoever started the run has asked it to stop, and says why."""


class Scheduler:
    """Of one run. Works only while `advance` is called."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._reasons = Reasons(state)
        self.claims = Claims(state, self._reasons)
        self._environments = Environments(state.context.folder, self.claims.renew)
        self.references = References(state)
        self._maps = Maps(state, self.references)
        self._lookup = Lookup(state, self.references, self._environments)
        self.jobs = Jobs(state, self._environments)
        self.records = Records(state, self.claims)
        self._ready: deque[Node] = deque()
        self._blocked: dict[int, int] = {}
        self._dependents: dict[int, list[Node]] = {}
        self._asked_to_stop_at = time.monotonic()

    def add(self, node: Node) -> Node:
        """A node of the graph, to be worked on when what it needs is over."""
        self.claims.called(node)
        unmet = {each for each in node.needs if not self._state.graph.nodes[each].is_over}
        for each in unmet:
            self._dependents.setdefault(each, []).append(node)
        self._blocked[node.number] = len(unmet)
        if not unmet:
            self._ready.append(node)
        return node

    def advance(self, until: Callable[[], bool]) -> None:
        """Do what can be done until `until` holds, or nothing is left that could make it so. Raises Cancelled when the run is
        asked to stop, and KeyboardInterrupt when it was to stop and nothing is at work any more."""
        state, claims = self._state, self.claims
        while not until():
            moved = self._prepare() + self._claim() + self._begin()
            if until():
                break
            outcomes = state.executor.wait(0.0 if moved else ASK_AGAIN_SECONDS) if state.running else []
            for outcome in outcomes:
                self._take(outcome)
            self.records.flush_when_due()
            self.records.show_at_work()
            if claims.elsewhere:
                if not moved and not outcomes and not state.running:
                    time.sleep(ASK_AGAIN_SECONDS)
                claims.wait_again()
            claims.renew()
            self._ask_whether_to_stop()
            if state.stopping and not state.running:
                raise KeyboardInterrupt
            if moved or outcomes or state.running:
                continue
            if state.begins_nothing or not (claims.waiting or claims.granted):
                break
            if claims.granted:
                time.sleep(ASK_AGAIN_SECONDS)  # all that is left waits for its next try
        self.records.flush()

    def skip_rest(self) -> None:
        """What was not begun when a step failed."""
        for node in self._state.graph.nodes:
            if not node.is_over and not node.is_map and node.state != "running":
                self.records.skipped(node, self._reasons.skipped(node))
                node.state = "skipped"

    def _prepare(self) -> int:
        """Key the nodes whose inputs are there, and look them up."""
        asked: list[Node] = []
        count = 0
        while self._ready and (not self._state.failure or self._state.dry_run):
            node = self._ready.popleft()
            count += 1
            if any(self._state.graph.nodes[each].state != "done" for each in node.needs):
                self._skip(node, self._reasons.skipped(node))
            elif node.is_map:
                self._expand(node)
            else:
                self._lookup.make_key(node)
                asked.append(node)
        known = self._lookup.known(asked)
        for node in asked:
            hit = known.get(node.key)
            if hit is not None:
                self._hit(node, hit)
            elif self._state.dry_run:
                self._skip(node, f"would run: {self._reasons.of(node)}")
            else:
                # Before it is claimed: building takes its time, and a claim has to be renewed.
                node.python = self._environments.python(node.step.options.environment)
                self.claims.waiting.append(node)
        return count

    def _expand(self, node: Node) -> None:
        parts = self._maps.expand(node)
        if not parts:
            self._is_over(node, "done")
        for part in parts:
            self.add(part)

    def _claim(self) -> int:
        granted, hits = self.claims.ask()
        for node, hit in hits:
            self._hit(node, hit)
        return granted + len(hits)

    def _begin(self) -> int:
        """Give the executor what it has room for."""
        granted = self.claims.granted
        count = 0
        for _ in range(len(granted)):
            if self._state.begins_nothing or not self._state.executor.room(granted[0].step.options.cpus):
                break
            node = granted.popleft()
            if node.not_before > time.monotonic():  # it failed, and is tried again in a while
                granted.append(node)
                continue
            self.records.flush_before(node)
            self._submit(node)
            count += 1
        return count

    def _submit(self, node: Node) -> None:
        node.attempts += 1
        node.state = "running"
        node.begun_at = time.monotonic()
        job = self.jobs.of(node)
        node.log = job.log
        self._state.running[job.id] = node
        self._state.executor.submit(job)

    def _take(self, outcome: Outcome) -> None:
        node = self._state.running.pop(outcome.id)
        if outcome.status == "done":
            answer = msgspec.msgpack.decode(outcome.result, type=StepAnswer)
            given = self.references.given(node)
            reads = self._state.newest.reads(answer.seen, given) if answer.seen else ()
            self.records.executed(node, answer, reads, given)
            self._settled(node, "done")
        elif tried_again(self._state, node, outcome):
            self.claims.granted.appendleft(node)
        else:
            self.records.failed(node, outcome)
            self.claims.give_back(node)
            self._settled(node, "failed")

    def _hit(self, node: Node, hit: CachedResult) -> None:
        self.records.cached(node, hit, self.references.given(node))
        self._settled(node, "done")

    def _skip(self, node: Node, why: str) -> None:
        self.records.skipped(node, why)
        self._settled(node, "skipped")

    def _settled(self, node: Node, state: str) -> None:
        self.claims.over(node)
        if self._state.on_step is not None and node.record is not None:
            self._state.on_step(node.record)
        self._is_over(node, state)
        over = self._maps.over(node, state)
        if over is not None:
            self.records.joined(over[0])
            self._is_over(*over)

    def _is_over(self, node: Node, state: str) -> None:
        node.state = state
        for each in self._dependents.pop(node.number, ()):
            self._blocked[each.number] -= 1
            if not self._blocked[each.number]:
                self._ready.append(each)

    def _ask_whether_to_stop(self) -> None:
        state, now = self._state, time.monotonic()
        if state.dry_run or now - self._asked_to_stop_at < STOP_SECONDS:
            return
        self._asked_to_stop_at = now
        reason = state.room.asked_to_stop(state.run_id)
        if not reason and state.stop is not None and state.running:
            reason = state.stop([node.run for node in state.running.values() if node.run is not None])
        if reason:
            raise Cancelled(reason)
