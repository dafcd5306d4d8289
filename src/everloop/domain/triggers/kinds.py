"""What sets a trigger off, and the trigger itself: data, as it is stored."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

Overlap = Literal["skip", "queue", "allow", "replace"]
CatchUp = Literal["none", "latest", "all"]


class Cron(msgspec.Struct, frozen=True, tag_field="kind", tag="cron"):
    """Times by the clock of a place. Five fields, as cron has them."""

    expression: str
    zone: str = "UTC"


class Every(msgspec.Struct, frozen=True, tag_field="kind", tag="interval"):
    """Whole multiples of an interval since 1970 UTC: every process that looks finds the same times."""

    seconds: float


class NewData(msgspec.Struct, frozen=True, tag_field="kind", tag="data"):
    """A new version of a dataset; of any below a folder when the name ends in ``/*``."""

    name: str


class AlertFires(msgspec.Struct, frozen=True, tag_field="kind", tag="alert"):
    """An alert starts firing: of a family (``any``: of all), of an endpoint, with a finding of a monitor."""

    family: str
    endpoint: str = ""
    monitor: str = ""


class PipelineEnds(msgspec.Struct, frozen=True, tag_field="kind", tag="pipeline"):
    """A run of another pipeline ended, with a status or with any."""

    pipeline: str
    status: str = "finished"


class AliasMoves(msgspec.Struct, frozen=True, tag_field="kind", tag="alias"):
    """An alias of a model means another version than before."""

    model: str
    alias: str


class FilesArrive(msgspec.Struct, frozen=True, tag_field="kind", tag="files"):
    """A file that a pattern names has arrived: its size stood still between two looks."""

    pattern: str


class ByHand(msgspec.Struct, frozen=True, tag_field="kind", tag="manual"):
    """Only when somebody asks: a person, a script, CI after a push."""


On = Cron | Every | NewData | AlertFires | PipelineEnds | AliasMoves | FilesArrive | ByHand

FACTS: dict[type[msgspec.Struct], tuple[str, ...]] = {
    Cron: ("scheduled",),
    Every: ("scheduled",),
    NewData: ("scheduled", "data", "name", "version"),
    AlertFires: ("scheduled", "alert", "endpoint"),
    PipelineEnds: ("scheduled", "run", "pipeline", "status"),
    AliasMoves: ("scheduled", "model", "alias", "version"),
    FilesArrive: ("scheduled", "file"),
    ByHand: ("scheduled", "commit"),
}
"""What a firing knows, by what set it off: the fields of the templates in `params`."""


class PipelineTrigger(msgspec.Struct, frozen=True):
    """A declared trigger. It starts a pipeline (``module_or_file:name``), a retraining of a model by its policy, or a sweep of a
    pipeline through the space that a file of the project declares.

    takes, needs: the parameters that the pipeline has, and those of them without a default, as they were when the trigger was
    applied; None where nobody has looked. So who fires it is told at once what the pipeline would refuse, without its code.
    """

    name: str
    on: On
    pipeline: str = ""
    retrain: str = ""
    params: dict[str, Any] = {}
    executor: str = ""
    overlap: Overlap = "skip"
    catch_up: CatchUp = "latest"
    catch_up_most: int = 10
    debounce_seconds: float = 0.0
    jitter_seconds: float = 0.0
    start: datetime | None = None
    end: datetime | None = None
    sweep: str = ""
    space: str = ""
    trials: int = 0
    jobs: int = 1
    takes: tuple[str, ...] | None = None
    needs: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """``cron``, ``interval``, ``data``, ``alert``, ``pipeline``, ``alias``, ``files`` or ``manual``."""
        return str(type(self.on).__struct_config__.tag)

    @property
    def is_timed(self) -> bool:
        return isinstance(self.on, Cron | Every)

    @property
    def starts(self) -> str:
        """What it starts, in words."""
        if self.sweep:
            return f"a sweep of {self.sweep}, {self.trials} trials"
        return self.pipeline or f"a retraining of {self.retrain}"


def in_words(on: On) -> str:
    """What sets it off, for people.

    >>> in_words(Cron("30 2 * * *", "Europe/Paris")), in_words(Every(900)), in_words(NewData("raw/*"))
    ('30 2 * * * Europe/Paris', 'every 15min', 'a new version of raw/*')
    """
    match on:
        case Cron(expression, zone):
            return f"{expression} {zone}"
        case Every(seconds):
            return f"every {_length(seconds)}"
        case NewData(name):
            return f"a new version of {name}"
        case AlertFires(family, endpoint, monitor):
            of = f" of {endpoint}" if endpoint else ""
            return f"an alert ({family}){of}{f' by {monitor}' if monitor else ''}"
        case PipelineEnds(pipeline, status):
            return f"{pipeline} {'ended' if status == 'any' else status}"
        case AliasMoves(model, alias):
            return f"{model}@{alias} moved"
        case FilesArrive(pattern):
            return f"files {pattern}"
        case ByHand():
            return "by hand"


def _length(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"
