"""Reading `everloop.toml`: one file, profiles by name, no secrets."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from everloop.domain.names import shown
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
    if not isinstance(profiles, dict) or not all(isinstance(each, dict) for each in profiles.values()):
        raise InvalidInput(f"{path}: profiles are tables of settings", hint="write [profiles.NAME]")
    if chosen:
        if chosen not in profiles:
            raise InvalidInput(
                f"{path} has no profile {shown(str(chosen))}", hint=_near(str(chosen), profiles, "profile")
            )
        table |= profiles[chosen]
    known = Settings.__struct_fields__
    for key in table:
        if key not in known:
            raise InvalidInput(f"{path}: there is no setting {shown(key)}", hint=_near(key, known, "setting"))
    table.setdefault("name", project.name)
    try:
        return msgspec.convert(table, Settings)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{path}: {error}", hint="the settings are: " + ", ".join(known)) from None


def _near(name: str, known: Iterable[str], what: str) -> str:
    """The nearest names; where none is near, all of them, for they are few."""
    listed = ", ".join(known)
    return nearest(name, known) or (f"the {what}s are: {listed}" if listed else f"it has no {what}s yet")
