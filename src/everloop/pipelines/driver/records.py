"""What became of each step, written to the ledger in batches."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from everloop.domain.pipelines import CachedResult, FinishedStep, Read, StepRecord
from everloop.engine.contract import Outcome, tail
from everloop.pipelines.driver.claims import Claims
from everloop.pipelines.driver.state import RunState
from everloop.pipelines.graph import Node
from everloop.pipelines.outcome import own_frames
from everloop.pipelines.worker import StepAnswer
from everloop.tracking.secrets import without

BATCH = 256
FLUSH_SECONDS = 0.1
SHOWN_AFTER = 2.0
"""Seconds after which a step at work is told of before it is over: most are over by then, and cost nothing."""


class Records:
    """Those of one run: each method but the last three gives a node its record, which is written with the next batch."""

    def __init__(self, state: RunState, claims: Claims) -> None:
        self._state, self._claims = state, claims
        self._finished: list[FinishedStep] = []
        self._unrecorded: set[int] = set()
        self._flushed_at, self._flush_after = time.monotonic(), FLUSH_SECONDS
        self._looked_at = self._flushed_at

    def executed(self, node: Node, answer: StepAnswer, reads: tuple[Read, ...], given: Iterable[str]) -> None:
        """It was computed. `given`: the dataset versions among its arguments; `reads`: those it read by itself."""
        node.value = answer.value
        log, size = self._keep_log(node)
        node.record = self._record(node, "executed", answer.seconds, node.why, log=log)
        consumed = tuple(dict.fromkeys((*given, *(read.found for read in reads))))
        parts = self._state.parts[node.number]
        self._finished.append(FinishedStep(node.record, parts, reads, consumed, size))
        self._unrecorded.add(node.number)

    def cached(self, node: Node, hit: CachedResult, given: Iterable[str]) -> None:
        """Its result was known."""
        node.value = hit.value
        node.run = hit.run
        node.record = self._record(node, "cached", 0.0, "nothing changed", log=None)
        consumed = (*given, *(read.found for read in hit.reads))
        self._finished.append(FinishedStep(node.record, None, hit.reads, consumed))

    def failed(self, node: Node, outcome: Outcome) -> None:
        """It failed, and the pipeline with it."""
        failure = outcome.failure
        assert failure is not None
        said = f"{failure.kind}: {failure.message}" if outcome.status == "failed" else failure.message
        error = f"step {node.name} failed: {said}"
        if failure.hint:
            error += f" ({failure.hint})"
        details = "\n".join(filter(None, (own_frames(failure.traceback), tail(node.log).rstrip())))
        log, size = self._keep_log(node)
        told = f"{error}\n{details}".rstrip()
        if self._state.secrets:
            said, told = (without(each, self._state.secrets.values()) for each in (said, told))
        node.record = self._record(node, "failed", outcome.seconds, said, log=log, error=told)
        self._finished.append(FinishedStep(node.record, self._state.parts[node.number], log_size=size))
        self._state.failure = self._state.failure or told

    def skipped(self, node: Node, why: str) -> None:
        """It was not begun."""
        node.record = self._record(node, "skipped", 0.0, why, log=None)
        self._finished.append(FinishedStep(node.record))

    def joined(self, node: Node) -> None:
        """A map is over: what builds on it builds on its parts, which may not be written yet."""
        self._unrecorded.add(node.number)

    def flush_before(self, node: Node) -> None:
        """Write what a step builds on before it begins, so that what is killed with it is its own work alone. What took a few
        milliseconds and left no traces may be done again."""
        needed = self._unrecorded & node.needs
        if not needed:
            return
        nodes = [self._state.graph.nodes[each] for each in needed]
        if (
            node.run is not None
            or not all(each.step.options.cache for each in nodes)
            or any(each.record is None or each.record.run is not None for each in nodes)
            or sum(each.record.seconds for each in self._finished) > FLUSH_SECONDS / 4
        ):
            self.flush()

    def flush_when_due(self) -> None:
        """Write what has come together, when it is much or has waited long."""
        if len(self._finished) >= BATCH or time.monotonic() - self._flushed_at > self._flush_after:
            self.flush()

    def show_at_work(self) -> None:
        """Tell of steps that take a while and have no run of their own, which would tell of them. Cheap to call often."""
        now = time.monotonic()
        if now - self._looked_at < SHOWN_AFTER or self._state.dry_run:
            return
        self._looked_at = now
        late = [
            node
            for node in self._state.running.values()
            if node.run is None and not node.is_shown and now - node.begun_at >= SHOWN_AFTER
        ]
        if late:
            records = [
                self._record(node, "running", now - node.begun_at, node.why, log=None) for node in late
            ]
            self._state.room.show_at_work(self._state.run_id, records)
            for node in late:
                node.is_shown = True

    def flush(self) -> None:
        """Write what has come together; nothing in a dry run."""
        self._flushed_at = time.monotonic()
        if not self._finished or self._state.dry_run:
            return
        batch, self._finished = self._finished, []
        self._unrecorded.clear()
        self._state.room.commit(self._state.run_id, batch)
        now = time.monotonic()
        # A ledger that is slow, or far away, is not kept busy with many small records.
        self._flushed_at, self._flush_after = now, max(FLUSH_SECONDS, 4 * (now - self._flushed_at))
        self._claims.recorded(each.record.key for each in batch if each.record.status == "executed")

    def _record(
        self, node: Node, status: Any, seconds: float, why: str, *, log: str | None, error: str = ""
    ) -> StepRecord:
        names = [self._state.graph.nodes[each].name for each in sorted(node.needs)]
        return StepRecord(
            position=node.number,
            name=node.name,
            step=self._state.keys.label(node.step),
            status=status,
            seconds=seconds,
            reason=why,
            key=node.key,
            run=node.run,
            value=node.value,
            error=error,
            log=log,
            attempts=max(node.attempts, 1),
            inputs=tuple(names),
        )

    def _keep_log(self, node: Node) -> tuple[str | None, int | None]:
        path = Path(node.log)
        if not node.log or not path.is_file() or not path.stat().st_size:
            return None, None
        if self._state.secrets:
            secrets = self._state.secrets.values()
            text = path.read_text(encoding="utf-8", errors="surrogateescape")
            path.write_text(without(text, secrets), encoding="utf-8", errors="surrogateescape")
        stored = self._state.objects.put(path)
        path.unlink()
        return stored.digest, stored.size
