"""The files of another tool as mappings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

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


def values_of(path: Path) -> dict[str, Any]:
    """The values of a file of parameters or metrics: YAML, JSON or TOML. Raises InvalidInput for one that holds none by name."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            found = msgspec.toml.decode(text)
        elif path.suffix == ".json":
            found = msgspec.json.decode(text)
        else:
            found = read_yaml(text)
    except OSError:
        raise InvalidInput(f"there is no file {path}, and dvc.yaml names it") from None
    except msgspec.DecodeError as error:
        raise InvalidInput(f"{path}: {error}") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidInput(f"{path} holds no names with values")
    return found
