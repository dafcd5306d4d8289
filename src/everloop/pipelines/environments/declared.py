"""What a step asks for: packages, and perhaps another Python."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from everloop.errors import InvalidDefinition
from everloop.pipelines.places import Place

OLDEST = (3, 11)
"""The Python that Everloop itself needs."""
_OPTIONS = ("--index-url", "--extra-index-url", "--find-links")


class Environment(msgspec.Struct, frozen=True):
    """Packages that a step runs with.

    requirements: as for pip; options: where they are looked for. folder: what paths among them are relative to. python: the
    version, such as ``3.12``; that of the caller when empty.
    """

    requirements: tuple[str, ...]
    options: tuple[str, ...]
    folder: str
    python: str = ""


def environment(requirements: str | Sequence[str], /, *, python: str = "") -> Environment:
    """Declare an environment: a list of requirements, or the path of a ``requirements.txt`` beside the module.

    ``@ev.step(environment=ev.environment(["xgboost==3.2.0"]))`` runs the step in a worker process that has these packages, what
    they require, and what Everloop itself needs; nothing else that happens to be installed.

    >>> environment(["xgboost==3.2.0", "--index-url https://example.org/simple"]).requirements
    ('xgboost==3.2.0',)
    """
    place = Place(1)
    if isinstance(requirements, str):
        file = place.find(requirements)
        lines, folder = file.read_text(encoding="utf-8").splitlines(), file.resolve().parent
    else:
        lines, folder = list(requirements), Path(place.file).resolve().parent if place.file else Path.cwd()
    wanted = [text for each in lines if (text := re.sub(r"(^|\s)#.*", "", each).strip())]
    options = [each for each in wanted if each.startswith("-")]
    for each in options:
        if not each.startswith(_OPTIONS):
            raise InvalidDefinition(
                f"'{each}' cannot stand in the requirements of a step",
                hint=f"list packages; of options there are {', '.join(_OPTIONS)}",
            )
    if len(options) == len(wanted):
        raise InvalidDefinition("an environment without packages", hint='environment(["xgboost==3.2.0"])')
    version = re.fullmatch(r"(\d+)\.(\d+)(\.\d+)?", python)
    if python and (version is None or (int(version[1]), int(version[2])) < OLDEST):
        raise InvalidDefinition(
            f"an environment cannot have Python '{python}'",
            hint="name a version from 3.11 on, such as '3.12'",
        )
    packages = tuple(each for each in wanted if not each.startswith("-"))
    return Environment(packages, tuple(options), str(folder), python)
