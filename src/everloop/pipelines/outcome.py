"""What comes out of a run of a pipeline, and how failures of the user's code are told."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from everloop.domain.pipelines import KeyParts, StepRecord, StoredValue
from everloop.engine.contract import failure_of
from everloop.errors import Failed, InvalidInput
from everloop.pipelines.steps import Pipeline


@dataclass(frozen=True)
class PipelineRun:
    """What came of a run. `status`: finished, failed, interrupted, or planned for a dry run.

    steps: every step with status, seconds and reason. error: what failed, with the step's last lines of output. parts: what keys
    were made from, by key. root: the folder that files in them are relative to.
    """

    run_id: str
    pipeline: str
    status: str
    steps: tuple[StepRecord, ...]
    seconds: float
    error: str = ""
    notes: tuple[str, ...] = ()
    resumed_from: str | None = None
    output: StoredValue | None = None
    parts: Mapping[str, KeyParts] = field(default_factory=dict)
    root: Path = Path()
    _read: Callable[[StoredValue], Any] | None = None

    @property
    def reference(self) -> str:
        return f"run:{self.run_id}"

    @property
    def executed(self) -> int:
        """How many steps were executed."""
        return sum(each.status == "executed" for each in self.steps)

    def step(self, name: str) -> StepRecord:
        """A step by its name in the run (``fit``, ``fit[3]``, ``fit#2``)."""
        for each in self.steps:
            if each.name == name:
                return each
        raise InvalidInput(
            f"the run has no step '{name}'", hint=f"it has {', '.join(each.name for each in self.steps[:20])}"
        )

    def value(self, step: str = "") -> Any:
        """What the pipeline returned, or one of its steps. Raises Failed when the run did."""
        stored = self.step(step).value if step else self.output
        if stored is None or self._read is None:
            raise Failed(self.error or f"the run is {self.status}: there is no result")
        return self._read(stored)


def own_frames(trace: str) -> str:
    """A traceback without the frames of Everloop's own machinery; a frame that comes again and again is shown once."""
    frames: list[list[str]] = [[]]
    skipping = False
    for line in trace.splitlines():
        if line.startswith('  File "'):
            skipping = "/everloop/pipelines/" in line or "/everloop/engine/" in line
            if not skipping:
                frames.append([line])
        elif not line.startswith("  "):
            skipping = False
            frames.append([line])
        elif not skipping:
            frames[-1].append(line)
    kept: list[str] = []
    for frame, group in groupby(frames):
        count = len(list(group))
        kept += [*frame, f"  [{count - 1} more times]"] if count > 2 and frame else frame * count
    return "\n".join(kept)


def is_ours(error: BaseException) -> bool:
    """Whether an exception comes out of Everloop rather than out of the user's code."""
    innermost = traceback.extract_tb(error.__traceback__)[-1].filename
    return Path(innermost).is_relative_to(Path(__file__).parents[1])


def failed_pipeline(pipeline: Pipeline[..., Any], error: Exception) -> Failed:
    own = own_frames(failure_of(error).traceback)
    return Failed(
        f"pipeline {pipeline.name} failed: {type(error).__name__}: {error}\n{own}",
        hint="mend the pipeline's function",
    )
