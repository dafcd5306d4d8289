"""What the executor is told of a step that begins: its code, arguments, limits, secrets, and the tracking run it has."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from everloop.domain.canonical import canonical
from everloop.engine.contract import Job
from everloop.errors import InvalidInput
from everloop.pipelines.driver.state import RunState
from everloop.pipelines.environments.bridge import not_installed
from everloop.pipelines.environments.building import Environments
from everloop.pipelines.graph import Node
from everloop.pipelines.idempotency import key_for
from everloop.pipelines.steps import Pipeline, Step
from everloop.pipelines.tracked import StepRun
from everloop.pipelines.values.encoding import tree_of
from everloop.pipelines.values.plain import importable
from everloop.pipelines.worker import FUNCTION, StepTask, code_seen


class Jobs:
    """Of one run. local: its steps as they are in this process, for those that run here."""

    def __init__(self, state: RunState, environments: Environments) -> None:
        self._state, self._environments = state, environments
        self.local: dict[tuple[str, str], Step[..., Any]] = {}
        self._codes: dict[Step[..., Any], tuple[str, dict[str, str]]] = {}

    def of(self, node: Node) -> Job:
        """The job of a node. Raises InvalidInput for a step that a worker could not find again."""
        assert node.stored_arguments is not None
        state, step, options = self._state, node.step, node.step.options
        module, qualname = self._place(step)
        code, constants = self._code(step)
        task = StepTask(
            location=state.context.location,
            root=str(state.root),
            module=module,
            qualname=qualname,
            name=node.name,
            path=list(sys.path) if not node.python else not_installed(sys.path),
            arguments=node.stored_arguments,
            seed=options.seed,
            run=self._tracking_run(node),
            code=code,
            constants=constants,
            idempotency=key_for(state.first_run, node.name, node.stored_arguments.digest),
            secrets={name: state.secrets[name] for name in options.secrets},
        )
        return Job(
            id=str(node.number),
            function=FUNCTION,
            payload=msgspec.msgpack.encode(task),
            log=str(state.logs / f"{node.number}.log"),
            timeout=options.timeout,
            cpus=options.cpus,
            memory=options.memory,
            project=str(state.root),
            python=node.python,
            packages=self._packages(step),
            expected=self._packages(state.pipeline),
        )

    def _packages(self, reached_by: Step[..., Any] | Pipeline[..., Any]) -> frozenset[str]:
        """The installed packages that the code of a step or of the whole pipeline reaches."""
        components = self._state.keys.code_of(reached_by).code_components
        return frozenset(each.name for each in components if each.kind == "package")

    def _code(self, step: Step[..., Any]) -> tuple[str, dict[str, str]]:
        """What a worker compares its code with, the same for all calls of a step."""
        if step not in self._codes:
            components = self._state.keys.code_of(step).code_components
            other = self._environments.is_other_python(step.options.environment)
            constants = {each.name: each.digest for each in components if each.kind == "value"}
            self._codes[step] = ("" if other else code_seen(step, components), constants)
        return self._codes[step]

    def _place(self, step: Step[..., Any]) -> tuple[str, str]:
        """Where a worker finds a step."""
        module, qualname = importable(step.module), step.qualname
        if self._state.executor.name != "inline" and (module == "__main__" or "<locals>" in qualname):
            raise InvalidInput(
                f"step {step.name} is not at the top level of a file, so a worker process cannot import it",
                hint="move it into a module, or use the executor 'inline'",
            )
        if self.local.setdefault((module, qualname), step.found_as) is not step.found_as:
            raise InvalidInput(
                f"{module} defines two steps called {qualname}, and only the last can be found again",
                hint="give one of them another name",
            )
        return module, qualname

    def _tracking_run(self, node: Node) -> StepRun | None:
        if node.run is None:
            return None
        assert node.stored_arguments is not None
        state = self._state
        tree = tree_of(node.stored_arguments, state.objects)
        given = [each.name for each in state.parts[node.number].other_components if each.kind == "parameter"]
        params = {name: _shown(tree[name]) for name in given}
        seed = node.step.options.seed
        captured = msgspec.structs.replace(state.captured, seeds={} if seed is None else {"seed": seed})
        return StepRun(node.run, state.run_id, state.experiment, node.name, params, captured, node.previous)


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
