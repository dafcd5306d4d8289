"""Checks from any place: our definitions and TOML files, schemas of pandera, suites of Great Expectations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from everloop.data.checks.suites import existing, find_suite
from everloop.domain.checks import Suite, Untranslated
from everloop.errors import InvalidDefinition
from everloop.exchange.checks import great_expectations, pandera
from everloop.governance.definitions import load

_JSON = ".json"
_TOML = ".toml"


def open_checks(
    spec: str,
    dataset: str,
    project: Path,
    *,
    columns: Sequence[str] | None = None,
    allow_untranslated: bool = False,
) -> Suite:
    """The checks for a dataset in a TOML file, a Python definition (``FILE.py`` or ``FILE.py:NAME``), a schema of pandera's
    (``MODULE:NAME``), or a suite of Great Expectations (``FILE.json``).

    columns: of the table they are for, where it is known. allow_untranslated: rules of other tools that cannot be translated are
    only warned of; otherwise they fail. Raises InvalidDefinition, or NotFound when nothing is declared for the dataset.
    """
    if spec.endswith(_JSON):
        suite = _read_json(spec, dataset, project)
    elif spec.endswith(_TOML) or ":" not in spec:
        return find_suite([spec], dataset, project)
    else:
        place, _, name = spec.rpartition(":")
        found = getattr(load(place, project), name, None)
        if found is None or not pandera.is_schema(found):
            return find_suite([spec], dataset, project)
        suite = pandera.suite_of(found, dataset, name, columns)
    return tolerant(suite) if allow_untranslated else suite


def checks_from(
    source: Any, dataset: str, *, columns: Sequence[str] | None = None, allow_untranslated: bool = False
) -> Suite:
    """The checks that a schema of pandera's, the path of a file of checks, or a suite of Great Expectations (as a dict) asks for.

    What cannot be translated is among them as a check that never passes; with `allow_untranslated` it is only a warning.
    """
    if isinstance(source, str | Path):
        return open_checks(
            str(source), dataset, Path.cwd(), columns=columns, allow_untranslated=allow_untranslated
        )
    if isinstance(source, dict):
        suite = great_expectations.suite_of(source, dataset)
    elif pandera.is_schema(source):
        suite = pandera.suite_of(source, dataset, columns=columns)
    else:
        raise InvalidDefinition(
            f"a {type(source).__name__} is no checks that are known",
            hint="give a schema of pandera's, or the path of a .toml, .json or .py file",
        )
    return tolerant(suite) if allow_untranslated else suite


def tolerant(suite: Suite) -> Suite:
    """The suite with a mere warning for each rule that could not be translated."""
    made = tuple(
        msgspec.structs.replace(check, severity="warn") if isinstance(check, Untranslated) else check
        for check in suite.checks
    )
    return Suite(suite.name, suite.dataset, made)


def _read_json(spec: str, dataset: str, project: Path) -> Suite:
    try:
        given = json.loads(existing(spec, project).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidDefinition(f"{spec} is not JSON: {error}") from None
    return great_expectations.suite_of(given, dataset)
