"""A step that is declared by its content: ``features = sql_step("features.sql")``."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Protocol

from everloop.domain.names import checked_name
from everloop.pipelines.code.described import Description
from everloop.pipelines.places import Place
from everloop.pipelines.steps import Step, StepSettings, declare, step_options


class Content(Protocol):
    """What such a step does. Calling it with the arguments by name does it."""

    @property
    def __signature__(self) -> inspect.Signature: ...

    def described(self, root: Path) -> Description: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


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
