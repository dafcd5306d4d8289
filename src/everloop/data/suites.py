"""Finding the checks that a user declared for a dataset."""

from collections.abc import Iterable
from pathlib import Path

from everloop.domain.checks import Suite
from everloop.errors import InvalidDefinition, NotFound, nearest
from everloop.governance.definitions import declared, load


def find_suite(specs: Iterable[str], dataset: str, project: Path) -> Suite:
    """The one suite for a dataset in these definitions: files or dotted names; ``FILE:NAME`` takes the suite of that name.

    Raises NotFound when there is none, InvalidDefinition when there are several.
    """
    found: dict[str, Suite] = {}
    for spec in specs:
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
