"""The interpreter to rebuild with: this one where its packages are those that were captured, else one with exactly them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from everloop.errors import InvalidInput
from everloop.pipelines.environments.building import Environments, Lock
from everloop.pipelines.environments.declared import Environment as Declared
from everloop.tracking.capture import Environment

Choice = Literal["auto", "rebuild", "same"]
CHOICES: tuple[Choice, ...] = ("auto", "rebuild", "same")
OWN = "everloop"
"""Everloop itself is not installed there: a rebuild runs with the one that is asked to do it."""


class Surroundings(msgspec.Struct, frozen=True):
    """Where a rebuild runs. python: the interpreter, empty for this one. evidence: a sentence on what it has."""

    python: str
    evidence: str


def surroundings(folder: Path, then: Environment, now: Environment, choice: Choice) -> Surroundings:
    """Choose, and build where that is called for.

    ``same``: this interpreter, whatever it has. ``rebuild``: a clean environment with the captured packages. ``auto``: that where
    they differ from what is installed. Environments are kept below `folder` and used again, then without asking the network.
    Where one cannot be had this interpreter is used, and the evidence says so.
    """
    missing = differences(then, now)
    if choice == "same" or (choice == "auto" and not missing):
        return Surroundings("", _here(then, now, missing))
    if not then.packages:
        return Surroundings("", "environment: no packages were captured; this interpreter was used")
    requirements = tuple(sorted(each for each in then.packages if each.partition("==")[0].lower() != OWN))
    version = ".".join(then.python.split(".")[:2])
    wanted = Declared(requirements, (), str(folder), version)
    try:
        python = Captured(folder, version).python(wanted)
    except InvalidInput as error:
        return Surroundings(
            "", f"{_here(then, now, missing)}; the captured one could not be had: {error.message}"
        )
    count = f"{len(requirements)} package{'' if len(requirements) == 1 else 's'}"
    return Surroundings(
        python, f"environment: rebuilt with Python {version} and the {count} captured, Everloop as it is now"
    )


class Captured(Environments):
    """Environments whose every package is named by its version already, so nothing has to be resolved."""

    def __init__(self, folder: Path, version: str) -> None:
        super().__init__(folder)
        self._version = version

    def lock(self, wanted: Declared) -> Lock:
        packages = dict(_named(each) for each in wanted.requirements)
        return Lock(wanted.requirements, packages, self._version)


def differences(then: Environment, now: Environment) -> list[str]:
    """What is not as it was, each as ``numpy==2.4.5 -> numpy==2.4.6``."""
    was, here = ({each.partition("==")[0]: each for each in env.packages} for env in (then, now))
    names = sorted(name for name in was.keys() | here.keys() if was.get(name) != here.get(name))
    found = [f"{was.get(name, f'no {name}')} -> {here.get(name, f'no {name}')}" for name in names]
    return ([f"Python {then.python} -> {now.python}"] if then.python != now.python else []) + found


def _here(then: Environment, now: Environment, missing: list[str]) -> str:
    if not missing:
        return f"environment: Python {now.python} and all {len(now.packages)} packages as captured"
    more = f" and {len(missing) - 6} more" if len(missing) > 6 else ""
    return f"environment: NOT the captured one ({', '.join(missing[:6])}{more}); this interpreter was used all the same"


def _named(requirement: str) -> tuple[str, str]:
    name, _, version = requirement.partition("==")
    return name.lower(), version
