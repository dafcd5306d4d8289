"""An entry point of an MLproject as a pipeline of one step: its command with its parameters put in.

An MLproject says nothing of what its command makes, so the command is executed in every run. The environment that it names is
built from what its file asks pip for (`environments`).
"""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from everloop.errors import InvalidDefinition, InvalidInput, nearest
from everloop.pipelines.foreign.commands import Command, CommandStep, FilePipeline
from everloop.pipelines.foreign.documents import mapping_in
from everloop.pipelines.foreign.environments import environment_of
from everloop.pipelines.steps import StepOptions

_PLACE = re.compile(r"\{([A-Za-z_][\w-]*)\}")


class ProjectPipeline(FilePipeline):
    """An entry point. Parameters that it does not declare follow the command as ``--name value``, as MLflow has it."""

    def __init__(self, path: Path, entry: str, project: Path) -> None:
        self._path, self._root = path.resolve(), project.resolve()
        told = mapping_in(path, "entry_points: {main: {command: python train.py}}")
        self._entry = entry or "main"
        self._said = _entry_point(told, self._entry, path)
        self._environment, self._notes = environment_of(told, self._path)
        name = str(told.get("name") or self._path.parent.name)
        place = self._path.relative_to(self._root).as_posix()
        super().__init__(self._call, name, f"{place}:{entry}" if entry else place)

    @property
    def signature(self) -> inspect.Signature:
        kind = inspect.Parameter.KEYWORD_ONLY
        declared = {
            name: each.get("default", inspect.Parameter.empty) for name, each in self._parameters().items()
        }
        return inspect.Signature(
            [
                inspect.Parameter(name, kind, default=default)
                for name, default in declared.items()
                if name.isidentifier()
            ]
        )

    @property
    def takes_others(self) -> bool:
        return True

    def arguments(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters, checked by their types. Raises InvalidInput for one that is missing or of another type."""
        declared = self._parameters()
        given = {name: each["default"] for name, each in declared.items() if each.get("default") is not None}
        given |= params
        missing = next((name for name in declared if name not in given), None)
        if missing is not None:
            raise InvalidInput(
                f"entry point {self._entry} needs the parameter '{missing}'",
                hint=f"give it with --param {missing}=VALUE",
            )
        return {
            name: _typed(name, value, declared.get(name, {}).get("type")) for name, value in given.items()
        }

    def _parameters(self) -> dict[str, Mapping[str, Any]]:
        said = self._said.get("parameters") or {}
        return {
            str(name): each if isinstance(each, Mapping) else {"type": each} for name, each in said.items()
        }

    def _call(self, **params: Any) -> Any:
        folder = self._path.parent
        declared = self._parameters()
        words = {
            name: shlex.quote(_placed(value, declared.get(name, {}).get("type"), folder))
            for name, value in params.items()
        }
        text = str(self._said["command"])
        for name in _PLACE.findall(text):
            if name not in words:
                raise InvalidDefinition(
                    f"{self._path.name}: the command names {{{name}}}, which is no parameter"
                )
        rest = [f"--{name} {word}" for name, word in words.items() if name not in declared]
        filled = " ".join([_PLACE.sub(lambda match: words[match[1]], text), *rest])
        command = Command(filled, folder.relative_to(self._root).as_posix(), notes=self._notes)
        options = StepOptions(cache=False, environment=self._environment)
        return CommandStep(command, self._entry, self._path, options).after({})["digests"]


def _entry_point(told: Mapping[str, Any], entry: str, path: Path) -> Mapping[str, Any]:
    known = told.get("entry_points") or {}
    if entry in known:
        said = known[entry]
        if not isinstance(said, Mapping) or not said.get("command"):
            raise InvalidDefinition(f"{path.name}: the entry point {entry} has no command")
        return said
    script = path.parent / entry
    if script.suffix in {".py", ".sh"} and script.is_file():  # MLflow runs files as entry points, too
        return {"command": f"{'python' if script.suffix == '.py' else 'bash'} {shlex.quote(entry)}"}
    raise InvalidInput(
        f"{path.name} has no entry point '{entry}'",
        hint=nearest(entry, known) or f"it has {', '.join(map(str, known)) or 'none'}",
    )


def _typed(name: str, value: Any, kind: str | None) -> Any:
    """A number as a number; of any other type, also one that MLflow does not know (``int``), the text that the command gets. None
    is no value but a place for one, as a sweep asks with."""
    if value is None:
        return None
    if kind == "float":
        try:
            return float(value) if not isinstance(value, int) or isinstance(value, bool) else value
        except (TypeError, ValueError):
            raise InvalidInput(f"the parameter {name} is a number, not {value!r}") from None
    return str(value)


def _placed(value: Any, kind: str | None, folder: Path) -> str:
    """A parameter as text; a path is that of a file which must be there."""
    if kind != "path" or "://" in str(value):
        return str(value)
    place = (folder / str(value)).resolve()
    if not place.exists():
        raise InvalidInput(
            f"there is no file {place}", hint="a parameter of the type path names a file that is there"
        )
    return str(place)
