"""A run of a pipeline, from the first call to the last: keys, cache, claims, executors, failures.

One thread does it all. The pipeline's function is called and its calls of steps become nodes; nodes whose inputs are there are
keyed and looked up, the rest is claimed and given to the executor. Keys, hits and records stay here, so a run whose steps are
all cached never starts a worker. A step begins when its inputs are recorded; results of steps that do not wait for each other
are recorded in batches, and what was not recorded when the process is killed is computed again.
"""

from __future__ import annotations

import inspect
import os
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.domain.canonical import canonical
from everloop.domain.pipelines import (
    CachedResult,
    Component,
    FinishedStep,
    KeyParts,
    KeysBefore,
    PipelineRunRecord,
    Read,
    StepRecord,
    StoredValue,
    changes,
    reason,
)
from everloop.domain.runs import FAILED, FINISHED, INTERRUPTED, Captured
from everloop.engine.contract import Executor, Failure, Job, Outcome, tail
from everloop.engine.executors import open_executor
from everloop.errors import EverloopError, InvalidInput, NotFound
from everloop.governance.audit import Governance
from everloop.pipelines.datasets import Newest, lifted_datasets, lowered_dataset, references_in
from everloop.pipelines.environments.bridge import not_installed
from everloop.pipelines.environments.building import Environments
from everloop.pipelines.graph import Graph, Node
from everloop.pipelines.idempotency import key_for
from everloop.pipelines.interrupting import interrupted_gently
from everloop.pipelines.keys import Keys
from everloop.pipelines.locating import find_pipeline, project_of
from everloop.pipelines.outcome import PipelineRun, failed_pipeline, is_ours, own_frames
from everloop.pipelines.patience import patient
from everloop.pipelines.pools import Places
from everloop.pipelines.secrets import find_secrets
from everloop.pipelines.steps import Mapped, Pipeline, Result, Step, conducted_by
from everloop.pipelines.tracked import StepRun, begin_whole
from everloop.pipelines.values.encoding import decode, encode, joined, length_of, part_of, tree_of
from everloop.pipelines.values.plain import importable
from everloop.pipelines.worker import FUNCTION, StepAnswer, StepTask, code_seen, served_here
from everloop.tracking.places import this_process
from everloop.tracking.secrets import without
from everloop.tracking.starting import RESUME

if TYPE_CHECKING:
    from everloop.pipelines.pipelines import Pipelines

BATCH = 256
CLAIMED_AT_ONCE = 32
"""Few enough that two processes share the work, many enough that asking costs little."""
FLUSH_SECONDS = 0.1
RENEW_SECONDS = 15.0
ASK_AGAIN_SECONDS = 0.1
LOSSES = 3
"""How often a step begins again because its machine went away; that is no try of its own."""
STOP_SECONDS = 1.0
"""Between two questions whether the run should stop."""


class _Stopped(Exception):
    """A step failed (or, in a dry run, would have to be executed), so the pipeline's function cannot go on."""


class _Cancelled(Exception):
    """Whoever started the run has asked it to stop, and says why."""


def run_pipeline(
    room: Pipelines,
    pipeline: str | Pipeline[..., Any],
    params: Mapping[str, Any],
    *,
    executor: str | Executor,
    dry_run: bool,
    force: bool,
    experiment: str,
    resumed_from: str | None,
    parent: str | None,
    on_begin: Callable[[str], None] | None,
    on_step: Callable[[StepRecord], None] | None,
    stop: Callable[[Sequence[str]], str] | None,
) -> PipelineRun:
    """See `Pipelines.run`."""
    declared, source = find_pipeline(pipeline, room.context.project)
    resumed_from = resumed_from or os.environ.pop(RESUME, None)
    root = project_of(declared, room.context.project)
    newest = Newest(room.context, root)
    arguments = {name: newest.pinned(value) for name, value in declared.arguments(params).items()}
    chosen = open_executor(executor, room.context.settings.engine) if isinstance(executor, str) else executor
    begun = time.perf_counter()
    driver = _Driver(
        room, declared, root, chosen, newest, dry_run=dry_run, force=force, on_step=on_step, stop=stop
    )
    driver.on_begin = on_begin
    try:
        with interrupted_gently(driver):
            return driver.run(
                source, arguments, params, experiment or declared.name, resumed_from, parent, begun
            )
    finally:
        if (
            isinstance(executor, str) or driver.running
        ):  # one that was lent keeps its workers, unless they are at work
            chosen.close()
        shutil.rmtree(driver.logs, ignore_errors=True)


class _Driver:
    """`Conductor` of one run."""

    def __init__(
        self,
        room: Pipelines,
        pipeline: Pipeline[..., Any],
        root: Path,
        executor: Executor,
        newest: Newest,
        *,
        dry_run: bool,
        force: bool,
        on_step: Callable[[StepRecord], None] | None,
        stop: Callable[[Sequence[str]], str] | None,
    ) -> None:
        self.room, self.context, self.pipeline, self.root = patient(room), room.context, pipeline, root
        self.executor, self.newest, self.dry_run, self.force = executor, newest, dry_run, force
        self.on_step, self.stop = on_step, stop
        self.on_begin: Callable[[str], None] | None = None
        self.stopping = False
        self.asked_to_stop_at = time.monotonic()
        self.objects = patient(room.context.objects)
        self.places = Places(self.room, "")
        self.first_run = ""
        self.keys = Keys(root)
        self.graph = Graph()
        self.run_id = ""
        self.experiment = ""
        self.captured = Captured()
        self.logs = Path(tempfile.mkdtemp(prefix="everloop-logs-"))
        self.ready: deque[Node] = deque()
        self.to_claim: deque[Node] = deque()
        self.claimed: deque[Node] = deque()
        self.elsewhere: list[Node] = []
        self.running: dict[str, Node] = {}
        self.blocked: dict[int, int] = {}
        self.dependents: dict[int, list[Node]] = {}
        self.finished: list[FinishedStep] = []
        self.unrecorded: set[int] = set()
        self.held: set[str] = set()
        self.gates: dict[int, _Gate] = {}
        self.flushed_at, self.flush_after = time.monotonic(), FLUSH_SECONDS
        self.renewed_at = time.monotonic()
        self.parts: dict[int, KeyParts] = {}
        self.before: dict[str, tuple[set[str], KeysBefore]] = {}
        self.failure = ""
        self.ranked = False
        self.local: dict[tuple[str, str], Step[..., Any]] = {}
        self.secrets: dict[str, str] = {}
        self.environments = Environments(room.context.folder, self._renew)

    # The run

    def run(
        self,
        source: str,
        arguments: dict[str, Any],
        params: Mapping[str, Any],
        experiment: str,
        resumed_from: str | None,
        parent: str | None,
        begun: float,
    ) -> PipelineRun:
        """Call the pipeline and do what it asks for."""
        if self.dry_run:
            self._trace(arguments)
            return self._summary("planned", begun, None, None)
        self.experiment = experiment
        run, self.captured = begin_whole(
            self.context,
            experiment=experiment,
            name=self.pipeline.name,
            source=source,
            params=arguments,
            root=self.root,
            resumed_from=resumed_from,
            parent=parent,
        )
        self.run_id = self.first_run = run.run_id
        self.places = Places(self.room, run.run_id)
        status = FAILED
        output: StoredValue | None = None
        try:
            if resumed_from:
                self.first_run = self._first_run(resumed_from)
            record = PipelineRunRecord(
                run=run.run_id,
                pipeline=self.pipeline.name,
                source=source,
                params={name: msgspec.to_builtins(value, enc_hook=str) for name, value in params.items()},
                executor=self.executor.name,
                status="running",
                started=self.context.clock(),
                resumed_from=resumed_from,
                settings={"root": str(self.root), "cpus": os.cpu_count(), "first_run": self.first_run},
            )
            self.room.begin(record)
            if self.on_begin is not None:
                self.on_begin(run.run_id)
            self._declare(source)
            output = self._trace(arguments)
            status = FINISHED if not self.failure else FAILED
        except _Cancelled as cancelled:
            status, self.failure = INTERRUPTED, str(cancelled)
        except KeyboardInterrupt:
            status = INTERRUPTED
            raise
        finally:
            if self.running:
                self.executor.close()
            self._flush()
            if self.held:
                self.room.release(sorted(self.held), self.run_id)
            self.places.leave_all()
            self.room.end(self.run_id, status, output)
            run.finish(status)
        return self._summary(status, begun, output, resumed_from)

    def _first_run(self, resumed_from: str) -> str:
        """The run at the beginning of those that go on with each other: effects of steps happen once in all of them."""
        try:
            before = self.room.pipeline_run(resumed_from)
        except NotFound:  # a run of a script, which this pipeline's run goes on with
            return resumed_from
        return str(before.settings.get("first_run", before.run))

    def _declare(self, source: str) -> None:
        """Record the pipeline's declaration: the same code and parameters are the same version."""
        known = self.pipeline.signature.parameters
        declaration = {
            "name": self.pipeline.name,
            "parameters": {
                name: None if each.default is inspect.Parameter.empty else repr(each.default)
                for name, each in known.items()
            },
            "code": self.keys.code_of(self.pipeline).code,
        }
        self.context.room(Governance).record_definition("pipeline", self.pipeline.name, declaration, source)

    def _trace(self, arguments: dict[str, Any]) -> StoredValue | None:
        with served_here(self.context, self.local):
            try:
                with conducted_by(self):
                    returned = self.pipeline.function(**arguments)
                self._advance(lambda: all(node.is_over for node in self.graph.nodes))
            except _Stopped:
                returned = None
            except Exception as error:
                if isinstance(error, EverloopError) or is_ours(error):
                    raise
                raise failed_pipeline(self.pipeline, error) from error
            self._skip_rest()
            if self.failure or self.dry_run:
                return None
            return encode(returned, self.objects, "what the pipeline returned", self._special(set()))

    def _summary(
        self, status: str, begun: float, output: StoredValue | None, resumed_from: str | None
    ) -> PipelineRun:
        steps = tuple(node.record for node in self.graph.nodes if node.record is not None)
        notes = dict.fromkeys(note for parts in self.parts.values() for note in parts.notes)
        special = lifted_datasets(self.context)
        return PipelineRun(
            run_id=self.run_id,
            pipeline=self.pipeline.name,
            status=status,
            steps=steps,
            seconds=time.perf_counter() - begun,
            error=self.failure,
            notes=tuple(notes),
            resumed_from=resumed_from,
            output=output,
            _read=lambda stored: decode(stored, self.objects, special),
        )

    @property
    def at_work(self) -> list[str]:
        """The names of the steps that are being executed."""
        return [node.name for node in self.running.values()]

    # What references ask of their conductor

    def call(self, step: Step[..., Any], arguments: inspect.BoundArguments) -> Result:
        self._find_secrets(step)
        return self.graph.result(self, self._add(self.graph.call(step, arguments)))

    def fan_out(self, step: Step[..., Any], sequences: tuple[Any, ...], constants: dict[str, Any]) -> Mapped:
        self._find_secrets(step)
        given = tuple(each if isinstance(each, Result | Mapped) else list(each) for each in sequences)
        return self.graph.mapped(self, self._add(self.graph.fan_out(step, given, constants)))

    def _find_secrets(self, step: Step[..., Any]) -> None:
        """Told when the step is called: in most pipelines before anything has run."""
        wanted = [name for name in step.options.secrets if name not in self.secrets]
        if wanted:
            self.secrets |= find_secrets(wanted, self.context.folder, f"step {step.name}")

    def value(self, reference: Result | Mapped) -> Any:
        stored = self._wait_for(reference)
        return decode(stored, self.objects, lifted_datasets(self.context))

    def length(self, reference: Result | Mapped) -> int:
        node = self.graph.nodes[reference.node]
        if isinstance(reference, Mapped):
            self._advance(lambda: node.parts is not None or node.is_over)
            if node.parts is None:
                raise _Stopped
            return len(node.parts)
        count = length_of(self._wait_for(reference), self.objects)
        if count is None:
            raise InvalidInput(f"the result of {node.name} is no list or tuple, so it cannot be unpacked")
        return count

    def _wait_for(self, reference: Result | Mapped) -> StoredValue:
        node = self.graph.nodes[reference.node]
        self._advance(lambda: node.is_over)
        if node.state != "done":
            raise _Stopped
        return self._stored(reference)

    def _stored(self, reference: Result | Mapped) -> StoredValue:
        node = self.graph.nodes[reference.node]
        path: tuple[Any, ...] = ()
        if isinstance(reference, Result):
            path = reference.path
            if node.parts is not None and path and isinstance(path[0], int):  # one element of a map
                node, path = node.parts[path[0]], path[1:]
        if node.value is None and node.parts is not None:
            node.value = joined([each.value for each in node.parts if each.value is not None], self.objects)
        assert node.value is not None
        stored = node.value
        for key in path:
            stored = part_of(stored, key, self.objects)
        return stored

    # Nodes

    def _add(self, node: Node) -> Node:
        self.ranked = self.ranked or node.step.options.priority != 0
        unmet = {each for each in node.needs if not self.graph.nodes[each].is_over}
        for each in unmet:
            self.dependents.setdefault(each, []).append(node)
        self.blocked[node.number] = len(unmet)
        if not unmet:
            self.ready.append(node)
        return node

    def _is_over(self, node: Node, state: str) -> None:
        node.state = state
        for each in self.dependents.pop(node.number, ()):
            self.blocked[each.number] -= 1
            if not self.blocked[each.number]:
                self.ready.append(each)

    def _advance(self, until: Callable[[], bool]) -> None:
        """Do what can be done until `until` holds, or nothing is left that could make it so."""
        while not until():
            moved = self._prepare() + self._claim() + self._submit()
            if until():
                break
            outcomes = self.executor.wait(0.0 if moved else ASK_AGAIN_SECONDS) if self.running else []
            for outcome in outcomes:
                self._take(outcome)
            if len(self.finished) >= BATCH or time.monotonic() - self.flushed_at > self.flush_after:
                self._flush()
            if self.elsewhere:
                if not moved and not outcomes and not self.running:
                    time.sleep(ASK_AGAIN_SECONDS)
                self.to_claim.extend(self.elsewhere)
                self.elsewhere.clear()
            self._renew()
            self._ask_whether_to_stop()
            if self.stopping and not self.running:
                raise KeyboardInterrupt
            if not (
                moved or outcomes or self.running or self.to_claim or (self.claimed and not self.failure)
            ):
                break
            if self.claimed and not moved and not outcomes and not self.running:
                time.sleep(ASK_AGAIN_SECONDS)  # all that is left waits for its next try
        self._flush()

    def _prepare(self) -> int:
        """Key the nodes whose inputs are there, and look them up."""
        asked: list[Node] = []
        count = 0
        while self.ready and (not self.failure or self.dry_run):
            node = self.ready.popleft()
            count += 1
            if any(self.graph.nodes[each].state != "done" for each in node.needs):
                self._skip(node, self._why_skipped(node))
            elif node.is_map:
                self._expand(node)
            else:
                self._make_key(node)
                asked.append(node)
        known = self._lookup(
            [
                node
                for node in asked
                if node.step.options.cache and not self.force and self._may_be_known(node)
            ]
        )
        for node in asked:
            hit = known.get(node.key)
            if hit is not None:
                self._hit(node, hit)
            elif self.dry_run:
                self._skip(node, f"would run: {self._reason(node)}")
            else:
                # Before it is claimed: building takes its time, and a claim has to be renewed.
                node.python = self.environments.python(node.step.options.environment)
                self.to_claim.append(node)
        return count

    def _may_be_known(self, node: Node) -> bool:
        """Whether to look a step up before it is claimed. Where what it builds on was computed just now it is hardly known, and
        the claim will tell."""
        records = [self.graph.nodes[each].record for each in node.needs]
        return self.dry_run or not any(each is not None and each.status == "executed" for each in records)

    def _expand(self, node: Node) -> None:
        lengths = [
            length_of(self._stored(each), self.objects) if isinstance(each, Result) else len(each)
            for each in node.sequences
        ]
        if any(each is None for each in lengths):
            raise InvalidInput(
                f"{node.step.name}.map() was given something that is no list", hint="map over a list"
            )
        self.graph.expand(node, [each for each in lengths if each is not None])
        assert node.parts is not None
        left = {part.number for part in node.parts}
        self.blocked[node.number] = 0
        if not left:
            self._is_over(node, "done")
            return
        # The map is over when its parts are; it stands in for them where the whole list is needed.
        gate = _Gate(node, left)
        for part in node.parts:
            self.gates[part.number] = gate
            self._add(part)

    def _make_key(self, node: Node) -> None:
        assert node.arguments is not None
        types: set[str] = set()
        given = {name: self.newest.pinned(value) for name, value in node.arguments.arguments.items()}
        stored = encode(given, self.objects, f"an argument of {node.name}", self._special(types))
        if types:
            stored = msgspec.structs.replace(stored, types=tuple(sorted({*stored.types, *types})))
        node.stored_arguments = stored
        packages = self.environments.components(node.step.options.environment)
        node.key, parts = self.keys.key(node, stored, tree_of(stored, self.objects), packages)
        self.parts[node.number] = parts

    def _special(self, types: set[str]) -> Callable[[Any], Any]:
        def tree(value: Any) -> Any:
            if isinstance(value, Result | Mapped):
                stored = self._stored(value)
                types.update(stored.types)
                return tree_of(stored, self.objects)
            return lowered_dataset(value)

        return tree

    def _lookup(self, nodes: list[Node]) -> dict[str, CachedResult]:
        found: dict[str, CachedResult] = {}
        keys = list(dict.fromkeys(node.key for node in nodes))
        for start in range(0, len(keys), 500):
            for each in self.room.results(keys[start : start + 500]):
                if each.key not in found and self.newest.still(each.reads):
                    found[each.key] = each
        return {
            node.key: found[node.key]
            for node in nodes
            if node.key in found and self._young(node, found[node.key])
        }

    def _young(self, node: Node, result: CachedResult) -> bool:
        """Whether a result may still be used, by its age."""
        keep = node.step.options.keep
        return keep is None or self.context.clock() - result.time <= timedelta(seconds=keep)

    def _reason(self, node: Node) -> str:
        """Why a step whose result is not known has to be executed."""
        if self.force:
            return "forced"
        if not node.step.options.cache:
            return "declared with cache=False"
        parts = self.parts[node.number]
        before = self._before(node)
        after = (*parts.other_components, *parts.code_components)
        if before is not None and not changes(before, after):
            stored = self.room.results([node.key])
            if stored and not self._young(node, stored[0]):
                return f"its result of {stored[0].time:%Y-%m-%d %H:%M} is too old"
            moved = [read for each in stored[:1] for read in each.reads if not self.newest.still([read])]
            if moved:
                return "; ".join(map(self.newest.said, moved))
        return reason(before, after)

    def _before(self, node: Node) -> tuple[Component, ...] | None:
        label = self.keys.label(node.step)
        known = self.before.get(label)
        if known is None or (known[1].newest and node.name not in known[0]):
            # All that is known to be called of this step is asked for at once: the parts of a map are many.
            names = [each.name for each in self.graph.nodes if each.step is node.step and not each.is_map]
            start = names.index(node.name)
            names = names[start : start + 500]
            known = self.before[label] = (set(names), self.room.keys_before(label, names))
        return known[1].components(node.name)

    def _claim(self) -> int:
        """Ask for the right to compute; what somebody else computes is waited for."""
        if not self.to_claim or self.failure or self.stopping or len(self.claimed) >= 4:
            return 0
        now = time.monotonic()
        if self.ranked:
            self.to_claim = deque(sorted(self.to_claim, key=lambda node: -node.step.options.priority))
        asked = [self.to_claim.popleft() for _ in range(min(len(self.to_claim), CLAIMED_AT_ONCE))]
        early = [node for node in asked if node.asked_again_at > now]
        asked = [node for node in asked if node.asked_again_at <= now]
        self.elsewhere += early
        if not asked:
            return 0
        twins = {node.key for node in (*self.claimed, *self.running.values())}
        once: dict[str, Node] = {}
        for node in asked:
            if (
                node.key in twins or node.key in once
            ):  # the same call twice in one pipeline: the second waits for the first
                node.asked_again_at = 0.0
                self.elsewhere.append(node)
            else:
                once[node.key] = node
        inside = self.places.entered(list(once.values()))
        for node in [each for each in once.values() if each.number not in inside]:
            node.asked_again_at = now + ASK_AGAIN_SECONDS
            self.elsewhere.append(once.pop(node.key))
        if not once:
            return 0
        for node in once.values():
            node.why = node.why or self._reason(node)
            node.run = self.context.ids() if self.keys.uses_everloop(node.step) else None
        again = self.force or not all(node.step.options.cache for node in once.values())
        claims = self.room.claim(
            list(once), self.run_id, this_process(), [node.run or "" for node in once.values()], again=again
        )
        granted = 0
        for node, claim in zip(once.values(), claims, strict=True):
            if claim.granted:
                node.previous = claim.run
                self.held.add(node.key)
                self.claimed.append(node)
                granted += 1
            elif (
                claim.result is not None
                and self.newest.still(claim.result.reads)
                and self._young(node, claim.result)
            ):
                self._hit(node, claim.result)
                granted += 1
            elif claim.result is not None:
                self._claim_again(node)
            else:
                self._ask_again(node)
        return granted

    def _ask_again(self, node: Node) -> None:
        """Somebody else computes it: its place is for others meanwhile."""
        self.places.leave(node)
        node.asked_again_at = time.monotonic() + ASK_AGAIN_SECONDS
        self.elsewhere.append(node)

    def _claim_again(self, node: Node) -> None:
        """There is a result, but the step read datasets that have moved on: it is computed although the key has one."""
        claim = self.room.claim([node.key], self.run_id, this_process(), [node.run or ""], again=True)[0]
        if claim.granted:
            node.previous = claim.run
            self.held.add(node.key)
            self.claimed.append(node)
        else:
            self._ask_again(node)

    def _submit(self) -> int:
        count = 0
        for _ in range(len(self.claimed)):
            if self.failure or self.stopping or not self.executor.room(self.claimed[0].step.options.cpus):
                break
            node = self.claimed.popleft()
            if node.not_before > time.monotonic():  # it failed, and is tried again in a while
                self.claimed.append(node)
                continue
            if self._must_record(node):
                self._flush()
            self._start(node)
            count += 1
        return count

    def _must_record(self, node: Node) -> bool:
        """Whether what a step builds on has to be recorded before it begins, so that what is killed with it is its own work
        alone. What took a few milliseconds and left no traces may be done again."""
        needed = self.unrecorded & node.needs
        if not needed:
            return False
        records = [self.graph.nodes[each].record for each in needed]
        steps = [self.graph.nodes[each].step.options for each in needed]
        return (
            node.run is not None
            or not all(each.cache for each in steps)
            or any(each is None or each.run is not None for each in records)
            or sum(each.record.seconds for each in self.finished) > FLUSH_SECONDS / 4
        )

    def _start(self, node: Node) -> None:
        assert node.stored_arguments is not None
        node.attempts += 1
        node.state = "running"
        place, qualname = importable(node.step.module), node.step.qualname
        if self.executor.name != "inline" and (place == "__main__" or "<locals>" in qualname):
            raise InvalidInput(
                f"step {node.step.name} is not at the top level of a file, so a worker process cannot import it",
                hint="move it into a module, or use the executor 'inline'",
            )
        identity = (place, qualname)
        if self.local.setdefault(identity, node.step.found_as) is not node.step.found_as:
            raise InvalidInput(
                f"{place} defines two steps called {qualname}, and only the last can be found again",
                hint="give one of them another name",
            )
        step_run = None
        if node.run is not None:
            tree = tree_of(node.stored_arguments, self.objects)
            given = [
                each.name for each in self.parts[node.number].other_components if each.kind == "parameter"
            ]
            params = {name: _shown(tree[name]) for name in given}
            seed = node.step.options.seed
            captured = msgspec.structs.replace(self.captured, seeds={} if seed is None else {"seed": seed})
            step_run = StepRun(
                node.run, self.run_id, self.experiment, node.name, params, captured, node.previous
            )
        code = self.keys.code_of(node.step)
        seen = code_seen(node.step, code.code_components)
        task = StepTask(
            location=self.context.location,
            root=str(self.root),
            module=place,
            qualname=qualname,
            name=node.name,
            path=list(sys.path) if not node.python else not_installed(sys.path),
            arguments=node.stored_arguments,
            seed=node.step.options.seed,
            run=step_run,
            code="" if self.environments.is_other_python(node.step.options.environment) else seen,
            constants={each.name: each.digest for each in code.code_components if each.kind == "value"},
            idempotency=key_for(self.first_run, node.name, node.stored_arguments.digest),
            secrets={name: self.secrets[name] for name in node.step.options.secrets},
        )
        node.log = str(self.logs / f"{node.number}.log")
        job = Job(
            id=str(node.number),
            function=FUNCTION,
            payload=msgspec.msgpack.encode(task),
            log=node.log,
            timeout=node.step.options.timeout,
            cpus=node.step.options.cpus,
            memory=node.step.options.memory,
            project=str(self.root),
            python=node.python,
        )
        self.running[job.id] = node
        self.executor.submit(job)

    # Outcomes

    def _take(self, outcome: Outcome) -> None:
        node = self.running.pop(outcome.id)
        if outcome.status == "done":
            answer = msgspec.msgpack.decode(outcome.result, type=StepAnswer)
            given = (
                list(references_in(tree_of(node.stored_arguments, self.objects)))
                if node.stored_arguments
                else []
            )
            reads = self.newest.reads(answer.seen, given) if answer.seen else ()
            self._done(node, answer.value, answer.seconds, reads, (*given, *(read.found for read in reads)))
            return
        assert outcome.failure is not None
        if outcome.status == "lost" and node.losses < LOSSES and not self.failure:
            node.attempts, node.losses = node.attempts - 1, node.losses + 1
            node.previous, node.run = node.run, self.context.ids() if node.run is not None else None
            self.claimed.appendleft(node)
            return
        if node.attempts <= node.step.options.retries and not self.failure:
            node.previous = node.run
            node.run = self.context.ids() if node.run is not None else None
            node.not_before = time.monotonic() + node.step.options.wait * 2 ** (node.attempts - 1)
            self.claimed.appendleft(node)
            return
        self._failed(node, outcome, outcome.failure)

    def _done(
        self,
        node: Node,
        value: StoredValue,
        seconds: float,
        reads: tuple[Read, ...],
        consumed: tuple[str, ...],
    ) -> None:
        node.value = value
        log, size = self._keep_log(node)
        record = self._record(node, "executed", seconds, node.why, log=log)
        node.record = record
        self.finished.append(
            FinishedStep(record, self.parts[node.number], reads, tuple(dict.fromkeys(consumed)), size)
        )
        self.unrecorded.add(node.number)
        self._settled(node, "done")

    def _hit(self, node: Node, hit: CachedResult) -> None:
        node.value = hit.value
        node.run = hit.run
        node.record = self._record(node, "cached", 0.0, "nothing changed", log=None)
        if not self.dry_run:
            given = (
                tuple(references_in(tree_of(node.stored_arguments, self.objects)))
                if node.stored_arguments
                else ()
            )
            self.finished.append(
                FinishedStep(node.record, None, hit.reads, (*given, *(read.found for read in hit.reads)))
            )
        self._settled(node, "done")

    def _failed(self, node: Node, outcome: Outcome, failure: Failure) -> None:
        lines = tail(node.log)
        said = f"{failure.kind}: {failure.message}" if outcome.status == "failed" else failure.message
        own = own_frames(failure.traceback)
        error = f"step {node.name} failed: {said}"
        if failure.hint:
            error += f" ({failure.hint})"
        details = "\n".join(part for part in (own, lines.rstrip()) if part)
        log, size = self._keep_log(node)
        told = f"{error}\n{details}".rstrip()
        if self.secrets:
            said, told = (without(each, self.secrets.values()) for each in (said, told))
        node.record = self._record(node, "failed", outcome.seconds, said, log=log, error=told)
        self.finished.append(FinishedStep(node.record, self.parts[node.number], log_size=size))
        self.failure = self.failure or node.record.error
        self.room.release([node.key], self.run_id)
        self.held.discard(node.key)
        self._settled(node, "failed")

    def _skip(self, node: Node, why: str) -> None:
        node.record = self._record(node, "skipped", 0.0, why, log=None)
        if not self.dry_run:
            self.finished.append(FinishedStep(node.record))
        self._settled(node, "skipped")

    def _skip_rest(self) -> None:
        """What was not begun when a step failed."""
        for node in self.graph.nodes:
            if not node.is_over and not node.is_map and node.state != "running":
                node.record = self._record(node, "skipped", 0.0, self._why_skipped(node), log=None)
                if not self.dry_run:
                    self.finished.append(FinishedStep(node.record))
                node.state = "skipped"

    def _why_skipped(self, node: Node) -> str:
        if self.dry_run:
            unmet = [
                self.graph.nodes[each].name
                for each in sorted(node.needs)
                if self.graph.nodes[each].state != "done"
            ]
            return f"would run if the result of {' or '.join(unmet)} is another one" if unmet else "would run"
        failed = next((each.name for each in self.graph.nodes if each.state == "failed"), "a step")
        return f"not begun: {failed} failed"

    def _settled(self, node: Node, state: str) -> None:
        self.places.leave(node)
        if self.on_step is not None and node.record is not None:
            self.on_step(node.record)
        self._is_over(node, state)
        gate = self.gates.pop(node.number, None)
        if gate is None:
            return
        gate.left.discard(node.number)
        gate.worst = state if state != "done" else gate.worst
        if not gate.left:
            self.unrecorded.add(gate.node.number)
            self._is_over(gate.node, gate.worst)

    def _record(
        self, node: Node, status: Any, seconds: float, why: str, *, log: str | None, error: str = ""
    ) -> StepRecord:
        names = [self.graph.nodes[each].name for each in sorted(node.needs)]
        return StepRecord(
            position=node.number,
            name=node.name,
            step=self.keys.label(node.step),
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
        if self.secrets:
            text = path.read_text(encoding="utf-8", errors="surrogateescape")
            path.write_text(without(text, self.secrets.values()), encoding="utf-8", errors="surrogateescape")
        stored = self.objects.put(path)
        path.unlink()
        return stored.digest, stored.size

    def _flush(self) -> None:
        self.flushed_at = time.monotonic()
        if self.finished and not self.dry_run:
            batch, self.finished = self.finished, []
            self.unrecorded.clear()
            self.room.commit(self.run_id, batch)
            now = time.monotonic()
            # A ledger that is slow, or far away, is not kept busy with many small records.
            self.flushed_at, self.flush_after = now, max(FLUSH_SECONDS, 4 * (now - self.flushed_at))
            self.held.difference_update(each.record.key for each in batch if each.record.status == "executed")

    def _ask_whether_to_stop(self) -> None:
        now = time.monotonic()
        if self.dry_run or now - self.asked_to_stop_at < STOP_SECONDS:
            return
        self.asked_to_stop_at = now
        reason = self.room.asked_to_stop(self.run_id)
        if not reason and self.stop is not None and self.running:
            reason = self.stop([node.run for node in self.running.values() if node.run is not None])
        if reason:
            raise _Cancelled(reason)

    def _renew(self) -> None:
        if time.monotonic() - self.renewed_at > RENEW_SECONDS:
            self.renewed_at = time.monotonic()
            self.places.renew()
            if self.held:
                self.room.renew(sorted(self.held), self.run_id)


@dataclass
class _Gate:
    """A map that waits for its parts."""

    node: Node
    left: set[int]
    worst: str = "done"


def _shown(tree: Any) -> str:
    """A parameter as the run shows it: text as it is, anything else as Python or JSON writes it, not too long."""
    text = (
        tree
        if isinstance(tree, str)
        else repr(tree)
        if not isinstance(tree, dict | list)
        else canonical(tree).decode()
    )
    return text if len(text) <= 500 else text[:499] + "…"
