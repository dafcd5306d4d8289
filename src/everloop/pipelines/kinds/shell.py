"""A command as a step: files in, files out, in a fresh folder.

    longest = ev.shell_step("sort -rn {rows} | head -{count} > {out}", outputs="longest.txt")
    words = ev.shell_step("bash scripts/words.sh {text} | wc -l")

Each ``{name}`` is an argument of the step, or one of its outputs. The command sees what is declared and nothing else: its inputs,
the project's files that it names, and the environment that it is given.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
import shutil
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Unpack

from everloop.domain.canonical import digest_of
from everloop.domain.pipelines import Component
from everloop.errors import Failed, InvalidDefinition
from everloop.pipelines.code.described import Description
from everloop.pipelines.kinds.declaring import ContentStep
from everloop.pipelines.kinds.programs import path_here, run_program
from everloop.pipelines.kinds.scripts import describe_files, named_files
from everloop.pipelines.places import Place
from everloop.pipelines.secrets import secrets_here
from everloop.pipelines.steps import StepSettings
from everloop.pipelines.values.files import File, file_of

_PLACEHOLDER = re.compile(r"(?<![{$])\{([A-Za-z_]\w*)\}(?!\})")
_DOUBLED = re.compile(r"\{\{(.*?)\}\}")
KEPT = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
)
"""Variables that a command has from the step's process: how many threads its libraries may use."""


def shell_step(
    command: str,
    /,
    *,
    outputs: str | Mapping[str, str] = {},
    inputs: Mapping[str, str] = {},
    env: Mapping[str, str] = {},
    name: str = "",
    **settings: Unpack[StepSettings],
) -> ContentStep:
    """Declare a step that is a command of the shell. It runs in a folder of its own, which is gone afterwards.

    outputs: the file that the command writes at ``{out}``, or several by their names in the command; the step returns a `File`,
    or a dict of them. Without outputs it returns the text that the command prints.
    inputs: the file names of arguments, whose endings say how a table is written (``{"rows": "rows.csv"}``, else Parquet) and
    that a text is a file's content. Other texts and numbers stand in the command as they are, quoted.
    env: its environment variables. Of the caller's, only PATH and those that limit threads are there; declared secrets are too.

    The command fails as a whole when one of its parts does. Files of the project that it names, such as scripts, are there under
    those names and count for what the step depends on.

    >>> count = shell_step("printf '%s\\\\n' {words} | sort | uniq -c | wc -l")
    >>> count(["b", "a; date", "b"]).strip()
    '2'
    """
    place = Place(1)
    content = _Command(command, place, _outputs(outputs), dict(inputs), dict(env))
    return ContentStep(content, place, name, settings, otherwise="command")


class _Command:
    """`Content` of a shell step."""

    def __init__(
        self, command: str, place: Place, outputs: dict[str, str], inputs: dict[str, str], env: dict[str, str]
    ) -> None:
        self._place = place
        self._text = textwrap.dedent(command).strip()
        self._outputs, self._inputs, self._env = outputs, inputs, env
        self._single = set(outputs) == {"out"}
        named = list(dict.fromkeys(_PLACEHOLDER.findall(self._text)))
        self._arguments = [each for each in named if each not in outputs]
        self._files: dict[str, Path] | None = None
        if not self._text:
            raise InvalidDefinition(
                "the command is empty", hint='shell_step("sort {rows} > {out}", outputs="sorted.txt")'
            )
        for each in _quoted(self._text):
            raise InvalidDefinition(
                f"{{{each}}} stands within quotes in the command: {self._text}",
                hint=f"leave the quotes out: it is quoted already; braces of the command itself are doubled: {{{{{each}}}}}",
            )
        for each in outputs:
            if each not in named:
                raise InvalidDefinition(
                    f"the command does not write {{{each}}}: {self._text}",
                    hint=f"write it like: … > {{{each}}}",
                )
        for each in inputs:
            if each not in self._arguments:
                raise InvalidDefinition(f"the command has no {{{each}}}: {self._text}")

    @property
    def __signature__(self) -> inspect.Signature:
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        return inspect.Signature([inspect.Parameter(each, kind) for each in self._arguments])

    def described(self, root: Path) -> Description:
        self._files = self._find(root)
        declared = {"command": self._text, "outputs": self._outputs, "inputs": self._inputs, "env": self._env}
        own = Component(
            "command", self._place.label(root, self._place.name_of_content(self)), digest_of(declared)
        )
        files = describe_files(self._files, root)
        return Description((own, *files.components), modules=files.modules, apart=True)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = self.__signature__.bind(*args, **kwargs).arguments
        with tempfile.TemporaryDirectory(prefix="everloop-") as name:
            folder = Path(name)
            for word, path in (self._files if self._files is not None else self._find(Path.cwd())).items():
                _link(path, folder / word)
            command = self._filled(given, folder)
            printed = self._run(command, folder)
            if not self._outputs:
                return printed
            found = {each: self._output(path, folder) for each, path in self._outputs.items()}
        return found["out"] if self._single else found

    def _find(self, root: Path) -> dict[str, Path]:
        beside = [Path(self._place.file).resolve().parent] if self._place.file else []
        return named_files(self._text, [root, *beside])

    def _filled(self, given: Mapping[str, Any], folder: Path) -> str:
        words = {name: self._argument(name, value, folder) for name, value in given.items()}
        for name, path in self._outputs.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            words[name] = shlex.quote(path)
        filled = _PLACEHOLDER.sub(lambda match: words[match[1]], self._text)
        return _DOUBLED.sub(r"{\1}", filled)

    def _argument(self, name: str, value: Any, folder: Path) -> str:
        """What stands in the command for an argument: the path of its file, or itself, quoted."""
        if isinstance(value, list | tuple) and name not in self._inputs:
            return " ".join(
                self._argument(f"{name}/{number}", each, folder) for number, each in enumerate(value)
            )
        if name not in self._inputs and (isinstance(value, str | int | float | Path) or value is None):
            return shlex.quote("" if value is None else str(value))
        if hasattr(value, "files") and hasattr(value, "open"):
            return " ".join(shlex.quote(each) for each in _dataset(name, value, folder))
        shown = name.partition("/")[0]
        file = file_of(
            value, self._inputs.get(name, shown if isinstance(value, bytes) else f"{shown}.parquet")
        )
        return shlex.quote(_put(folder, f"inputs/{name}/{self._inputs.get(name, file.name)}", file.content))

    def _run(self, command: str, folder: Path) -> str:
        """Run it; what it prints goes to the step's log, and is returned when the step has no outputs."""
        shell = shutil.which("bash")
        start = [shell, "-euo", "pipefail", "-c"] if shell else ["/bin/sh", "-eu", "-c"]
        (folder / ".tmp").mkdir()
        printed = run_program([*start, command], folder, self._environment(folder), returns=not self._outputs)
        try:
            return printed.decode()
        except UnicodeDecodeError:
            raise Failed(
                "what the command prints is not text", hint="write it to {out}, with outputs=…"
            ) from None

    def _environment(self, folder: Path) -> dict[str, str]:
        own = {"PATH": path_here(), "HOME": str(folder), "TMPDIR": str(folder / ".tmp"), "LC_ALL": "C.UTF-8"}
        threads = {each: os.environ[each] for each in KEPT if each in os.environ}
        return own | threads | self._env | dict(secrets_here())

    def _output(self, path: str, folder: Path) -> File:
        if not (folder / path).is_file():
            made = sorted(
                each.name
                for each in folder.iterdir()
                if not each.name.startswith(".") and each.name != "inputs"
            )
            raise Failed(
                f"the command ended well, but it has not written the file {path}",
                hint=f"it made: {', '.join(made)}" if made else "write to the {…} of the output",
            )
        return File(PurePosixPath(path).name, (folder / path).read_bytes())


def _outputs(given: str | Mapping[str, str]) -> dict[str, str]:
    found = {"out": given} if isinstance(given, str) else dict(given)
    for each in found.values():
        if not each or PurePosixPath(each).is_absolute() or ".." in PurePosixPath(each).parts:
            raise InvalidDefinition(
                f"'{each}' is no name of an output", hint="name a file within the step's folder"
            )
    return found


def _quoted(command: str) -> Iterator[str]:
    """Placeholders that stand within quotes, where quoting what is put there would not protect it."""
    quote, position = "", 0
    while position < len(command):
        letter = command[position]
        match = _PLACEHOLDER.match(command, position)
        if letter == "\\" and quote != "'":
            position += 1
        elif letter in "'\"" and quote in {"", letter}:
            quote = "" if quote else letter
        elif match is not None and quote:
            yield match[1]
        position += 1


def _link(path: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(path.resolve())


def _put(folder: Path, path: str, content: bytes) -> str:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(content)
    return path


def _dataset(name: str, dataset: Any, folder: Path) -> Iterator[str]:
    """The files of a dataset version."""
    for each in dataset.files():
        target = folder / "inputs" / name / each.path
        target.parent.mkdir(parents=True, exist_ok=True)
        with dataset.open(each.path) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out)
        yield f"inputs/{name}/{each.path}"
