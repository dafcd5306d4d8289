"""What a name without a kind means: the one thing that is called so, in whatever room it is."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator

from everloop.data.data import Data
from everloop.data.labels.labels import Labels
from everloop.domain.ids import may_be_prefix
from everloop.domain.names import shown
from everloop.domain.references import ALIASED, VERSIONED, Kind, Reference
from everloop.errors import InvalidReference, NotFound
from everloop.features.features import Features
from everloop.governance.rooms import Context
from everloop.monitoring.monitoring import Monitoring
from everloop.pipelines.pipelines import Pipelines
from everloop.registry.registry import Registry
from everloop.rollout.rollout import Rollouts
from everloop.serving.serving import Serving
from everloop.tracking.tracking import Tracking

NEAREST = 3


def meant(context: Context, text: str) -> Reference:
    """The reference that a person means by `text`: as written where it says its kind, else the only thing that has this name or
    an identifier beginning so. Raises InvalidReference where several kinds have it, NotFound (with the nearest names of all
    kinds) where none has, and what its room raises where several of one kind begin so."""
    if ":" in text:
        return Reference.parse(text)
    by_name = {kind: set(names(context)) for kind, names in _NAMES.items()}
    head, at, suffix = text.partition("@")
    found = [
        f"{kind}:{text}"
        for kind, names in by_name.items()
        if head in names and (not at or kind in (VERSIONED if _is_version(suffix) else ALIASED))
    ]
    if not found and not at:
        found = list(_identified(context, text))
    if len(found) == 1:
        return Reference.parse(found[0])
    if found:
        several = " or ".join(found)
        raise InvalidReference(f"{shown(text)} has more than one meaning here", hint=f"write {several}")
    known = {f"{kind}:{name}": name for kind, names in by_name.items() for name in sorted(names)}
    close = difflib.get_close_matches(head, set(known.values()), n=NEAREST)
    near = sorted((each for each in known if known[each] in close), key=lambda each: close.index(known[each]))
    hint = "did you mean " + " or ".join(near) + "?" if near else "write kind:name; see: everloop status"
    raise NotFound(f"nothing here is called {shown(text)}", hint=hint)


def _is_version(suffix: str) -> bool:
    return suffix[:1] == "v" and suffix[1:].isdigit()


def _identified(context: Context, text: str) -> Iterator[str]:
    """Runs (by name, too), rollouts, alerts and predictions that are called so. Names of runs are free text, so they come second
    to everything that was named with care."""
    ask: list[Callable[[], str]] = [lambda: f"run:{context.room(Tracking).resolve(text)}"]
    if may_be_prefix(text.lower()):
        digits = text.lower()
        ask += [
            lambda: context.room(Rollouts).rollout(digits).reference,
            lambda: f"alert:{context.room(Monitoring).alert(digits).alert_id}",
            lambda: f"prediction:{context.room(Serving).prediction(digits).prediction_id}",
        ]
    for reference in ask:
        try:
            yield reference()
        except NotFound:
            continue


_NAMES: dict[Kind, Callable[[Context], Iterator[str]]] = {
    Kind.DATA: lambda context: (each.name for each in context.room(Data).datasets()),
    Kind.LABELS: lambda context: (each.name for each in context.room(Labels).projects()),
    Kind.FEATURE: lambda context: (each.name for each in context.room(Features).recorded_views()),
    Kind.PIPELINE: lambda context: (each.pipeline for each in context.room(Pipelines).runs()),
    Kind.MODEL: lambda context: (each.name for each in context.room(Registry).models()),
    Kind.ENDPOINT: lambda context: (each.name for each in context.room(Serving).endpoints()),
}
"""What has a name, by kind, in the order of the life cycle."""
