"""What starts a pipeline without anyone typing the command: times, events, files; and the rules that keep it from running away.

- ``kinds``      what sets a trigger off, and the trigger, as data
- ``declaring``  ``ev.trigger(…)``, and what may be declared
- ``times``      which times are due, which of them are caught up

Pure. What sets a trigger off becomes a firing (`everloop.domain.firings`); `everloop.loop.triggers` acts.
"""

from everloop.domain.triggers.declaring import check, trigger
from everloop.domain.triggers.kinds import (
    FACTS,
    AlertFires,
    AliasMoves,
    ByHand,
    CatchUp,
    Cron,
    Every,
    FilesArrive,
    NewData,
    On,
    Overlap,
    PipelineEnds,
    PipelineTrigger,
    in_words,
)
from everloop.domain.triggers.times import (
    RECORDED,
    DueTime,
    backfill_times,
    due_times,
    is_active,
    next_time,
    times_between,
)

__all__ = [
    "FACTS",
    "RECORDED",
    "AlertFires",
    "AliasMoves",
    "ByHand",
    "CatchUp",
    "Cron",
    "DueTime",
    "Every",
    "FilesArrive",
    "NewData",
    "On",
    "Overlap",
    "PipelineEnds",
    "PipelineTrigger",
    "backfill_times",
    "check",
    "due_times",
    "in_words",
    "is_active",
    "next_time",
    "times_between",
    "trigger",
]
