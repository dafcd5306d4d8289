"""A file that says what a sweep searches through: the space, what is looked for, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from everloop.domain.durations import duration
from everloop.domain.sweeps import Objective, Repeat, Space, parse_space
from everloop.errors import InvalidInput, nearest

SETTINGS = ("sampler", "pruner", "seed", "repeat", "folds", "budget")


class SpaceFile(msgspec.Struct, frozen=True):
    """What a file says of a sweep; each as `Pipelines.sweep` takes it. The budget is a text there, such as ``30min``."""

    space: Space
    objectives: tuple[Objective, ...]
    sampler: str = ""
    pruner: str = "none"
    seed: int = 0
    repeat: Repeat | None = None
    budget: float | None = None


def read_space(path: Path) -> SpaceFile:
    """Read a TOML file as `everloop.domain.sweeps.parse_space` describes it. Raises InvalidInput that names the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    space, objectives, settings = parse_space(text, str(path))
    for name in settings:
        if name not in SETTINGS:
            raise InvalidInput(
                f"{path}: '{name}' is not known",
                hint=nearest(name, SETTINGS) or f"settings are: {', '.join(SETTINGS)}",
            )
    seed = settings.get("seed", 0)
    if not isinstance(seed, int):
        raise InvalidInput(f"{path}: seed is a whole number")
    return SpaceFile(
        space=space,
        objectives=objectives,
        sampler=str(settings.get("sampler", "")),
        pruner=str(settings.get("pruner", "none")),
        seed=seed,
        repeat=_repeat(settings.get("repeat"), settings.get("folds")),
        budget=duration(str(settings["budget"])).total_seconds() if "budget" in settings else None,
    )


def folds(parameter: str, number: int) -> Repeat:
    """A cross-validation: a parameter that is 0, 1, … for each of so many folds.

    >>> folds("fold", 3)
    Repeat(parameter='fold', values=(0, 1, 2), folds=True)
    """
    if number < 2:
        raise InvalidInput("a cross-validation has two folds at least", hint="write --folds fold=5")
    return Repeat(parameter, tuple(range(number)), folds=True)


def _repeat(given: Any, cross: Any) -> Repeat | None:
    if cross is not None:
        if given is not None:
            raise InvalidInput("a trial is repeated over seeds or over folds", hint="leave one of them out")
        if not isinstance(cross, dict) or len(cross) != 1 or type(next(iter(cross.values()))) is not int:
            raise InvalidInput("folds names one parameter and how many", hint="write: folds = {fold = 5}")
        ((name, number),) = cross.items()
        return folds(name, number)
    if given is None:
        return None
    if not isinstance(given, dict) or len(given) != 1 or not isinstance(next(iter(given.values())), list):
        raise InvalidInput(
            "repeat names one parameter and its values", hint="write: repeat = {seed = [0, 1, 2]}"
        )
    ((name, values),) = given.items()
    return Repeat(name, tuple(values))
