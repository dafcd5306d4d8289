"""``${…}`` of dvc.yaml: values of params.yaml, `vars` and loops, put where their names stand."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from everloop.errors import InvalidDefinition, nearest

_PLACE = re.compile(r"(?<!\\)\$\{\s*([^}]+?)\s*\}")
_PART = re.compile(r"([^.\[\]]+)|\[([^\]]+)\]")


def filled(value: Any, known: Mapping[str, Any], where: str, *, command: bool = False) -> Any:
    """A value with its places filled, however deep in lists and mappings. A text that is one place becomes what it names.

    In a command a mapping becomes options, and a list words. Raises InvalidDefinition for a name that is not known.

    >>> filled({"lr": "${train.lr}", "out": "m-${train.lr}.pkl"}, {"train": {"lr": 0.1}}, "dvc.yaml")
    {'lr': 0.1, 'out': 'm-0.1.pkl'}
    >>> filled("fit ${train}", {"train": {"lr": 0.1, "fast": True, "slow": False}}, "dvc.yaml", command=True)
    'fit --lr 0.1 --fast'
    """
    if isinstance(value, Mapping):
        return {
            filled(key, known, where): filled(each, known, where, command=command)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [filled(each, known, where, command=command) for each in value]
    if not isinstance(value, str):
        return value
    whole = _PLACE.fullmatch(value)
    if whole and not command:
        return looked_up(whole[1], known, where)
    text = _PLACE.sub(lambda match: _said(looked_up(match[1], known, where), match[1], where, command), value)
    return text.replace("\\${", "${")


def looked_up(name: str, known: Mapping[str, Any], where: str) -> Any:
    """What a dotted name stands for: ``train.layers[0]``."""
    found: Any = known
    for part in _PART.finditer(name):
        key = part[1] if part[1] is not None else part[2]
        if isinstance(found, list) and key.isdigit() and int(key) < len(found):
            found = found[int(key)]
        elif isinstance(found, Mapping) and key in found:
            found = found[key]
        else:
            names = list(found) if isinstance(found, Mapping) else []
            raise InvalidDefinition(
                f"{where}: ${{{name}}} names nothing",
                hint=nearest(key, [str(each) for each in names]) or "values come from params.yaml and vars",
            )
    return found


def _said(value: Any, name: str, where: str, command: bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if command and isinstance(value, Mapping):
        return " ".join(word for key, each in value.items() for word in _option(key, each))
    if command and isinstance(value, list):
        return " ".join(shlex.quote(str(each)) for each in value)
    if isinstance(value, Mapping | list):
        raise InvalidDefinition(f"{where}: ${{{name}}} is a collection, and stands within a text")
    return str(value)


def _option(key: str, value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [word for inner, each in value.items() for word in _option(f"{key}.{inner}", each)]
    if isinstance(value, bool):
        return [f"--{key}"] if value else []
    values = value if isinstance(value, list) else [value]
    return [f"--{key}", *(shlex.quote(str(each)) for each in values)]
