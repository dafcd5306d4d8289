"""A step that is declared by its content: ``features = sql_step("features.sql")``."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any, Protocol

from everloop.domain.names import checked_name
from everloop.errors import InvalidDefinition
from everloop.pipelines.code.described import Description
from everloop.pipelines.steps import Step, StepSettings, declare, step_options


class Content(Protocol):
    """What such a step does. Calling it with the arguments by name does it."""

    @property
    def __signature__(self) -> inspect.Signature: ...

    def described(self, root: Path) -> Description: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


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


class ContentStep(Step[..., Any]):
    """A `Step` whose function is a `Content`. Its name is that of the variable it is assigned to, unless another is given;
    `otherwise` where it has neither."""

    def __init__(
        self, content: Content, place: Place, name: str, settings: StepSettings, *, otherwise: str
    ) -> None:
        self.function = self.__wrapped__ = content
        self._place, self._otherwise = place, otherwise
        self._name = checked_name(name, "step name") if name else ""
        self.options = step_options(name, settings)
        declare(self)

    @property
    def name(self) -> str:
        return self._name or self._place.name_of(self) or self._otherwise

    @property
    def signature(self) -> inspect.Signature:  # its file may change meanwhile
        return inspect.signature(self.function)

    @property
    def module(self) -> str:
        return self._place.module

    @property
    def qualname(self) -> str:
        return self._place.name_of(self) or f"<locals>.{self.name}-{id(self)}"

    @property
    def file(self) -> str:
        return self._place.file


def relative(path: Path, root: Path) -> str:
    """A file as the project names it."""
    resolved = path.resolve()
    return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else resolved.name
