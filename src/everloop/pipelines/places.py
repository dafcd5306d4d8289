"""Where a declaration stands: its module's names, its file, and files beside it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from everloop.errors import InvalidDefinition


class Place:
    """Where a step was declared: its module's names as they are there, and its file."""

    def __init__(self, depth: int) -> None:
        scope = sys._getframe(depth + 1).f_globals
        self.scope = scope
        self.module = str(scope.get("__name__", ""))
        self.file = str(scope.get("__file__") or "")

    def find(self, path: str) -> Path:
        """A file that is named beside the declaring module, or from the current folder. Raises InvalidDefinition."""
        folders = [*([Path(self.file).resolve().parent] if self.file else []), Path.cwd()]
        for folder in folders:
            if (folder / path).is_file():
                return folder / path
        raise InvalidDefinition(f"there is no file {path}", hint=f"it is looked for in {folders[0]}")

    def name_of(self, value: Any) -> str:
        """The name that a value has in the module, empty when it has none (yet)."""
        return next((name for name, each in self.scope.items() if each is value), "")

    def name_of_content(self, content: Any) -> str:
        """The name of the step that has this content."""
        found = (name for name, each in self.scope.items() if getattr(each, "function", None) is content)
        return next(found, "content")

    def label(self, root: Path, name: str) -> str:
        """What names a piece of content: ``train.py::clean``."""
        return f"{relative(Path(self.file), root) if self.file else self.module}::{name}"


def relative(path: Path, root: Path) -> str:
    """A file as the project names it."""
    resolved = path.resolve()
    return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else resolved.name
