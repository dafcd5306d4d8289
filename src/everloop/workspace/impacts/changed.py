"""A change as people name it, and which parts of a step's code it reaches."""

from __future__ import annotations

from typing import Literal

import msgspec

from everloop.domain.names import shown
from everloop.domain.pipelines import Component
from everloop.domain.references import Kind, Reference
from everloop.errors import InvalidInput, InvalidReference

What = Literal["code", "package", "data", "feature", "reference"]


class Change(msgspec.Struct, frozen=True):
    """What somebody means to change.

    text: as it was named. what: ``code`` (`name` is a file of the project or ``file::name``), ``package``, ``data`` (`name` a
    dataset, `version` when one is meant, `part` a column), ``feature`` (`name` a view, `part` a feature), or ``reference``
    (`name` is a run, pipeline, model or endpoint as printed).
    """

    text: str
    what: What
    name: str
    version: int | None = None
    part: str = ""


def parse_change(text: str) -> Change:
    """Read a change. Which part of ``data:a.b`` is a column is seen when the datasets are known (see `room`).

    >>> parse_change("src/train.py::fit")
    Change(text='src/train.py::fit', what='code', name='src/train.py::fit', version=None, part='')
    >>> parse_change("feature:weather:temp")
    Change(text='feature:weather:temp', what='feature', name='weather', version=None, part='temp')
    >>> parse_change("data:flights@v3").version
    3
    """
    if "::" in text:
        file, _, name = text.partition("::")
        if not file or not name:
            raise InvalidInput(
                f"{shown(text)} names no function", hint="write FILE::FUNCTION, such as train.py::fit"
            )
        return Change(text, "code", text)
    head, colon, rest = text.partition(":")
    if head == "package" and rest:
        return Change(text, "package", rest)
    if not colon:
        if not text:
            raise InvalidInput("nothing is named", hint="name a file, a function, a column or a reference")
        return Change(text, "code", text)
    if head == Kind.FEATURE:
        view, _, part = rest.partition(":")
        found = Reference.parse(f"{head}:{view}")
        return Change(text, "feature", found.name, found.version, part)
    found = Reference.parse(text)
    if found.kind is Kind.DATA:
        return Change(text, "data", found.name, found.version)
    if found.kind in (Kind.PREDICTION, Kind.ALERT, Kind.ROLLOUT):
        raise InvalidReference(
            f"{shown(text)}: {found.kind.one} is a result that nothing is computed from",
            hint=f"see: everloop why {text}",
        )
    if found.kind is Kind.LABELS:
        raise InvalidReference(
            f"{shown(text)}: a labelling project reaches others by the dataset versions made of its answers",
            hint=f"name one of them; see: everloop why {text}",
        )
    return Change(text, "reference", str(found))


def touched(name: str, components: tuple[Component, ...]) -> Component | None:
    """The component of some code that a change of ``file`` or ``file::name`` touches; None when the code does not reach it.

    >>> code = (Component("function", "train.py::fit", "1", 12), Component("class", "nets.py::Net", "2", 3))
    >>> touched("train.py", code).line, touched("nets.py::Net.forward", code).line, touched("train.py::show", code)
    (12, 3, None)
    """
    file, inner, local = name.partition("::")
    whole: Component | None = None
    for each in components:
        its_file, _, its_local = each.name.partition("::")
        if its_file != file:
            continue
        if each.kind == "project file":
            whole = whole or each
        elif not inner or _same(local, its_local):
            return each
    return whole


def _same(asked: str, known: str) -> bool:
    """Whether a name is the one a component stands for, or lies in it: a method in its class, a default in its function."""
    return any(
        asked == each or asked.startswith(f"{each}.") or each.startswith((f"{asked} ", f"{asked}."))
        for each in known.split(", ")
    )
