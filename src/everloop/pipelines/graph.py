"""The steps a pipeline has called so far, and what each waits for."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from everloop.domain.pipelines import StepRecord, StoredValue
from everloop.errors import InvalidInput
from everloop.pipelines.steps import Conductor, Mapped, Result, Step, declared_length


@dataclass(eq=False)
class Node:
    """One call of a step, or a map over sequences that becomes calls (`parts`) when their lengths are known.

    state: ``waiting`` -> (``claimed`` -> ``running`` ->) ``done`` or ``failed``; ``skipped``.
    """

    number: int
    step: Step[..., Any]
    name: str
    arguments: inspect.BoundArguments | None
    needs: frozenset[int]
    sequences: tuple[Any, ...] = ()
    constants: dict[str, Any] = field(default_factory=dict)
    parts: list[Node] | None = None
    state: str = "waiting"
    value: StoredValue | None = None
    record: StepRecord | None = None
    # While it is being keyed and run:
    key: str = ""
    stored_arguments: StoredValue | None = None
    why: str = ""
    run: str | None = None
    previous: str | None = None
    attempts: int = 0
    losses: int = 0
    waited: float = 0.0
    begun_at: float = 0.0
    is_shown: bool = False
    log: str = ""
    python: str = ""
    asked_again_at: float = 0.0
    not_before: float = 0.0

    @property
    def is_map(self) -> bool:
        return self.arguments is None

    @property
    def is_over(self) -> bool:
        return self.state in {"done", "failed", "skipped"}


class Graph:
    """Nodes by number. The conductor that references call back is given by the driver."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._names: dict[str, int] = {}

    def call(self, step: Step[..., Any], arguments: inspect.BoundArguments, name: str = "") -> Node:
        """Add a call."""
        needs = frozenset(each.node for each in references(tuple(arguments.arguments.values())))
        node = Node(len(self.nodes), step, name or self._name(step.name), arguments, needs)
        self.nodes.append(node)
        return node

    def fan_out(self, step: Step[..., Any], sequences: tuple[Any, ...], constants: dict[str, Any]) -> Node:
        """Add a map."""
        needs = frozenset(each.node for each in references((sequences, constants)))
        node = Node(len(self.nodes), step, self._name(step.name), None, needs, sequences, constants)
        self.nodes.append(node)
        return node

    def expand(self, node: Node, lengths: list[int]) -> None:
        """Turn a map into its calls; `lengths` of its sequences must agree."""
        if len(set(lengths)) > 1:
            raise InvalidInput(
                f"{node.step.name}.map() was given sequences of {' and '.join(map(str, lengths))} elements",
                hint="give sequences of equal length",
            )
        node.parts = []
        for index in range(lengths[0]):
            each = tuple(sequence[index] for sequence in node.sequences)
            node.parts.append(
                self.call(node.step, node.step.bind(each, node.constants), f"{node.name}[{index}]")
            )

    def result(self, conductor: Conductor, node: Node) -> Result:
        return Result(conductor, node.number, label=node.name, length=declared_length(node.step.function))

    def mapped(self, conductor: Conductor, node: Node) -> Mapped:
        return Mapped(conductor, node.number, node.name)

    def _name(self, name: str) -> str:
        """The second call of `fit` is ``fit#2``."""
        count = self._names[name] = self._names.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"


def references(value: Any) -> Iterator[Result | Mapped]:
    """The references in arguments, however deep in lists, tuples and dicts; what contains itself is gone through once."""
    waiting = [value]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if isinstance(each, Result | Mapped):
            yield each
        elif isinstance(each, dict | list | tuple | set | frozenset) and id(each) not in seen:
            seen.add(id(each))
            waiting.extend(each.values() if isinstance(each, dict) else each)
