"""A map over sequences becomes calls once their lengths are known, and is over when all of them are."""

from __future__ import annotations

from dataclasses import dataclass

from everloop.errors import InvalidInput
from everloop.pipelines.driver.references import References
from everloop.pipelines.driver.state import RunState
from everloop.pipelines.graph import Node
from everloop.pipelines.steps import Result
from everloop.pipelines.values.encoding import length_of


@dataclass
class _Gate:
    """A map that waits for its parts; it stands in for them where the whole list is needed."""

    node: Node
    left: set[int]
    worst: str = "done"


class Maps:
    """Those of one run."""

    def __init__(self, state: RunState, references: References) -> None:
        self._state, self._references = state, references
        self._gates: dict[int, _Gate] = {}

    def expand(self, node: Node) -> list[Node]:
        """The calls that a map stands for. Raises InvalidInput for what is no list, and for lists of different lengths."""
        lengths = [
            length_of(self._references.stored(each), self._state.objects)
            if isinstance(each, Result)
            else len(each)
            for each in node.sequences
        ]
        if any(each is None for each in lengths):
            raise InvalidInput(
                f"{node.step.name}.map() was given something that is no list", hint="map over a list"
            )
        self._state.graph.expand(node, [each for each in lengths if each is not None])
        assert node.parts is not None
        gate = _Gate(node, {part.number for part in node.parts})
        self._gates.update(dict.fromkeys(gate.left, gate))
        return node.parts

    def over(self, part: Node, state: str) -> tuple[Node, str] | None:
        """A node is over: the map that is over with it, and how; None while others are left."""
        gate = self._gates.pop(part.number, None)
        if gate is None:
            return None
        gate.left.discard(part.number)
        gate.worst = state if state != "done" else gate.worst
        return None if gate.left else (gate.node, gate.worst)
