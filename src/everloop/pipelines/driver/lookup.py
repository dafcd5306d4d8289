"""A step's key, made when its inputs are there, and the result that is known under it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from everloop.domain.pipelines import CachedResult
from everloop.pipelines.driver.references import References
from everloop.pipelines.driver.state import RunState
from everloop.pipelines.environments.building import Environments
from everloop.pipelines.graph import Node
from everloop.pipelines.values.encoding import tree_of

KEYS_AT_ONCE = 500


class Lookup:
    """Of one run."""

    def __init__(self, state: RunState, references: References, environments: Environments) -> None:
        self._state, self._references, self._environments = state, references, environments

    def make_key(self, node: Node) -> None:
        """Store a call's arguments and give the node its key."""
        assert node.arguments is not None
        state = self._state
        given = {name: state.newest.pinned(value) for name, value in node.arguments.arguments.items()}
        stored, types = self._references.encoded(given, f"an argument of {node.name}")
        if types:
            stored = msgspec.structs.replace(stored, types=tuple(sorted({*stored.types, *types})))
        node.stored_arguments = stored
        packages = self._environments.components(node.step.options.environment)
        node.key, parts = state.keys.key(node, stored, tree_of(stored, state.objects), packages)
        state.parts[node.number] = parts

    def known(self, nodes: Sequence[Node]) -> dict[str, CachedResult]:
        """The results that need not be computed, by key."""
        asked = [node for node in nodes if node.step.options.cache and self._is_worth_asking(node)]
        found: dict[str, CachedResult] = {}
        keys = list(dict.fromkeys(node.key for node in asked))
        for start in range(0, len(keys), KEYS_AT_ONCE):
            for each in self._state.room.results(keys[start : start + KEYS_AT_ONCE]):
                if each.key not in found and self._state.newest.still(each.reads):
                    found[each.key] = each
        return {
            node.key: found[node.key]
            for node in asked
            if node.key in found and is_young(self._state, node, found[node.key])
        }

    def _is_worth_asking(self, node: Node) -> bool:
        """Whether to look a step up before it is claimed. Where what it builds on was computed just now it is hardly known, and
        the claim will tell."""
        if self._state.force:
            return False
        records = [self._state.graph.nodes[each].record for each in node.needs]
        return self._state.dry_run or not any(
            each is not None and each.status == "executed" for each in records
        )


def is_young(state: RunState, node: Node, result: CachedResult) -> bool:
    """Whether a result may still be used, by its age."""
    keep = node.step.options.keep
    return keep is None or state.context.clock() - result.time <= timedelta(seconds=keep)
