"""The file of another tool as a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from everloop.domain.plain_yaml import read_yaml
from everloop.errors import InvalidDefinition, InvalidInput


def mapping_in(path: Path, example: str) -> Mapping[str, Any]:
    """What a YAML file says. Raises InvalidDefinition, with `example` as the hint, for one that holds anything but names."""
    try:
        told = read_yaml(path.read_text(encoding="utf-8"))
    except InvalidInput as error:
        raise InvalidDefinition(f"{path.name}: {error.message}", hint="mend the file and try again") from None
    if not isinstance(told, Mapping):
        raise InvalidDefinition(f"{path.name} says nothing", hint=example)
    return told
