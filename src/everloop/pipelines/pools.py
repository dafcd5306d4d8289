"""The places that the steps of one run hold in the workspace's pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from everloop.pipelines.graph import Node
from everloop.pipelines.sharing import Place
from everloop.tracking.places import this_process

if TYPE_CHECKING:
    from everloop.pipelines.pipelines import Pipelines


class Places:
    """A step has a place from before it is claimed until it is over, its retries included."""

    def __init__(self, room: Pipelines, run: str) -> None:
        self._room, self._run, self._ids = room, run, room.context.ids
        self._places: dict[int, Place] = {}
        self._held: set[str] = set()

    def entered(self, nodes: Sequence[Node]) -> set[int]:
        """The numbers of those nodes that need no place or have one now."""
        wanted = [node for node in nodes if node.step.options.pool]
        for node in wanted:
            options = node.step.options
            self._places.setdefault(node.number, Place(self._ids(), options.pool, options.priority))
        outside = [self._places[node.number] for node in wanted]
        if any(each.ticket not in self._held for each in outside):
            self._held.update(self._room.enter_pools(self._run, this_process(), outside))
        return {
            node.number
            for node in nodes
            if not node.step.options.pool or self._places[node.number].ticket in self._held
        }

    def leave(self, node: Node) -> None:
        self._give_back([self._places.pop(node.number)] if node.number in self._places else [])

    def leave_all(self) -> None:
        self._give_back(list(self._places.values()))
        self._places.clear()

    def renew(self) -> None:
        """This run lives."""
        held = [each for each in self._places.values() if each.ticket in self._held]
        if held:
            self._room.enter_pools(self._run, this_process(), held)

    def _give_back(self, places: Sequence[Place]) -> None:
        if places:
            tickets = [each.ticket for each in places]
            self._held.difference_update(tickets)
            self._room.leave_pools(tickets)
