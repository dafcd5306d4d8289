"""A command that is run where its project stands, as other tools run theirs: it finds its files there and leaves them there.

What it makes is kept by content, so that it can be put back without running the command. What it depends on is what was declared
(files, parameters, the command itself) and, beyond that, the Python scripts that it names, followed through their imports.
"""

from __future__ import annotations

import ast
import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

from everloop.domain.canonical import canonical, digest_of, sha256
from everloop.domain.names import checked_name
from everloop.domain.pipelines import SHORT, Component
from everloop.errors import Failed, InvalidInput
from everloop.pipelines.code.described import Description
from everloop.pipelines.code.normal import digest_of_code
from everloop.pipelines.code.outside import digest_of_file
from everloop.pipelines.kinds.programs import path_here, run_program
from everloop.pipelines.kinds.scripts import describe_files, named_files
from everloop.pipelines.kinds.surroundings import workspace_here
from everloop.pipelines.steps import Pipeline, Step, StepOptions
from everloop.pipelines.values.files import File

Outputs = dict[str, dict[str, File]]
"""What was written at each declared path: files by their names within it, a single file under the empty name."""


@dataclass(frozen=True)
class Command:
    """A command of a project.

    text: for the shell. folder: where it is run, from the project's. needs: files and folders it reads; `before` are those that
    other steps make. makes: files and folders it writes; those in `keeps` are not removed before it runs. params: values it
    reads from files, by name.
    """

    text: str
    folder: str = ""
    needs: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    params: tuple[tuple[str, Any], ...] = ()
    notes: tuple[str, ...] = ()


def run_command(
    command: str, folder: str, files: dict[str, dict[str, File]], makes: list[str], keeps: list[str]
) -> dict[str, Any]:
    """Run a command in the project's folder. `files` are outputs of steps before: they are put in their places first.

    Returns the outputs and their digests. Raises Failed when the command fails or does not make what was declared.
    """
    root = workspace_here().project
    for path, content in files.items():
        put(root / path, content)
    for path in makes:
        if path not in keeps:
            _remove(root / path)
        (root / path).parent.mkdir(parents=True, exist_ok=True)
    _run(command, root / folder)
    made: Outputs = {path: _taken(root / path, path) for path in makes}
    return {"digests": {path: _digests(content) for path, content in made.items()}, "files": made}


def put(place: Path, content: Mapping[str, File]) -> None:
    """Make a place hold these files and nothing else. What holds them already is not written."""
    if set(content) == {""}:
        if digest_of_file(place) != sha256(content[""].content):
            _remove(place)
            _write(place, content[""].content)
        return
    for name in _names(place):
        if name not in content:
            (place / name).unlink()
    if place.is_file():
        place.unlink()
    place.mkdir(parents=True, exist_ok=True)
    for name, file in content.items():
        if digest_of_file(place / name) != sha256(file.content):
            _write(place / name, file.content)


def holds(place: Path, digests: Mapping[str, str]) -> bool:
    """Whether a place holds files of these digests and nothing else."""
    if set(digests) == {""}:
        return digest_of_file(place) == digests[""]
    return place.is_dir() and {name: digest_of_file(place / name) for name in _names(place)} == dict(digests)


class _Anonymous(Step[..., Any]):
    """What a worker process finds: it does what its arguments say."""

    def __init__(self) -> None:
        self.function = self.__wrapped__ = run_command
        self._name = "command"
        self.options = StepOptions()


command_step = _Anonymous()


class CommandStep(Step[..., Any]):
    """A step that runs a `Command`, declared in a file such as dvc.yaml. Call it with the outputs of steps before, by path."""

    def __init__(self, command: Command, name: str, file: Path, options: StepOptions) -> None:
        self.command = command
        self.function = self.__wrapped__ = _Described(command)
        self._name = checked_name(name, "step name")
        self._file = str(file)
        self.options = options

    def after(self, files: Mapping[str, Any]) -> Any:
        """The call, once these outputs of other steps are there."""
        each = self.command
        return self(each.text, each.folder, dict(files), list(each.makes), list(each.keeps))

    @property
    def found_as(self) -> Step[..., Any]:
        return command_step

    @property
    def label(self) -> str:
        """What names it in its file."""
        return self.name

    @property
    def module(self) -> str:
        return __name__

    @property
    def qualname(self) -> str:
        return run_command.__name__

    @property
    def file(self) -> str:
        return self._file


class _Described:
    """`run_command`, with what one command depends on."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self.__signature__ = inspect.signature(run_command)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return run_command(*args, **kwargs)

    def described(self, root: Path) -> Description:
        command = self._command
        scripts = named_files(command.text, [root / command.folder])
        code = describe_files({word: path for word, path in scripts.items() if path.suffix == ".py"}, root)
        followed = {path.resolve() for path in scripts.values() if path.suffix == ".py"}
        files = [
            Component("file", path, _content(root, path, command.before))
            for path in dict.fromkeys([*command.needs, *_shell_scripts(scripts, root)])
            if (root / path).resolve() not in followed
            and not any(within(path, each) for each in (*command.before, *command.makes))
        ]
        params = [Component("parameter", name, _shown(value)) for name, value in command.params]
        return Description((*files, *params, *code.components), modules=code.modules, notes=command.notes)


class FilePipeline(Pipeline[..., Any]):
    """A pipeline that a file of another tool declares. `source` finds it again: ``dvc.yaml`` or ``dvc.yaml:train``."""

    def __init__(self, pipeline: Any, name: str, source: str) -> None:
        super().__init__(pipeline, name)
        self._source = source

    @property
    def source(self) -> str:
        return self._source


def restore(root: Path, result: Any, makes: Sequence[str]) -> None:
    """Put what a step made into the project, where it is not there."""
    for path in makes:
        if not holds(root / path, result["digests"][path].value()):
            put(root / path, result["files"][path].value())


def _run(command: str, folder: Path) -> None:
    if not folder.is_dir():
        raise Failed(f"there is no folder {folder} to run the command in")
    run_program(["/bin/sh", "-c", command], folder, os.environ | {"PATH": path_here()})


def _taken(place: Path, path: str) -> dict[str, File]:
    if place.is_file():
        return {"": File(place.name, place.read_bytes())}
    if place.is_dir():
        return {name: File(Path(name).name, (place / name).read_bytes()) for name in _names(place)}
    raise Failed(
        f"the command ended well, but it has not made {path}",
        hint="name what it makes as it is, from the file's folder",
    )


def _digests(content: Mapping[str, File]) -> dict[str, str]:
    return {name: sha256(file.content) for name, file in content.items()}


def _names(folder: Path) -> list[str]:
    """The files below a folder; none when it is no folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _write(place: Path, content: bytes) -> None:
    """Under another name first: a file is never there half."""
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".{place.name}.everloop")
    beside.write_bytes(content)
    beside.replace(place)


def within(path: str, folder: str) -> bool:
    """Whether a path is that of a folder (or file), or inside it."""
    return path == folder or path.startswith(f"{folder}/")


def _content(root: Path, path: str, without: Sequence[str] = ()) -> str:
    """The digest of a file or folder, `without` what other steps make in it; Python text by what it does."""
    place = root / path
    if place.is_dir():
        names = [f"{path}/{name}" for name in _names(place) if "__pycache__" not in name]
        names = [name for name in names if not any(within(name, each) for each in without)]
        return digest_of([(name, _content(root, name)) for name in names])
    digest = _digest_of_python(place) if place.suffix == ".py" and place.is_file() else digest_of_file(place)
    if digest is None:
        tracked = place.with_name(f"{place.name}.dvc").is_file()
        raise InvalidInput(
            f"{path} is not there, and a command needs it",
            hint="get it with: dvc pull, or everloop data checkout"
            if tracked
            else "make it, or name what makes it",
        )
    return digest


def _digest_of_python(path: Path) -> str:
    text = path.read_bytes()
    try:
        return digest_of_code([ast.parse(text)])
    except (SyntaxError, ValueError):
        return sha256(text)


def _shell_scripts(scripts: Mapping[str, Path], root: Path) -> Iterator[str]:
    for path in scripts.values():
        if path.suffix != ".py" and path.resolve().is_relative_to(root):
            yield path.resolve().relative_to(root).as_posix()


def _shown(value: Any) -> str:
    text = canonical(value).decode("utf-8", "replace")
    return text if len(text) <= SHORT else digest_of(value)
