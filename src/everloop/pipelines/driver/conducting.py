"""What a pipeline's calls of steps ask for: new nodes, and values when the pipeline's function looks at one."""

from __future__ import annotations

import inspect
from typing import Any

from everloop.domain.pipelines import StoredValue
from everloop.errors import InvalidInput
from everloop.pipelines.driver.scheduling import Scheduler
from everloop.pipelines.driver.state import RunState
from everloop.pipelines.secrets import find_secrets
from everloop.pipelines.steps import Mapped, Result, Step
from everloop.pipelines.values.encoding import length_of


class Stopped(Exception):
    """A step failed (or, in a dry run, would have to be executed), so the pipeline's function cannot go on."""


class PipelineConductor:
    """`Conductor` of one run. Where a value is asked for, the scheduler works until it is there."""

    def __init__(self, state: RunState, scheduler: Scheduler) -> None:
        self._state, self._scheduler = state, scheduler

    def call(self, step: Step[..., Any], arguments: inspect.BoundArguments) -> Result:
        self._find_secrets(step)
        return self._state.graph.result(self, self._scheduler.add(self._state.graph.call(step, arguments)))

    def fan_out(self, step: Step[..., Any], sequences: tuple[Any, ...], constants: dict[str, Any]) -> Mapped:
        self._find_secrets(step)
        given = tuple(each if isinstance(each, Result | Mapped) else list(each) for each in sequences)
        node = self._scheduler.add(self._state.graph.fan_out(step, given, constants))
        return self._state.graph.mapped(self, node)

    def value(self, reference: Result | Mapped) -> Any:
        return self._scheduler.references.decoded(self._wait_for(reference))

    def length(self, reference: Result | Mapped) -> int:
        node = self._state.graph.nodes[reference.node]
        if isinstance(reference, Mapped):
            self._scheduler.advance(lambda: node.parts is not None or node.is_over)
            if node.parts is None:
                raise Stopped
            return len(node.parts)
        count = length_of(self._wait_for(reference), self._state.objects)
        if count is None:
            raise InvalidInput(f"the result of {node.name} is no list or tuple, so it cannot be unpacked")
        return count

    def _wait_for(self, reference: Result | Mapped) -> StoredValue:
        node = self._state.graph.nodes[reference.node]
        self._scheduler.advance(lambda: node.is_over)
        if node.state != "done":
            raise Stopped
        return self._scheduler.references.stored(reference)

    def _find_secrets(self, step: Step[..., Any]) -> None:
        """Told when the step is called: in most pipelines before anything has run."""
        wanted = [name for name in step.options.secrets if name not in self._state.secrets]
        if wanted:
            self._state.secrets |= find_secrets(wanted, self._state.context.folder, f"step {step.name}")
