"""What made two results differ: their runs held against each other, with the lineage of both and the code of their steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from everloop.domain.differences import RunDifference, cause_of, changes
from everloop.domain.pipelines import changes as changes_of_key
from everloop.domain.references import Reference

if TYPE_CHECKING:
    from everloop.workspace.workspace import Workspace


def explained(workspace: Workspace, one: str, other: str, found: RunDifference) -> RunDifference:
    """The difference of two runs with what caused it. `one`, `other`: the results that are compared, runs or what runs made: data
    that went into steps before them counts too, and the functions that changed are named where steps were recorded."""
    before, after = (_data(workspace, each) for each in (one, other))
    data = {each.key: each for each in (*changes(before, after), *found.data)}
    for name in data.keys() & before.keys() & after.keys():
        if before[name] == after[name]:  # a step's own run may have read a part of what the whole did
            del data[name]
    whole = msgspec.structs.replace(found, data=[data[name] for name in sorted(data)])
    return msgspec.structs.replace(whole, cause=cause_of(whole, _functions(workspace, found)))


def _data(workspace: Workspace, reference: str) -> dict[str, str]:
    versions: dict[str, set[int]] = {}
    for each in workspace.provenance.why(reference).data:
        parsed = Reference.parse(each)
        versions.setdefault(parsed.name, set()).add(parsed.version or 0)
    # The versions before the newest one are its own past, not something that was read beside it.
    return {name: f"v{max(numbers)}" for name, numbers in versions.items()}


def _functions(workspace: Workspace, found: RunDifference) -> list[str]:
    """Functions, classes and constants that the steps of both runs have otherwise, each as a few words."""
    one, other = (_keys(workspace, each) for each in (found.a, found.b))
    words: dict[str, None] = {}
    for step in [each for each in other if each in one]:
        if one[step] == other[step]:
            continue
        before, after = (
            [each for each in workspace.pipelines.components(key) if each.kind in _CODE]
            for key in (one[step], other[step])
        )
        words |= dict.fromkeys(changes_of_key(before, after))
    return list(words)


_CODE = frozenset({"function", "class", "constant", "value", "effect", "project file", "binary"})


def _keys(workspace: Workspace, reference: str) -> dict[str, str]:
    """Step -> its key: of a pipeline's run or of a step's run all steps of the whole."""
    run = reference.removeprefix("run:")
    found = workspace.pipelines.step_of(run)
    steps = workspace.pipelines.steps(found[0] if found is not None else run)
    return {each.name: each.key for each in steps if each.key}
