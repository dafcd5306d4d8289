"""Why a step has to be executed: what differs from the last time."""

from __future__ import annotations

from everloop.domain.pipelines import Component, KeysBefore, changes, reason
from everloop.pipelines.driver.lookup import is_young
from everloop.pipelines.driver.state import RunState
from everloop.pipelines.graph import Node

NAMES_AT_ONCE = 500


class Reasons:
    """Of one run, each in one sentence."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._before: dict[str, tuple[set[str], KeysBefore]] = {}

    def of(self, node: Node) -> str:
        """Why a step whose result is not known has to be executed."""
        state = self._state
        if state.force:
            return "forced"
        if not node.step.options.cache:
            return "declared with cache=False"
        parts = state.parts[node.number]
        before = self._components_before(node)
        after = (*parts.other_components, *parts.code_components)
        if before is not None and not changes(before, after):
            stored = state.room.results([node.key])
            if stored and not is_young(state, node, stored[0]):
                return f"its result of {stored[0].time:%Y-%m-%d %H:%M} is too old"
            moved = [read for each in stored[:1] for read in each.reads if not state.newest.still([read])]
            if moved:
                return "; ".join(map(state.newest.said, moved))
        return reason(before, after)

    def skipped(self, node: Node) -> str:
        """Why a step was not begun: one before it failed, or, in a dry run, would have to be executed first."""
        nodes = self._state.graph.nodes
        if self._state.dry_run:
            unmet = [nodes[each].name for each in sorted(node.needs) if nodes[each].state != "done"]
            return f"would run if the result of {' or '.join(unmet)} is another one" if unmet else "would run"
        failed = next((each.name for each in nodes if each.state == "failed"), "a step")
        return f"not begun: {failed} failed"

    def _components_before(self, node: Node) -> tuple[Component, ...] | None:
        label = self._state.keys.label(node.step)
        known = self._before.get(label)
        if known is None or (known[1].newest and node.name not in known[0]):
            # All that is known to be called of this step is asked for at once: the parts of a map are many.
            nodes = self._state.graph.nodes
            names = [each.name for each in nodes if each.step is node.step and not each.is_map]
            start = names.index(node.name)
            names = names[start : start + NAMES_AT_ONCE]
            known = self._before[label] = (set(names), self._state.room.keys_before(label, names))
        return known[1].components(node.name)
