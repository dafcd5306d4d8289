"""Finding the checks that a user declared for a dataset."""

from collections.abc import Iterable
from pathlib import Path

from everloop.domain.checks import Suite
from everloop.domain.checks.written import read_toml
from everloop.errors import InvalidDefinition, NotFound, nearest
from everloop.governance.definitions import declared, load

TOML = ".toml"


def find_suite(specs: Iterable[str], dataset: str, project: Path) -> Suite:
    """The one suite for a dataset in these definitions: files or dotted names; ``FILE:NAME`` takes the suite of that name. A TOML
    file is one suite.

    Raises NotFound when there is none, InvalidDefinition when there are several.
    """
    found: dict[str, Suite] = {}
    for spec in specs:
        if spec.endswith(TOML):
            suite = read_suite(spec, project)
            found[suite.name] = suite
            continue
        place, _, name = spec.partition(":")
        for suite in declared(load(place, project), Suite):
            if suite.name == name or (not name and suite.dataset == dataset):
                found[suite.name] = suite
        if name and name not in found:
            known = [suite.name for suite in declared(load(place, project), Suite)]
            raise InvalidDefinition(f"{place} has no checks called '{name}'", hint=nearest(name, known))
    if not found:
        raise NotFound(
            f"no checks are declared for dataset '{dataset}'",
            hint="declare them with ev.checks(…) in a definitions module, and name it here or in everloop.toml",
        )
    if len(found) > 1:
        raise InvalidDefinition(
            f"dataset '{dataset}' has several checks: {', '.join(sorted(found))}", hint="name one: FILE:NAME"
        )
    return next(iter(found.values()))


def read_suite(spec: str, project: Path) -> Suite:
    """The suite in a TOML file, looked for here and in the project."""
    path = existing(spec, project)
    try:
        return read_toml(path.read_text(encoding="utf-8"), spec)
    except UnicodeDecodeError:
        raise InvalidDefinition(f"{spec} is not UTF-8 text") from None


def existing(spec: str, project: Path) -> Path:
    """A file of checks, looked for here and in the project. Raises InvalidDefinition when there is none."""
    for path in (Path(spec), project / spec):
        if path.is_file():
            return path
    raise InvalidDefinition(f"there is no file {spec}", hint=f"it is looked for here and in {project}")
