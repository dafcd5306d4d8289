"""The key of a step: its code, arguments, seed, and what its code names outside: files of the project, environment variables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from everloop.domain.canonical import canonical, sha256
from everloop.domain.pipelines import SHORT, Component, KeyParts, StoredValue, key_of
from everloop.pipelines.code.closure import Closures
from everloop.pipelines.code.outside import files, variables
from everloop.pipelines.graph import Node, references
from everloop.pipelines.steps import Pipeline, Step
from everloop.pipelines.values.plain import named, tree_digest


class Keys:
    """Keys of one run. Code is looked at once for each step."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._closures = Closures(root)
        self._labels: dict[Step[..., Any], str] = {}
        self._code: dict[tuple[Any, tuple[str, ...]], KeyParts] = {}
        self._outside: dict[str, tuple[tuple[Path, ...], tuple[str, ...]]] = {}

    def code_of(self, step: Step[..., Any] | Pipeline[..., Any], types: tuple[str, ...] = ()) -> KeyParts:
        """The code a step or pipeline reaches, and that of the project's types inside its arguments."""
        known = self._code.get((step, types))
        if known is None:
            closures = [self._closures.of(each) for each in (step.function, *map(named, types))]
            components = tuple(sorted({each for closure in closures for each in closure.components}))
            notes = tuple(dict.fromkeys(note for closure in closures for note in closure.notes))
            known = self._code[step, types] = KeyParts(key_of(components), components, (), notes)
            self._outside[known.code] = (
                tuple(dict.fromkeys(path for closure in closures for path in closure.files)),
                tuple(dict.fromkeys(name for closure in closures for name in closure.variables)),
            )
        return known

    def uses_everloop(self, step: Step[..., Any]) -> bool:
        """Whether a step's code reaches Everloop: then it gets a tracking run of its own."""
        parts = self.code_of(step)
        return bool(parts.notes) or any(
            each.identity == ("package", "everloop") for each in parts.code_components
        )

    def key(
        self, node: Node, arguments: StoredValue, tree: dict[str, Any], packages: Sequence[Component] = ()
    ) -> tuple[str, KeyParts]:
        """The key of a call and what it was made from; `tree` is the plain part of `arguments`, by name. `packages`: those of the
        environment that it runs in, when it has one of its own: they stand for what is installed here under the same names."""
        assert node.arguments is not None
        code = self.code_of(node.step, arguments.types)
        reached = code.code
        if packages:
            own = within(code.code_components, packages)
            code = msgspec.structs.replace(code, code=key_of(own), code_components=own)
        other = [
            Component(_kind(node.arguments.arguments[name]), name, _content(part))
            for name, part in tree.items()
        ]
        other += packages
        if node.step.options.seed is not None:
            other.append(Component("seed", "seed", str(node.step.options.seed)))
        paths, names = self._outside[reached]
        if paths or names:
            public = (name for name in names if name not in node.step.options.secrets)
            other += [*files(paths, self._root), *variables(public)]
        parts = msgspec.structs.replace(code, other_components=tuple(sorted(other)))
        return key_of([Component("code", "code", code.code), *other]), parts

    def label(self, step: Step[..., Any]) -> str:
        """What names a step in its project: ``train.py::fit``."""
        if step not in self._labels:
            self._labels[step] = self._label(step)
        return self._labels[step]

    def _label(self, step: Step[..., Any]) -> str:
        if not step.file:
            return f"{step.module}::{step.qualname}"
        path = Path(step.file)
        try:
            place = path.resolve().relative_to(self._root).as_posix()
        except ValueError:
            place = path.name
        return f"{place}::{getattr(step, 'label', step.qualname)}"


def within(code: Iterable[Component], packages: Iterable[Component] = ()) -> tuple[Component, ...]:
    """Components of code without what is, or is not, installed here, for a step that runs in an environment of its own. Packages
    that it does not bring along count as they are here; without `packages` none counts."""
    brought = {each.name for each in packages}
    kept = {"package"} if brought else set()
    left_out = {"package", "missing module", "python"} - kept
    return tuple(
        each
        for each in code
        if each.kind not in left_out and not (each.kind == "package" and each.name in brought)
    )


def _kind(argument: Any) -> str:
    return "parameter" if next(references(argument), None) is None else "input"


def _content(tree: Any) -> str:
    """Short plain values as they are, so that a reason can show them; digests of all others."""
    if tree is None or isinstance(tree, str | int | float | bool):
        text = canonical(tree).decode("utf-8", "replace")
        if len(text) <= SHORT:
            return text
    return tree_digest(tree) if isinstance(tree, dict | list) else sha256(canonical(tree))
