"""The environment that an MLproject names: what its file asks pip for, as an `Environment` that is built for the step."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from everloop.errors import InvalidDefinition
from everloop.pipelines.environments.bridge import own_version
from everloop.pipelines.environments.declared import Environment, environment
from everloop.pipelines.foreign.documents import mapping_in

_CONDA = re.compile(r"(?P<name>[\w.-]+)\s*[=<>~!]*\s*(?P<version>[\d.]*)")
_PIP_ITSELF = {"pip", "setuptools", "wheel"}


def environment_of(told: Mapping[str, Any], project: Path) -> tuple[Environment | None, tuple[str, ...]]:
    """What the command of an MLproject is to run in, None for the packages of this process; and what is to be said about it.

    ``python_env.yaml`` and ``conda.yaml`` are read as far as they name a Python and packages for pip. Raises InvalidDefinition
    for packages that only conda has, for a file that is not there, and for a Python that Everloop does not run on.
    """
    if told.get("docker_env"):
        return None, (
            f"{project.name} names the environment {told['docker_env']!r}; the command is run in this one",
        )
    for kind, read in (("python_env", _of_python_env), ("conda_env", _of_conda_env)):
        if told.get(kind):
            path = project.parent / str(told[kind])
            if not path.is_file():
                raise InvalidDefinition(
                    f"{project.name} names {told[kind]}, which is not there",
                    hint=f"write it, or take {kind} out",
                )
            python, packages = read(path)
            return _declared(path, python, list(packages))
    return None, ()


def _declared(path: Path, python: str, packages: Sequence[str]) -> tuple[Environment | None, tuple[str, ...]]:
    version = ".".join(python.split(".")[:2])
    if not packages:
        other = f"Python {version} and " if version not in {"", own_version()} else ""
        return None, (f"{path.name} names {other}no packages; the command is run in this environment",)
    made = environment(packages, python="" if version == own_version() else version)
    notes = (f"{path.name} names Python {python}; any {version} serves",) if python.count(".") > 1 else ()
    return msgspec.structs.replace(made, folder=str(path.resolve().parent)), notes


def _of_python_env(path: Path) -> tuple[str, Iterator[str]]:
    told = mapping_in(path, 'python: "3.12" and dependencies: [scikit-learn==1.7.2]')
    return str(told.get("python") or ""), _lines(told.get("dependencies") or (), path.parent)


def _of_conda_env(path: Path) -> tuple[str, Iterator[str]]:
    told = mapping_in(path, "dependencies: [python=3.12, pip, {pip: [scikit-learn==1.7.2]}]")
    python, for_pip = "", list[str]()
    for each in told.get("dependencies") or ():
        if isinstance(each, Mapping) and set(each) == {"pip"}:
            for_pip += [str(line) for line in each["pip"] or ()]
            continue
        asked = _CONDA.match(str(each).rpartition("::")[2])
        name = asked["name"] if asked is not None else ""
        if asked is not None and name == "python":
            python = asked["version"]
        elif name not in _PIP_ITSELF:
            raise InvalidDefinition(
                f"{path.name} asks conda for '{each}', and Everloop installs with pip alone",
                hint="name it below pip: in that file, or write a python_env.yaml",
            )
    return python, _lines(for_pip, path.parent)


def _lines(given: Sequence[Any], folder: Path) -> Iterator[str]:
    """Requirements, with files of requirements read where they are named."""
    for each in given:
        text = str(each).strip()
        named = text.removeprefix("--requirement").removeprefix("-r").strip()
        if named == text:
            yield text
            continue
        file = folder / named
        if not file.is_file():
            raise InvalidDefinition(
                f"the environment names {named}, which is not there", hint=f"looked for {file}"
            )
        lines = file.read_text(encoding="utf-8").splitlines()
        yield from _lines([line for line in lines if not line.lstrip().startswith("#")], folder)
