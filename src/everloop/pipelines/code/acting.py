"""What running a module's statements changes elsewhere: decorators register functions, base classes collect subclasses.

    @known("one")          # known() puts the function into KINDS: whoever asks KINDS depends on it
    def first(): ...

Importing a module runs these statements, so they belong to the name whose object they change, wherever that stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from everloop.pipelines.code.doing import CHANGES, CREATING, SUBCLASSING
from everloop.pipelines.code.facts import Acts, Body, Chain
from everloop.pipelines.code.source import ModuleSource, Unit

Target = tuple[str, str]
"""A file, and the name in it whose object is changed."""


class Actions:
    """Actions of modules' statements. `source` gives a module of the project by name, None for any other."""

    def __init__(self, source: Callable[[str], ModuleSource | None]) -> None:
        self._source = source
        self._of_function: dict[int, tuple[Body, set[Target]]] = {}

    def of(self, module: ModuleSource) -> Iterator[tuple[Target, Unit]]:
        """The statements of a module that change an object when they are run, each with the name of that object."""
        for unit in module.binding:
            acts = unit.acts
            if acts.decorators or acts.calls or acts.bases or acts.metas:
                for target in self._of_unit(module, unit, acts):
                    if target != (module.file, unit.label):
                        yield target, unit

    def _of_unit(self, module: ModuleSource, unit: Unit, acts: Acts) -> set[Target]:
        found: set[Target] = set()
        for chain in acts.decorators:
            found |= self._of_call(module, chain, certain=True)
        for chain in acts.calls:
            found |= self._of_call(module, chain, certain=False)
        if unit.kind == "class":
            found |= self._of_making(module, unit)
        return found

    def _of_call(self, module: ModuleSource, called: Chain, *, certain: bool) -> set[Target]:
        """`certain`: what is called is a decorator, whose result is the function: it is called for what else it does."""
        found: set[Target] = set()
        for source, name, unit, rest in self._named(module, called):
            if unit.kind in {"function", "class"} and not rest:
                found |= self._of_body(source, unit.body)
            elif certain or (rest and (rest[-1] in CHANGES or self._is_made_here(source, unit))):
                found.add((source.file, name))
        return found

    def _is_made_here(self, module: ModuleSource, unit: Unit) -> bool:
        """Whether a name stands for an instance of a class of the project, whose methods may do anything to it."""
        made = unit.acts.made
        if made is None:
            return unit.kind == "class"
        return any(each.kind == "class" for _, _, each, _ in self._named(module, made))

    def _of_making(self, module: ModuleSource, made: Unit, depth: int = 0) -> set[Target]:
        """What the bases of a class do when it is made: ``__init_subclass__`` and metaclasses."""
        found: set[Target] = set()
        acts = made.acts
        for base, is_meta in [(each, False) for each in acts.bases] + [(each, True) for each in acts.metas]:
            for source, name, unit, _ in self._named(module, base):
                if unit.kind != "class" or depth > 20:
                    continue
                for method, body in unit.makers.items():
                    if method in (CREATING if is_meta else SUBCLASSING):
                        found |= {(source.file, name)} | self._of_body(source, body)
                if not is_meta:
                    found |= self._of_making(source, unit, depth + 1)
        return found

    def _of_body(self, module: ModuleSource, body: Body) -> set[Target]:
        """The outer names whose objects a function (or a class's methods, or what they call in turn) changes."""
        known = self._of_function.get(id(body))
        if known is not None:
            return known[1]
        found: set[Target] = set()
        self._of_function[id(body)] = body, found
        found |= {(module.file, name) for name in body.globals}
        for chain in body.changes:
            found |= {(source.file, name) for source, name, _, _ in self._named(module, chain)}
        for chain in body.calls:
            for source, _, unit, rest in self._named(module, chain):
                if unit.kind == "function" and not rest:
                    found |= self._of_body(source, unit.body)
        return found

    def _named(
        self, module: ModuleSource, chain: Chain, depth: int = 0
    ) -> Iterator[tuple[ModuleSource, str, Unit, Chain]]:
        """The statements that bind what a dotted name begins with, through imports, and the rest of the name."""
        if not chain or depth > 20:
            return
        for unit in module.bindings.get(chain[0], ()):
            if not unit.changes:
                yield module, chain[0], unit, chain[1:]
        for each in module.imports.get(chain[0], ()):
            name = module.resolve(each.level, each.module)
            rest = (*each.chain, *chain[1:])
            source = self._source(name)
            while rest and (
                source is None or (rest[0] not in source.bindings and rest[0] not in source.imports)
            ):
                inner = self._source(f"{name}.{rest[0]}")
                if inner is None:
                    break
                source, name, rest = inner, f"{name}.{rest[0]}", rest[1:]
            if source is not None:
                yield from self._named(source, rest, depth + 1)
