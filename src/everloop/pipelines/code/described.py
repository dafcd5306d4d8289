"""Code that is not Python, such as SQL, a command or a notebook: it says itself what it depends on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from everloop.domain.pipelines import Component
from everloop.pipelines.code.source import ModuleSource


@dataclass(frozen=True)
class Description:
    """What a piece of code depends on.

    components: its own content, as parts of a key. packages: Python modules whose versions count. modules: Python text that it
    runs from top to bottom, which is followed like any other. notes: sentences about what cannot be seen. apart: whether those
    modules run where nobody watches which files they open, so that the files count that they name.
    """

    components: tuple[Component, ...]
    packages: tuple[str, ...] = ()
    modules: tuple[ModuleSource, ...] = ()
    notes: tuple[str, ...] = ()
    apart: bool = False


@runtime_checkable
class Described(Protocol):
    """Code that describes itself. What runs later is the content of the newest description, so the two never part."""

    def described(self, root: Path) -> Description:
        """The description; names of files are relative to `root`, the project's folder."""
        ...
