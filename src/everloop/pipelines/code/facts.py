"""What the text of one file says, without its syntax tree: all that a walk over code asks for, in a form that can be kept.

Facts follow from the file's content alone. Those of single statements are worked out when somebody asks for them, since most
statements of a project are reached by no step.
"""

from __future__ import annotations

import msgspec

from everloop.pipelines.code.scopes import Use

Chain = tuple[str, ...]
"""A dotted name as its parts."""


class Imported(msgspec.Struct, frozen=True, array_like=True):
    """A name bound by an import at the top level: the module, and the attribute path within it."""

    module: str
    level: int
    chain: Chain
    line: int


class Body(msgspec.Struct, frozen=True, array_like=True):
    """What a function or class does to names that are not its own: which it declares global, the objects it changes in place, and
    what it calls."""

    globals: tuple[str, ...]
    changes: tuple[Chain, ...]
    calls: tuple[Chain, ...]


class Acts(msgspec.Struct, frozen=True, array_like=True):
    """What a statement of a module does when it is run.

    decorators: what is called for more than its result. calls: what is called in making a value. bases, metas: of a class.
    made: what is called to make the value that a name stands for; None when it is no call.
    """

    decorators: tuple[Chain, ...] = ()
    calls: tuple[Chain, ...] = ()
    bases: tuple[Chain, ...] = ()
    metas: tuple[Chain, ...] = ()
    made: Chain | None = None


class Statement(msgspec.Struct, array_like=True):
    """A statement at the top level. `text` names it where it binds no name; None is what nobody asked for yet.

    texts: the constant texts in it. makers: methods that run when a class is made of this one, or with it.
    """

    names: tuple[str, ...]
    kind: str
    line: int
    is_effect: bool
    text: str = ""
    changes: str = ""
    digest: str | None = None
    uses: list[Use] | None = None
    texts: tuple[str, ...] | None = None
    acts: Acts | None = None
    body: Body | None = None
    makers: dict[str, Body] | None = None


class ModuleFacts(msgspec.Struct, array_like=True):
    """The statements of a file in their order, and what it imports. See `ModuleSource`."""

    statements: list[Statement]
    imports: dict[str, list[Imported]]
    stars: list[Imported]
    loaded: list[Imported]
