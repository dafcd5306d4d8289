"""The loaded models of one deployment, and which rows each of them answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from everloop.domain.deployments import Arm, Deployment, Mode, arm_of, pick, thresholds
from everloop.domain.expressions import evaluate
from everloop.domain.names import shown
from everloop.domain.signature import Signature
from everloop.errors import Corrupted, InvalidInput, nearest
from everloop.serving.snapshot import read_model_digest
from everloop.tracking.formats import LoadedModel, load_model
from everloop.tracking.formats.columns import Columns, conform
from everloop.tracking.formats.fresh import EXACT, fresh_parities, keep_proof, proven

KEPT = 4
"""Models kept in memory beyond those in use, so that going back to one takes no loading."""


class LoadedArm:
    """An arm with its model in memory."""

    def __init__(self, arm: Arm, model: LoadedModel) -> None:
        self.arm = arm
        self.model = model

    @property
    def signature(self) -> Signature:
        return self.model.signature

    def feed(self, columns: Mapping[str, Any]) -> Columns:
        """What the model is fed for the columns of a request: checked, transformed if the arm says so, checked again."""
        given = conform(columns, self.signature, drop_extra=True)
        if not self.arm.transform:
            return given
        with np.errstate(all="ignore"):
            made = {name: evaluate(text, given) for name, text in self.arm.transform.items()}
        rows = len(next(iter(given.values())))
        changed = {name: np.broadcast_to(np.asarray(value), (rows,)) for name, value in made.items()}
        return conform({**given, **changed}, self.signature)


class Lineup:
    """All arms of a deployment. Never changed: a new deployment is a new object behind one reference."""

    def __init__(self, deployment: Deployment, arms: Sequence[LoadedArm]) -> None:
        self.deployment = deployment
        self.arms = {each.arm.name: each for each in arms}
        self.shadows = [each for each in arms if each.arm.mode is Mode.SHADOW]
        declared = [placed.arm for placed in deployment.arms]
        self._declared = declared
        self._ends = thresholds(declared)
        self.first = self.arms[self._ends[-1][1]]
        self.known = {name for each in arms for name in each.signature.names}

    def checked_names(self, names: Sequence[str]) -> None:
        """Raise InvalidInput for a column that no arm takes."""
        unknown = [name for name in names if name not in self.known]
        if unknown:
            listed = ", ".join(self.first.signature.names)
            raise InvalidInput(
                f"unknown column{'s'[: len(unknown) - 1]} {', '.join(map(shown, unknown[:5]))}",
                hint=nearest(unknown[0], self.known) or f"the model takes: {listed}",
            )

    def route(self, keys: Sequence[str], forced: str | None) -> list[tuple[LoadedArm, list[int] | None]]:
        """Which arm answers which rows; None stands for all of them."""
        if forced is not None:
            arm = pick(forced, self._declared)
            if arm.name not in self.arms:
                raise InvalidInput(f"the arm {shown(forced)} is off", hint="leave the header out")
            return [(self.arms[arm.name], None)]
        if len(self._ends) == 1:
            return [(self.first, None)]
        rows: dict[str, list[int]] = {}
        for row, key in enumerate(keys):
            rows.setdefault(arm_of(self.deployment.salt, key, self._ends), []).append(row)
        if len(rows) == 1:
            return [(self.arms[next(iter(rows))], None)]
        return [(self.arms[name], chosen) for name, chosen in rows.items()]


class Models:
    """Loads models, each once, and keeps the last few."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[str, LoadedModel] = {}

    def lineup(self, deployment: Deployment) -> Lineup:
        """Check and load what a deployment needs. Slow for new models, at once for known ones; raises what is wrong with one."""
        wanted = [
            each for each in deployment.arms if each.arm.mode is not Mode.OFF or each.digest in self._loaded
        ]
        new = {each.digest: self._folder / each.folder for each in wanted if each.digest not in self._loaded}
        for digest, folder in new.items():
            if read_model_digest(folder) != digest:
                raise Corrupted(f"{folder} is not the model that was deployed", hint="deploy it again")
        prove(list(new.values()))
        arms = []
        for placed in wanted:
            model = self._loaded.pop(placed.digest, None) or _warm(new[placed.digest])
            self._loaded[placed.digest] = model  # to the end: the order is that of last use
            if placed.arm.mode is not Mode.OFF:
                arms.append(LoadedArm(placed.arm, model))
        in_use = {placed.digest for placed in deployment.arms}
        spare = [digest for digest in self._loaded if digest not in in_use]
        for digest in spare[: max(0, len(spare) - KEPT)]:
            del self._loaded[digest]
        return Lineup(deployment, arms)


def prove(folders: Sequence[Path]) -> None:
    """Load, warm and compare models in a process that may die of it, before this one touches them. Raises InvalidInput when
    answers differ."""
    from everloop.tracking.formats import estimators, read_model_file

    unproven = [folder for folder in folders if read_model_file(folder).probe_rows and not proven(folder)]
    if not unproven:
        return
    parities = fresh_parities(unproven, tolerance=EXACT, meanwhile=estimators.preload)
    for folder, parity in zip(unproven, parities, strict=True):
        if not parity.passed:
            raise InvalidInput(
                f"the model in {folder} answers otherwise than when it was saved: off by {parity.max_abs:g}, "
                f"{parity.flips} of {parity.rows} labels differ",
                hint="install the package versions its model.json names",
            )
        keep_proof(folder, parity)


def _warm(folder: Path) -> LoadedModel:
    model = load_model(folder)
    if model.file.probe_rows:
        model.parity()  # the first call pays for lazy imports and caches; no caller should
    return model
