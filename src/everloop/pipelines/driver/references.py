"""What the references stand for that calls of steps return: the stored value of a step, of a map, or of a part of either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from everloop.domain.pipelines import StoredValue
from everloop.pipelines.datasets import lifted_datasets, lowered_dataset, references_in
from everloop.pipelines.driver.state import RunState
from everloop.pipelines.graph import Node
from everloop.pipelines.steps import Mapped, Result
from everloop.pipelines.values.encoding import decode, encode, joined, part_of, tree_of


class References:
    """Those of one run, whose nodes are done."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._lifted = lifted_datasets(state.context)

    def stored(self, reference: Result | Mapped) -> StoredValue:
        """The value behind a reference, as stored."""
        objects = self._state.objects
        node = self._state.graph.nodes[reference.node]
        path: tuple[Any, ...] = ()
        if isinstance(reference, Result):
            path = reference.path
            if node.parts is not None and path and isinstance(path[0], int):  # one element of a map
                node, path = node.parts[path[0]], path[1:]
        if node.value is None and node.parts is not None:
            node.value = joined([each.value for each in node.parts if each.value is not None], objects)
        assert node.value is not None
        stored = node.value
        for key in path:
            stored = part_of(stored, key, objects)
        return stored

    def encoded(self, value: Any, what: str) -> tuple[StoredValue, set[str]]:
        """A value with references in it, as stored, and the types inside what they stand for."""
        types: set[str] = set()
        return encode(value, self._state.objects, what, self._tree_with(types)), types

    def decoded(self, stored: StoredValue) -> Any:
        """A stored value as Python has it."""
        return decode(stored, self._state.objects, self._lifted)

    def given(self, node: Node) -> tuple[str, ...]:
        """The dataset versions among a step's arguments."""
        if not node.stored_arguments:
            return ()
        return tuple(references_in(tree_of(node.stored_arguments, self._state.objects)))

    def _tree_with(self, types: set[str]) -> Callable[[Any], Any]:
        def tree(value: Any) -> Any:
            if isinstance(value, Result | Mapped):
                stored = self.stored(value)
                types.update(stored.types)
                return tree_of(stored, self._state.objects)
            return lowered_dataset(value)

        return tree
