"""Words for what the ledger writes down briefly: ages, and events as a reader would say them."""

from __future__ import annotations

from datetime import datetime

_SPANS = ((31_536_000, "y"), (2_592_000, "mo"), (86_400, "d"), (3600, "h"), (60, "min"))


def ago(moment: datetime, now: datetime) -> str:
    """How long ago, in the largest whole unit; for places where no script keeps the text up to date.

    >>> from datetime import UTC
    >>> now = datetime(2026, 1, 2, tzinfo=UTC)
    >>> ago(datetime(2026, 1, 1, 21, tzinfo=UTC), now), ago(now, now)
    ('3 h ago', 'just now')
    """
    seconds = (now - moment).total_seconds()
    for size, unit in _SPANS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"


def event_words(action: str) -> str:
    """An action as words: its room is said by the subject beside it.

    >>> event_words("model.alias_moved"), event_words("data.added"), event_words("checks.defined")
    ('alias moved', 'added', 'checks defined')
    """
    room, _, verb = action.partition(".")
    words = verb.replace("_", " ")
    return words if room in _SUBJECTS else f"{room} {words}"


_SUBJECTS = frozenset(
    {"data", "feature", "run", "pipeline", "model", "endpoint", "alert", "rollout", "experiment", "trigger"}
)
_ICONS = {
    "data": "data",
    "checks": "data",
    "feature": "features",
    "run": "runs",
    "experiment": "runs",
    "pipeline": "pipelines",
    "step": "pipelines",
    "trigger": "triggers",
    "model": "models",
    "endpoint": "endpoints",
    "monitoring": "alerts",
    "alert": "alerts",
    "rollout": "rollout",
    "loop": "retrain",
    "token": "person",
}


def event_icon(action: str) -> str:
    """The sign of an event's room."""
    return _ICONS.get(action.partition(".")[0], "ring")
