"""Reading `everloop.toml`: one file, profiles by name, no secrets."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from everloop.domain.settings import Settings
from everloop.errors import InvalidInput, nearest
from everloop.workspace.locations import CONFIGURATION

PROFILE = "EVERLOOP_PROFILE"


def read_settings(project: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of a project: those at the top of `everloop.toml`, overlaid by the profile that `EVERLOOP_PROFILE` or the
    file's ``profile`` names. A project without the file has the defaults.

        name = "flights"
        definitions = ["definitions"]

        [profiles.team]
        ledger = "postgresql://db.internal/everloop"
        objects = "s3://models/everloop"
    """
    path = project / CONFIGURATION
    if not path.is_file():
        return Settings(name=project.name)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}", hint="mend the file; it is TOML") from None
    profiles: dict[str, Any] = table.pop("profiles", {})
    chosen = environment.get(PROFILE) or table.pop("profile", "")
    table.pop("profile", None)
    if chosen:
        if chosen not in profiles:
            raise InvalidInput(f"{path} has no profile '{chosen}'", hint=nearest(chosen, profiles))
        table |= profiles[chosen]
    table.setdefault("name", project.name)
    try:
        return msgspec.convert(table, Settings)
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"{path}: {error}", hint="the settings are: " + ", ".join(Settings.__struct_fields__)
        ) from None
